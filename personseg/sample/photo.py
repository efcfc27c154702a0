"""The photo and its exact mask."""

import cv2
import numpy as np

from personseg.images import RGB, Mask
from personseg.sample.backgrounds import background
from personseg.sample.drawing import SCALE, Canvas, Floats, Rng, blurred, shrink
from personseg.sample.people import draw_person

SPECK = 16  # px; specks and pinholes below it are not in the exact mask


def _without_specks(mask: Mask, hair: Mask) -> Mask:
    """Drop detached strand ends and other pieces below SPECK, and fill pinholes below SPECK."""
    for value in (1, 0):
        where = (mask == value).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(where, connectivity=8 if value else 4)
        area = stats[:, cv2.CC_STAT_AREA]
        speck = area < SPECK
        if value:
            speck |= np.bincount(labels[hair & mask], minlength=len(area)) > 0.9 * area
        speck[[0, int(np.argmax(area[1:])) + 1 if len(area) > 1 else 0]] = False
        mask = mask ^ speck[labels]
    return mask


def _develop(rng: Rng, picture: Floats) -> RGB:
    """Exposure, tint, vignette, softness and grain of a photo, sometimes black and white or faint."""
    h, w = picture.shape[:2]
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    picture = np.clip(picture, 0, 1) ** rng.uniform(0.8, 1.25)
    picture = picture * (1 - rng.uniform(0, 0.22) * (x**2 + y**2))[..., None] * (1 + rng.normal(0, 0.04, 3))
    hard = rng.random()
    if hard < 0.04:
        picture = np.repeat((picture @ np.array([0.3, 0.59, 0.11]))[..., None], 3, axis=2)
    elif hard < 0.12:
        picture = rng.uniform(0.05, 0.35) + picture * rng.uniform(0.4, 0.6)
    picture = blurred(picture.astype(np.float32), rng.uniform(0.35, 0.7))
    grain = cv2.GaussianBlur(rng.standard_normal((h, w, 3)).astype(np.float32), (0, 0), 0.6)
    return np.asarray(np.clip(picture * 255 + rng.uniform(2, 8) * grain, 0, 255).round(), dtype=np.uint8)


def draw_pair(rng: Rng, size: tuple[int, int]) -> tuple[RGB, Mask, Mask]:
    """Return a photo (uint8 RGB HxWx3), the exact person mask and where of it is hair (bool HxW)."""
    turn = rng.uniform(-2.9, -0.25)
    light = (float(np.cos(turn)), float(np.sin(turn)))
    canvas = Canvas((size[0] * SCALE, size[1] * SCALE), light)
    shot = str(rng.choice(["selfie", "half", "full"], p=[0.42, 0.33, 0.25]))
    draw_person(rng, canvas, shot, float(np.clip(rng.normal(0.5, 0.07), 0.35, 0.65)))
    picture = background(rng, size, light)
    cover = shrink(canvas.person, size)
    away = np.array([[1, 0, -light[0] * size[1] * 0.05], [0, 1, size[0] * 0.02]])
    moved = cv2.warpAffine(cover, away, size[::-1], borderMode=cv2.BORDER_REPLICATE)
    cast = blurred(np.asarray(moved, dtype=np.float32), size[0] * 0.025)
    picture = canvas.over(picture * (1 - rng.uniform(0, 0.35) * cast)[..., None])
    hair = shrink(canvas.hair, size) >= 0.3
    truth = _without_specks(cover >= 0.5, hair)
    hair &= truth
    if rng.random() < 0.5:
        picture, truth, hair = picture[:, ::-1], truth[:, ::-1], hair[:, ::-1]
    return _develop(rng, picture), truth, hair
