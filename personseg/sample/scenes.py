"""Drawn scenes with nobody in them: float32 RGB 0 to 1 of the picture's size."""

import cv2
import numpy as np

from personseg.sample.drawing import Floats, Rng, between, hsv, noise


def _shades(rng: Rng, saturation: float = 0.5) -> tuple[Floats, Floats]:
    hue, s = rng.random(), rng.uniform(0.05, saturation)
    low = rng.uniform(0.15, 0.6)
    return hsv(hue, s, low), hsv(hue + rng.normal(0, 0.03), s * 0.7, low + rng.uniform(0.15, 0.4))


def wall(rng: Rng, shape: tuple[int, int]) -> Floats:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) / shape[0]
    turn = rng.uniform(0, 2 * np.pi)
    light = 0.5 + 0.6 * ((x - 0.4) * np.cos(turn) + (y - 0.5) * np.sin(turn))
    light += 0.03 * noise(rng, shape, (3, 3)) + 0.06 * noise(rng, shape, (60, 60))
    picture = between(light.astype(np.float32), *_shades(rng, 0.6))
    floor = int(shape[0] * rng.uniform(0.78, 1.3))
    picture[floor:] = between(light[floor:] * 0.8, *_shades(rng)) if floor < shape[0] else picture[floor:]
    return picture


def stripes(rng: Rng, shape: tuple[int, int]) -> Floats:
    """A curtain, or wallpaper."""
    x = np.arange(shape[1], dtype=np.float32) + 5 * noise(rng, shape, (120, 40))
    wave = np.sin(2 * np.pi * x / (shape[1] / rng.uniform(5, 16)))
    wave = np.sign(wave) * 0.6 if rng.random() < 0.4 else wave + 0.5 * np.sin(2.3 * wave)
    return between(0.5 + 0.35 * wave + 0.03 * noise(rng, shape, (2, 2)), *_shades(rng, 0.7))


def masonry(rng: Rng, shape: tuple[int, int]) -> Floats:
    """Bricks, tiles or planks: cells of their own shade, with joints."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    tall, wide = [(12, 30), (26, 26), (400, 34), (20, 400)][rng.integers(4)] * rng.uniform(0.8, 1.5, 2)
    row = (y // tall).astype(int)
    x = x + (row % 2) * wide / 2
    column = (x // wide).astype(int)
    tone = rng.uniform(0.25, 0.85, (row.max() + 1, column.max() + 1)).astype(np.float32)[row, column]
    grain = noise(rng, shape, (60, 2) if tall > 100 else (2, 60) if wide > 100 else (2, 2))
    joint = np.maximum((y % tall) < 1.6, (x % wide) < 1.6)
    return between(tone + 0.08 * grain - 0.5 * joint * rng.choice([-1, 1]), *_shades(rng, 0.6))


def lights(rng: Rng, shape: tuple[int, int]) -> Floats:
    """A street by night, out of focus."""
    sky = 0.4 + 0.3 * noise(rng, shape, (80, 80))
    picture = between(sky, hsv(0.62, 0.5, 0.06), hsv(rng.random(), 0.5, 0.3))
    for _ in range(rng.integers(25, 60)):
        spot, centre = picture.copy(), (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
        tint = hsv(rng.choice([0.08, 0.12, 0.95, 0.58]) + rng.normal(0, 0.03), 0.6, 1).tolist()
        cv2.circle(spot, centre, int(rng.uniform(0.01, 0.06) * shape[0]), tint, -1, cv2.LINE_AA)
        picture += rng.uniform(0.2, 0.7) * (spot - picture)
    return picture


def foliage(rng: Rng, shape: tuple[int, int]) -> Floats:
    hue = rng.choice([0.22, 0.28, 0.33, 0.1])
    picture = between(0.5 + 0.3 * noise(rng, shape, (30, 30)), hsv(hue, 0.7, 0.12), hsv(hue, 0.6, 0.4))
    for value in np.linspace(0.15, 0.8, 500):
        centre = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
        axes = (int(shape[0] * rng.uniform(0.015, 0.045)), int(shape[0] * rng.uniform(0.006, 0.016)))
        tint = hsv(hue + rng.normal(0, 0.025), rng.uniform(0.4, 0.8), value * rng.uniform(0.5, 1.1)).tolist()
        cv2.ellipse(picture, centre, axes, rng.uniform(0, 180), 0, 360, tint, -1, cv2.LINE_AA)
    return picture


def street(rng: Rng, shape: tuple[int, int]) -> Floats:
    """Sky, houses with windows, and a road."""
    h, w = shape
    y = np.linspace(1, 0, h, dtype=np.float32)[:, None] * np.ones((1, w), dtype=np.float32)
    picture = between(y + 0.1 * noise(rng, shape, (25, 70)), hsv(0.58, 0.15, 0.95), hsv(0.58, 0.5, 0.8))
    left, ground = -10, int(h * rng.uniform(0.7, 0.85))
    while left < w:
        width, top = int(w * rng.uniform(0.15, 0.4)), int(h * rng.uniform(0.05, 0.5))
        front, glass = _shades(rng, 0.45)
        cv2.rectangle(picture, (left, top), (left + width, h), front.tolist(), -1)
        for x in range(left + 6, left + width - 12, 18):
            for row in range(top + 8, ground - 14, 24):
                pane = (glass * rng.uniform(0.4, 1.2)).tolist()
                cv2.rectangle(picture, (x, row), (x + 9, row + 13), pane, -1)
        left += width
    road = 0.5 + 0.2 * noise(rng, shape, (3, 9))[ground:]
    picture[ground:] = between(road, hsv(0.1, 0.05, 0.3), hsv(0.1, 0.08, 0.6))
    return picture


DRAWN = (wall, wall, stripes, masonry, lights, foliage, street)
