"""A generated stand-in for the PicsArt data: drawn people, exact masks, planted label defects.

Figures are drawn from splines at three times the size and averaged down, so that a pixel of the exact
mask is person where the figure covers at least half of it.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from personseg.errors import UserError
from personseg.files import fresh_folder, write_table
from personseg.images import RGB, Mask, write_image, write_mask

Rng = np.random.Generator
Floats = NDArray[np.float32]
Points = NDArray[np.float64]
Shape = Any  # one closed curve (n, 2), or a list of curves as arrays that are joined

SCALE = 3  # drawing size over picture size
STRAND = 0.009  # head heights; width of the thickest strands of hair
SPECK = 16  # px; specks and pinholes below it are not in the exact mask
KINDS = ("hair_gap", "spots", "holes", "extra_background")
KIND_WEIGHTS = (0.45, 0.27, 0.13, 0.15)  # how often each comes first in a defective mask
COLUMNS = ["stem", "defect", "size_px", "gap_px", "contour_px", "x", "y"]

# Photos inside the scikit-image wheel that hold no person and need no download.
PHOTOS = ("coffee", "chelsea", "rocket", "hubble_deep_field", "stereo_motorcycle", "gravel", "brick", "grass")
SKINS = np.array([[250, 218, 195], [236, 190, 160], [216, 165, 130], [188, 132, 96], [141, 91, 62], [88, 56, 40]])
HAIRS = np.array(
    [[28, 22, 22], [48, 32, 24], [82, 52, 34], [122, 72, 40], [150, 62, 30], [205, 164, 100], [168, 165, 162]]
)


# Geometry. Figures are built in head heights: the head's centre is (0, 0), its crown (0, -0.5), y is down.


def spline(points: ArrayLike, closed: bool = True, steps: int = 8) -> Points:
    """Catmull-Rom curve through points of shape (..., n, 2)."""
    p = np.asarray(points, dtype=np.float64)
    if not closed:
        p = np.concatenate([p[..., :1, :], p, p[..., -1:, :]], axis=-2)
    a, b, c, d = (np.roll(p, shift, axis=-2)[..., None, :] for shift in (1, 0, -1, -2))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    if not closed:
        curve = curve[..., 1:-2, :, :]
    return np.asarray(curve.reshape(*curve.shape[:-3], -1, 2))


def mirrored(half: ArrayLike) -> Points:
    """Closed curve from its right half, listed from top to bottom."""
    right = np.asarray(half, dtype=np.float64)
    return spline(np.concatenate([right, right[::-1] * (-1, 1)]))


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], axis=1)


def limb(joints: ArrayLike, widths: Sequence[float]) -> list[Points]:
    """A bent tube with round ends; `widths` are half widths at the joints."""
    joints = np.asarray(joints, dtype=np.float64)
    spine = np.concatenate([spline(joints, closed=False, steps=6), joints[-1:]])
    half = np.interp(np.linspace(0, 1, len(spine)), np.linspace(0, 1, len(widths)), widths)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    discs = spine[:, None] + half[:, None, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    pairs = np.concatenate([discs[:-1], discs[1:]], axis=1).astype(np.float32)
    return [cv2.convexHull(pair)[:, 0].astype(np.float64) for pair in pairs]


def noise(rng: Rng, shape: tuple[int, int], cell: tuple[float, float]) -> Floats:
    """Smooth noise (mean 0, deviation about 1) with features of `cell` (rows, columns) px."""
    grid = rng.standard_normal((int(shape[0] / cell[0]) + 2, int(shape[1] / cell[1]) + 2)).astype(np.float32)
    return np.asarray(cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC))


def hsv(hue: float, saturation: float, value: float) -> Floats:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), dtype=np.float32)


# Drawing.


@dataclass
class Canvas:
    """What is drawn so far, at SCALE times the picture's size; colour is 0 to 1, black where nothing is."""

    shape: tuple[int, int]
    light: tuple[float, float]  # unit vector towards the light
    colour: Floats = field(init=False)
    person: NDArray[np.uint8] = field(init=False)
    hair: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.colour = np.zeros((*self.shape, 3), dtype=np.float32)
        self.person = np.zeros(self.shape, dtype=np.uint8)
        self.hair = np.zeros(self.shape, dtype=np.uint8)


@dataclass(frozen=True)
class Pen:
    """Draws in head heights: `unit` px long, from `origin` (px), turned by `angle` about `pivot`."""

    canvas: Canvas
    origin: tuple[float, float]
    unit: float
    angle: float = 0.0
    pivot: tuple[float, float] = (0.0, 0.0)

    def place(self, points: ArrayLike) -> Points:
        """Head heights to px."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        away = np.asarray(points, dtype=np.float64) - self.pivot
        return np.asarray((away @ np.array([[c, s], [-s, c]]) + self.pivot) * self.unit + self.origin)

    def fill(
        self, shape: Shape, colour: Floats, depth: float, volume: float = 0.3, shadow: float = 0.35,
        alpha: float = 1.0, joint: tuple[Points, float] | None = None,
    ) -> None:  # fmt: skip
        """Fill a shape, shaded as a rounded body that casts a soft shadow on what lies below.

        colour: (3,) or a whole-canvas texture; depth: how far shading and shadow reach; joint: a point and
        a radius within which the shape melts into what lies below, as a sleeve into a shirt.
        """
        pieces = self._pieces(shape)
        if (window := self._window(pieces, depth)) is None:
            return
        mask = _raster(pieces, window, 1).astype(np.uint8)
        opacity: float | Floats = alpha
        if joint is not None:
            y, x = np.mgrid[window].astype(np.float32)
            left, top = self.place(joint[0]).tolist()
            away = np.hypot(x - left, y - top) / (joint[1] * self.unit)
            opacity = np.where(self.canvas.person[window], np.clip(away - 0.7, 0, 1), 1)[..., None]
        paint = colour if colour.ndim == 1 else colour[window]
        self._stamp(mask, window, paint, depth, volume, shadow, opacity)

    def strands(self, rng: Rng, paths: Points, mass: Shape, colour: Floats, width: float, depth: float) -> None:
        """Draw hair: a filled `mass` and strands (n, points, 2) of varied brightness over and beyond it."""
        pieces, placed = self._pieces(mass), self.place(paths)
        if (window := self._window([placed.reshape(-1, 2), *pieces], depth)) is None:
            return
        level = _raster(pieces, window, 0.72)
        fixed = _fixed(placed, window)
        cuts = rng.integers(int(0.7 * paths.shape[1]), paths.shape[1] + 1, len(paths))
        groups = np.array_split(np.arange(len(paths)), 14)
        for group, value in zip(groups, rng.permutation(np.linspace(0.45, 1.45, 14)), strict=True):
            thickness = int(rng.integers(1, max(1, round(width * self.unit)) + 1))
            lines = [fixed[i, : cuts[i]] for i in group]
            cv2.polylines(level, lines, False, float(value), thickness, shift=4)
        mask = (level > 0).astype(np.uint8)
        self._stamp(mask, window, colour * level[..., None], depth, 0.35, 0.4, 1.0)
        self.canvas.hair[window][mask > 0] = 1

    def glow(self, shape: Shape, colour: Floats, blur: float, alpha: float) -> None:
        """Tint what is there with a soft-edged shape."""
        pieces = self._pieces(shape)
        if (window := self._window(pieces, 1.5 * blur)) is not None:
            mask = _blur(_raster(pieces, window, alpha), blur * self.unit) * self.canvas.person[window]
            region = self.canvas.colour[window]
            region += (colour - region) * mask[..., None]

    def _pieces(self, shape: Shape) -> list[Points]:
        several = isinstance(shape, list) and len(shape) > 0 and isinstance(shape[0], np.ndarray)
        return [self.place(piece) for piece in (shape if several else [shape])]

    def _window(self, pieces: list[Points], depth: float) -> tuple[slice, slice] | None:
        points, pad = np.concatenate(pieces), 2 * depth * self.unit
        low = np.maximum(points.min(axis=0) - pad, 0).astype(int)
        high = np.minimum(points.max(axis=0) + pad + 1, self.canvas.shape[::-1]).astype(int)
        return None if (high <= low + 1).any() else (slice(low[1], high[1]), slice(low[0], high[0]))

    def _stamp(
        self, mask: NDArray[np.uint8], window: tuple[slice, slice], colour: Floats, depth: float,
        volume: float, shadow: float, opacity: float | Floats,
    ) -> None:  # fmt: skip
        # The gradient of the blurred shape points inwards near its edge, like the normal of a rounded body.
        canvas, sigma = self.canvas, depth * self.unit
        step = max(1.0, sigma / 3)
        size = (max(2, int(mask.shape[1] / step)), max(2, int(mask.shape[0] / step)))
        soft = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(soft, (0, 0), sigma / step, borderType=cv2.BORDER_REPLICATE)
        inwards = np.gradient(soft, axis=1) * canvas.light[0] + np.gradient(soft, axis=0) * canvas.light[1]
        shade = 1 - volume * (inwards * 2.5 * sigma / step + 0.25 * (1 - soft))
        shade, soft = (cv2.resize(field, mask.shape[::-1]) for field in (shade, soft))
        region, person = canvas.colour[window], canvas.person[window]
        painted = colour.astype(np.float32, copy=False) * shade[..., None]
        region *= 1 - opacity * (shadow * np.minimum(1, 2 * soft) * person)[..., None]
        if isinstance(opacity, np.ndarray) or opacity < 1:
            painted = region + opacity * (painted - region)
        np.copyto(region, painted, where=mask[..., None] > 0)
        canvas.hair[window][mask > 0] = 0
        person |= mask


def _fixed(points: Points, window: tuple[slice, slice]) -> NDArray[np.int32]:
    # OpenCV draws at fractions of a pixel from fixed-point numbers with four binary places.
    return np.asarray(np.round((points - (window[1].start, window[0].start)) * 16), dtype=np.int32)


def _raster(pieces: list[Points], window: tuple[slice, slice], value: float) -> Floats:
    level = np.zeros([side.stop - side.start for side in window], dtype=np.float32)
    for piece in pieces:
        if len(piece):
            cv2.fillPoly(level, [_fixed(piece, window)], value, shift=4)
    return level


def _blur(image: Floats, sigma: float) -> Floats:
    if sigma > 6:
        small = cv2.resize(image, None, fx=3 / sigma, fy=3 / sigma, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(cv2.GaussianBlur(small, (0, 0), 3), image.shape[1::-1]))
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32) if sigma > 0.1 else image


# Backgrounds: float32 RGB 0 to 1 of the picture's size.


@lru_cache(maxsize=len(PHOTOS))
def _photo(name: str) -> Floats:
    from skimage import data

    loaded = getattr(data, name)()
    image = np.asarray(loaded[0] if isinstance(loaded, tuple) else loaded, dtype=np.float32) / 255
    return np.asarray(image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), dtype=np.float32)


def photograph(rng: Rng, shape: tuple[int, int]) -> Floats:
    """A crop of a bundled photo, perhaps mirrored, in changed colours."""
    image = _photo(str(rng.choice(PHOTOS)))
    share = rng.uniform(0.55, 1.0) * min(image.shape[0] / shape[0], image.shape[1] / shape[1])
    h, w = int(shape[0] * share), int(shape[1] * share)
    top, left = rng.integers(0, image.shape[0] - h + 1), rng.integers(0, image.shape[1] - w + 1)
    crop = cv2.resize(image[top : top + h, left : left + w], shape[::-1], interpolation=cv2.INTER_AREA)
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    crop = crop ** rng.uniform(0.7, 1.3) * rng.uniform(0.7, 1.15, 3)
    return np.asarray(np.clip(crop, 0, 1), dtype=np.float32)


def _between(share: Floats, dark: Floats, bright: Floats) -> Floats:
    return np.asarray(dark + np.clip(share, 0, 1)[..., None] * (bright - dark), dtype=np.float32)


def _shades(rng: Rng, saturation: float = 0.5) -> tuple[Floats, Floats]:
    hue, s = rng.random(), rng.uniform(0.05, saturation)
    low = rng.uniform(0.15, 0.6)
    return hsv(hue, s, low), hsv(hue + rng.normal(0, 0.03), s * 0.7, low + rng.uniform(0.15, 0.4))


def wall(rng: Rng, shape: tuple[int, int]) -> Floats:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) / shape[0]
    turn = rng.uniform(0, 2 * np.pi)
    light = 0.5 + 0.6 * ((x - 0.4) * np.cos(turn) + (y - 0.5) * np.sin(turn))
    light += 0.03 * noise(rng, shape, (3, 3)) + 0.06 * noise(rng, shape, (60, 60))
    picture = _between(light.astype(np.float32), *_shades(rng, 0.6))
    floor = int(shape[0] * rng.uniform(0.78, 1.3))
    picture[floor:] = _between(light[floor:] * 0.8, *_shades(rng)) if floor < shape[0] else picture[floor:]
    return picture


def stripes(rng: Rng, shape: tuple[int, int]) -> Floats:
    """A curtain, or wallpaper."""
    x = np.arange(shape[1], dtype=np.float32) + 5 * noise(rng, shape, (120, 40))
    wave = np.sin(2 * np.pi * x / (shape[1] / rng.uniform(5, 16)))
    wave = np.sign(wave) * 0.6 if rng.random() < 0.4 else wave + 0.5 * np.sin(2.3 * wave)
    return _between(0.5 + 0.35 * wave + 0.03 * noise(rng, shape, (2, 2)), *_shades(rng, 0.7))


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
    return _between(tone + 0.08 * grain - 0.5 * joint * rng.choice([-1, 1]), *_shades(rng, 0.6))


def lights(rng: Rng, shape: tuple[int, int]) -> Floats:
    """A street by night, out of focus."""
    sky = 0.4 + 0.3 * noise(rng, shape, (80, 80))
    picture = _between(sky, hsv(0.62, 0.5, 0.06), hsv(rng.random(), 0.5, 0.3))
    for _ in range(rng.integers(25, 60)):
        spot, centre = picture.copy(), (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
        tint = hsv(rng.choice([0.08, 0.12, 0.95, 0.58]) + rng.normal(0, 0.03), 0.6, 1).tolist()
        cv2.circle(spot, centre, int(rng.uniform(0.01, 0.06) * shape[0]), tint, -1, cv2.LINE_AA)
        picture += rng.uniform(0.2, 0.7) * (spot - picture)
    return picture


def foliage(rng: Rng, shape: tuple[int, int]) -> Floats:
    hue = rng.choice([0.22, 0.28, 0.33, 0.1])
    picture = _between(0.5 + 0.3 * noise(rng, shape, (30, 30)), hsv(hue, 0.7, 0.12), hsv(hue, 0.6, 0.4))
    depth = np.linspace(0.15, 0.8, 500)
    for value in depth:
        centre = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
        axes = (int(shape[0] * rng.uniform(0.015, 0.045)), int(shape[0] * rng.uniform(0.006, 0.016)))
        tint = hsv(hue + rng.normal(0, 0.025), rng.uniform(0.4, 0.8), value * rng.uniform(0.5, 1.1)).tolist()
        cv2.ellipse(picture, centre, axes, rng.uniform(0, 180), 0, 360, tint, -1, cv2.LINE_AA)
    return picture


def street(rng: Rng, shape: tuple[int, int]) -> Floats:
    """Sky, houses with windows, and a road."""
    h, w = shape
    y = np.linspace(1, 0, h, dtype=np.float32)[:, None] * np.ones((1, w), dtype=np.float32)
    picture = _between(y + 0.1 * noise(rng, shape, (25, 70)), hsv(0.58, 0.15, 0.95), hsv(0.58, 0.5, 0.8))
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
    picture[ground:] = _between(road, hsv(0.1, 0.05, 0.3), hsv(0.1, 0.08, 0.6))
    return picture


DRAWN = (wall, wall, stripes, masonry, lights, foliage, street)


def _hang_poster(rng: Rng, picture: Floats) -> None:
    h, w = picture.shape[:2]
    size = (int(h * rng.uniform(0.15, 0.35)), int(w * rng.uniform(0.2, 0.4)))
    top, left = rng.integers(0, h // 2), rng.integers(0, w - size[1])
    poster = picture[top : top + size[0], left : left + size[1]]
    poster[:] = 0.9
    poster[4:-4, 4:-4] = photograph(rng, (size[0] - 8, size[1] - 8))


def background(rng: Rng, shape: tuple[int, int], light: tuple[float, float]) -> Floats:
    """A photo or drawn scene, perhaps with a poster or a faint passer-by, more or less out of focus."""
    scene = photograph if rng.random() < 0.42 else DRAWN[rng.integers(len(DRAWN))]
    picture = np.ascontiguousarray(scene(rng, shape))
    if rng.random() < 0.22:
        _hang_poster(rng, picture)
    if rng.random() < 0.15:
        canvas = Canvas((shape[0] * SCALE, shape[1] * SCALE), light)
        draw_person(rng, canvas, "full", rng.choice([0.12, 0.88]), rng.uniform(0.5, 0.8))
        picture = _blur(_over(canvas, picture, rng.uniform(0.6, 0.9)), shape[0] * 0.009)
    return np.clip(_blur(picture, shape[0] / 320 * rng.choice([0, 0.8, 1.5, 3, 5])), 0, 1)


# People. Curves are listed compactly, so this part is left to its own layout.
# fmt: off

WIDE = [[0.41, 0.02], [0.43, -0.25], [0.3, -0.5], [0, -0.57], [-0.3, -0.5], [-0.43, -0.25], [-0.41, 0.02]]
HAIRLINE = [[0.36, 0.05], [0.33, -0.17], [0.2, -0.27], [0, -0.29], [-0.2, -0.27], [-0.33, -0.17],
            [-0.36, 0.05]]


@dataclass(frozen=True)
class Look:
    """What a figure wears and is."""

    skin: Floats
    hair: Floats
    style: str
    length: float  # where long hair ends, head heights below the head's centre
    sleeve: float  # share of the arm that is covered
    shoulder: float
    waist: float
    lower: str
    yaw: float  # sideways turn of the face, -1 to 1

    @classmethod
    def draw(cls, rng: Rng) -> Look:
        at = rng.uniform(0, len(SKINS) - 1.001)
        skin = SKINS[int(at)] + (at % 1) * (SKINS[int(at) + 1] - SKINS[int(at)])
        hair = HAIRS[rng.integers(len(HAIRS) if at < 2.5 else 4)] * rng.uniform(0.8, 1.15)
        dyed = rng.random() < 0.05
        styles = {"long": 0.45, "short": 0.27, "curly": 0.12, "bun": 0.08, "hat": 0.05, "bald": 0.03}
        style = rng.choice(list(styles), p=list(styles.values()))
        return cls(
            skin=(skin / 255).astype(np.float32),
            hair=hsv(rng.random(), 0.6, 0.7) if dyed else (hair / 255).astype(np.float32),
            style=str(style),
            length=rng.uniform(0.45, 0.7) if rng.random() < 0.35 else rng.uniform(0.9, 1.9),
            sleeve=float(rng.choice([0.4, 0.97], p=[0.4, 0.6])),
            shoulder=rng.uniform(0.78, 1.0),
            waist=rng.uniform(0.5, 0.68),
            lower=str(rng.choice(["trousers", "skirt", "dress"], p=[0.6, 0.2, 0.2])),
            yaw=rng.uniform(-1, 1),
        )


def cloth(rng: Rng, pen: Pen) -> Floats:
    """A whole-canvas texture: plain, striped, checked or dotted cloth with folds."""
    saturation = rng.choice([0.05, 0.25, 0.5, 0.75]) * rng.uniform(0.7, 1)
    base = hsv(rng.random(), saturation, rng.choice([0.15, 0.35, 0.6, 0.8, 0.92]))
    other = hsv(rng.random(), rng.uniform(0, 0.6), rng.uniform(0.2, 0.95))
    shape, unit = pen.canvas.shape, pen.unit
    half = (shape[0] // 2, shape[1] // 2)
    folds = 1 + 0.07 * noise(rng, half, (unit / 5, unit / 12)) + 0.03 * noise(rng, half, (2, 2))
    y, x = np.mgrid[: half[0], : half[1]].astype(np.float32) / unit * 2
    kind = rng.choice(["plain", "stripes", "checks", "dots"], p=[0.55, 0.2, 0.13, 0.12])
    period = rng.uniform(0.12, 0.3)
    if kind == "stripes":
        share = ((y + 0.02 * folds) % period < period * 0.4).astype(np.float32)
    elif kind == "checks":
        share = 0.4 * (y % period < period / 2) + 0.4 * (x % period < period / 2)
    elif kind == "dots":
        share = ((x % period - period / 2) ** 2 + (y % period - period / 2) ** 2 < (period * 0.2) ** 2) * 1.0
    else:
        share = np.zeros(half, dtype=np.float32)
    picture = _between(share, base, other) * folds[..., None]
    return np.asarray(cv2.resize(picture.astype(np.float32), shape[::-1]))


def bundle(rng: Rng, first: ArrayLike, last: ArrayLike, count: int, wave: float, stray: float) -> Points:
    """Strands between two guide curves of equal length, (count, points, 2); they stray towards their ends."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(last, dtype=np.float64)
    share = np.concatenate([rng.random(count // 2), rng.beta(4, 0.6, count - count // 2)])[:, None, None]
    paths = spline(a + share * (b - a), closed=False, steps=6)
    v = np.linspace(0, 1, paths.shape[1])
    paths[..., 0] += wave * np.sin(2 * np.pi * (2.2 * v + rng.random() + rng.normal(0, 0.07, (count, 1)))) * v
    paths += rng.normal(0, stray, (count, 1, 2)) * v[:, None] ** 1.6
    return paths


def _side_hair(look: Look, side: int, volume: float, part: float) -> tuple[Points, Points]:
    """Inner and outer guides of hair that falls from the parting down one side."""
    end = look.length
    flare = 0.1 * min(1.5, end)
    inner = [[part, -0.4], [side * 0.19, -0.3], [side * 0.32, -0.06],
             [side * 0.34, 0.3], [side * 0.36, 0.92 * end]]
    outer = [
        [part, -0.5 - 0.6 * volume], [side * 0.3, -0.46 - 0.5 * volume], [side * (0.42 + volume), -0.08],
        [side * (0.46 + volume), 0.35], [side * (0.46 + volume + flare), end],
    ]  # fmt: skip
    return np.array(inner), np.array(outer)


def _hair_back(rng: Rng, pen: Pen, look: Look, volume: float, wave: float) -> None:
    dark = look.hair * 0.75
    if look.style == "long" or (look.style == "hat" and look.length > 0.8):
        left, right = (_side_hair(look, side, volume, 0)[1] for side in (-1, 1))
        paths = bundle(rng, left, right, 160, wave, 0.05)
        mass = np.concatenate([spline(left, False), spline(right, False)[::-1]])
        pen.strands(rng, paths, mass, dark, STRAND, 0.1)
    elif look.style == "curly":
        _curls(rng, pen, look, 0.5 + 1.6 * volume, (0, -0.12), 0)
    elif look.style == "bun":
        x, y, r = rng.uniform(-0.2, 0.2), -0.56, rng.uniform(0.16, 0.24)
        turn = spline(ellipse(x, y, r, r * 0.85)[::4])
        coils = np.stack([np.roll(turn, int(rng.integers(64)), axis=0)[:30] for _ in range(70)])
        coils = (x, y) + (coils - (x, y)) * rng.uniform(0.2, 1.08, (70, 1, 1))
        coils += rng.normal(0, 0.01, (70, 1, 2))
        pen.strands(rng, coils, turn, dark, STRAND, 0.06)


def _curls(rng: Rng, pen: Pen, look: Look, radius: float, at: tuple[float, float], low: float) -> None:
    """A cloud of small arcs round the head; with `low` it is a cap over the hairline only."""
    n = 420
    turn = rng.uniform(np.pi * 0.97, np.pi * 2.03, n) if low else rng.uniform(0, 2 * np.pi, n)
    away = radius * np.sqrt(rng.uniform(low or 0.3, 1.05, n))
    centre = np.stack([at[0] + away * np.cos(turn), at[1] + away * np.sin(turn) * 0.95], axis=1)
    arc = rng.uniform(0, 6, (n, 1)) + np.linspace(0, 4.5, 10)
    curl = rng.uniform(0.025, 0.06, (n, 1, 1)) * np.stack([np.cos(arc), np.sin(arc)], axis=-1)
    bumps = 1 + 0.05 * rng.standard_normal(26)
    angle = np.linspace(0, 2 * np.pi, 26, endpoint=False)
    cloud = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (0.96 * radius * bumps)[:, None] + at
    mass = np.empty((0, 2)) if low else spline(cloud)
    pen.strands(rng, centre[:, None] + curl, mass, look.hair, 1.3 * STRAND, 0.1)


def _hair_front(rng: Rng, pen: Pen, look: Look, volume: float, wave: float) -> None:
    if look.style == "long":
        part = rng.uniform(-0.15, 0.15)
        for side in (-1, 1):
            inner, outer = _side_hair(look, side, volume, part)
            paths = bundle(rng, inner, outer, 170, wave, 0.035)
            mass = np.concatenate([spline(inner, False)[:-5], spline(outer, False)[-5::-1]])
            pen.strands(rng, paths, mass, look.hair, STRAND, 0.07)
        if rng.random() < 0.35:
            edge = np.array([[0.3, -0.46], [0.33, -0.3], [0.3, -0.13]])
            fringe = bundle(rng, edge * (-1, 1), edge, 150, 0.01, 0.015)
            pen.strands(rng, fringe, np.empty((0, 2)), look.hair, 1.5 * STRAND, 0.05)
    elif look.style == "curly":
        _curls(rng, pen, look, 0.47, (0, -0.06), 0.62)
    elif look.style in ("short", "bun"):
        _combed(rng, pen, look, volume)
    elif look.style == "hat":
        _hat(rng, pen)


def _combed(rng: Rng, pen: Pen, look: Look, volume: float) -> None:
    """Short or tied hair: strands from the hairline to the outline of the crown."""
    short, n = look.style == "short", 420
    top = np.array(WIDE) * (1 + 0.3 * volume, 1) - (0, 1.2 * volume if short else 0)
    top[[0, -1], 1] = 0.04
    line = spline(np.array(HAIRLINE) - (0, rng.uniform(-0.03, 0.05)), closed=False, steps=12)
    crown = spline(top, closed=False, steps=12)
    start = rng.integers(0, len(line), n)
    comb = int(rng.integers(-14, 15)) if short else 0
    root, tip = line[start], crown[np.clip(start + comb + rng.integers(-3, 4, n), 0, len(line) - 1)]
    middle = (root + tip) / 2 + (0, -0.05) + rng.normal(0, 0.015, (n, 2))
    end = root + (tip - root) * rng.uniform(0.75, 1.06 if short else 1.0, (n, 1))
    paths = spline(np.stack([root, middle, end], axis=1), closed=False, steps=6)
    pen.strands(rng, paths, np.concatenate([line, (0.97 * crown)[::-1]]), look.hair, STRAND, 0.09)


def _hat(rng: Rng, pen: Pen) -> None:
    wool, crest = cloth(rng, pen), rng.uniform(0.6, 0.75)
    dome = [[0, -crest], [0.25, 0.06 - crest], [0.43, -0.4], [0.42, -0.2], [0.2, -0.18]]
    pen.fill(mirrored(dome), wool, 0.14)
    pen.fill(limb([[-0.4, -0.2], [0, -0.25], [0.4, -0.2]], [0.07] * 3), wool * 0.75, 0.05)


def _eyes(rng: Rng, pen: Pen, look: Look, turn: float) -> None:
    dark = look.skin * (0.6, 0.5, 0.48)
    white = np.full(3, 0.6 + 0.33 * look.skin.mean(), np.float32)
    iris = hsv(rng.choice([0.07, 0.08, 0.3, 0.57]), 0.55, rng.uniform(0.15, 0.45))
    almond = spline([[-0.08, 0.005], [-0.03, -0.032], [0.03, -0.032], [0.08, 0], [0.03, 0.03], [-0.03, 0.03]])
    for side in (-1, 1):
        x = side * 0.16 + turn
        gaze = x + 0.3 * turn
        pen.glow(ellipse(x, -0.01, 0.1, 0.05), dark, 0.035, 0.4)
        pen.fill(almond + (x, 0), white, 0.02, shadow=0.1)
        pen.fill(ellipse(gaze, -0.002, 0.032, 0.032), iris, 0.01, shadow=0)
        pen.fill(ellipse(gaze, -0.002, 0.015, 0.015), iris * 0.15, 0.01, shadow=0)
        pen.fill(ellipse(gaze - 0.012, -0.014, 0.007, 0.007), np.ones(3, np.float32), 0.01, shadow=0)
        lid = limb([[x - 0.085, 0.0], [x, -0.036], [x + 0.085, -0.003]], [0.008, 0.012, 0.008])
        pen.fill(lid, dark * 0.35, 0.01, shadow=0)
        arch = [[x - side * 0.085, -0.088], [x + side * 0.02, -0.118], [x + side * 0.1, -0.085]]
        brow = look.hair * 0.55 + 0.2 * look.skin
        pen.fill(limb(arch, [0.018, 0.017, 0.006]), brow, 0.01, shadow=0.05, alpha=0.85)


def _glasses(rng: Rng, pen: Pen, turn: float) -> None:
    ink, rim = hsv(rng.random(), 0.3, 0.15), ellipse(0, 0, 0.125, 0.095)
    ring = np.concatenate([rim, rim[:1], 0.85 * rim[:1], 0.85 * rim[::-1]])
    for side in (-1, 1):
        pen.fill(ring + (side * 0.16 + turn, 0.005), ink, 0.01, shadow=0.1)
    pen.fill(limb([[turn - 0.04, -0.01], [turn, -0.02], [turn + 0.04, -0.01]], [0.012] * 3), ink, 0.01)


def _face(rng: Rng, pen: Pen, look: Look) -> None:
    skin, turn, jaw = look.skin, 0.06 * look.yaw, rng.uniform(-0.03, 0.03)
    dark, red = skin * (0.6, 0.5, 0.48), skin * (0.95, 0.62, 0.6)
    outline = [[0, -0.5], [0.2, -0.47], [0.34, -0.33], [0.375, -0.06], [0.35, 0.15],
               [0.27 + jaw, 0.35], [0.12 + jaw, 0.475], [0, 0.5]]
    for side in (-1, 1):
        pen.fill(ellipse(side * 0.375, 0.03, 0.05, 0.1), skin * 0.88, 0.04)
    pen.fill(mirrored(outline), skin, 0.16, volume=0.34, shadow=0.45)
    for side in (-1, 1):
        pen.glow(ellipse(side * 0.21 + turn, 0.17, 0.08, 0.06), red, 0.05, 0.55)
        pen.glow(ellipse(1.5 * turn + side * 0.035, 0.178, 0.02, 0.011), dark * 0.5, 0.008, 0.7)
    nose = spline([[0.025, -0.05], [0.07, 0.15], [0.02, 0.2], [0.03, 0.1]]) + (1.5 * turn, 0)
    pen.glow(nose, dark, 0.02, 0.45)
    pen.glow(ellipse(1.5 * turn, 0.06, 0.018, 0.1), np.minimum(1, skin * 1.25), 0.02, 0.5)
    _eyes(rng, pen, look, turn)
    if look.style in ("short", "bald") and rng.random() < 0.35:
        beard = [[0, 0.23], [0.14, 0.24], [0.27, 0.2], [0.36, 0.1], [0.27, 0.38], [0.1, 0.49]]
        pen.glow(mirrored(beard), look.hair, 0.03, rng.uniform(0.35, 0.9))
    smile = rng.uniform(-0.01, 0.04)
    mouth = [[-0.13, -smile], [-0.05, -0.025], [0, -0.015], [0.05, -0.025], [0.13, -smile],
             [0.06, 0.045], [-0.06, 0.045]]
    gap = [[-0.11, -smile], [0, 0.0], [0.11, -smile], [0, 0.012 + 0.6 * max(0.0, smile)]]
    teeth = np.full(3, 0.9, np.float32) if smile > 0.02 else dark * 0.5
    pen.fill(spline(mouth) + (turn, 0.31), red * rng.uniform(0.7, 1), 0.015, shadow=0.15)
    pen.fill(spline(gap) + (turn, 0.31), teeth, 0.01, shadow=0)
    if rng.random() < 0.18:
        _glasses(rng, pen, turn)


def _hand(pen: Pen, look: Look, at: Points, turn: float, curled: bool) -> None:
    """Palm and fingers at `at`, pointing along `turn` (radians); curled fingers lie across what is held."""
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    for i, spread in enumerate((-0.12, -0.04, 0.04, 0.11)):
        root = at + across * spread + along * (0.0 if curled else 0.1)
        reach = (0.16, 0.18, 0.17, 0.13)[i] if curled else (0.26, 0.3, 0.28, 0.22)[i]
        joints = [root, root + along * reach * 0.5, root + along * reach + across * spread * 0.25]
        pen.fill(limb(joints, [0.048, 0.045, 0.036]), look.skin * 0.97, 0.03, shadow=0.25)


def _palm(pen: Pen, look: Look, at: Points) -> None:
    pen.fill(ellipse(at[0], at[1], 0.16, 0.16), look.skin, 0.07)


def _held(rng: Rng, pen: Pen, thing: str, at: Points) -> None:
    tint, (x, y) = hsv(rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.3, 0.95)), at

    def shape(points: ArrayLike, colour: Floats, depth: float = 0.06) -> None:
        pen.fill(np.asarray(points) + (x, y), colour, depth, shadow=0.25)

    if thing == "cup":
        ring = np.concatenate([ellipse(0.2, 0.0, 0.13, 0.14), ellipse(0.2, 0.0, 0.08, 0.09)[::-1]])
        shape(ring, tint * 0.9)
        shape([[-0.2, -0.26], [0.2, -0.26], [0.16, 0.24], [-0.16, 0.24]], tint, 0.09)
        shape(ellipse(0, -0.26, 0.2, 0.045), tint * 0.5)
    elif thing == "phone":
        edge = [[-0.17, -0.38], [0.17, -0.38], [0.17, 0.3], [-0.17, 0.3]]
        shape(edge, tint * 0.45, 0.03)
        for k in (0, 0.09):
            shape(ellipse(-0.1, -0.3 + k, 0.03, 0.03), hsv(0.6, 0.3, 0.08), 0.01)
    elif thing == "book":
        pages = [[-0.42, -0.36], [0.0, -0.3], [0.42, -0.36], [0.42, 0.24], [0.0, 0.32], [-0.42, 0.24]]
        shape(pages, tint, 0.05)
        shape([[-0.015, -0.3], [0.015, -0.3], [0.015, 0.32], [-0.015, 0.32]], tint * 0.5, 0.02)
        shape([[0.1, -0.22], [0.33, -0.25], [0.33, -0.17], [0.1, -0.13]], np.minimum(1, tint * 1.6), 0.02)
    elif thing == "umbrella":
        shape([[-0.025, 0.3], [0.025, 0.3], [0.025, -2.4], [-0.025, -2.4]], hsv(0.6, 0.1, 0.2), 0.02)
        turn = np.linspace(np.pi, 2 * np.pi, 37)
        dome = np.stack([1.5 * np.cos(turn), 0.85 * np.sin(turn) - 1.7], axis=1)
        hem = dome[::-1] * (1, 0) - np.array([0, 1.7]) - np.abs(np.sin(3 * turn))[:, None] * (0, 0.12)
        shape(np.concatenate([dome, hem]), tint, 0.3)
        for k in range(1, 6):
            rib = np.linspace([0, -2.55], hem[::-1][6 * k], 9)
            rib[:, 0] *= np.sin(np.linspace(0, np.pi / 2, 9))
            shape(np.concatenate([rib - (0.012, 0), rib[::-1] + (0.012, 0)]), tint * 0.6, 0.02)
    else:
        shape([[-0.3, 0.45], [0.3, 0.45], [0.36, 1.05], [-0.36, 1.05]], tint, 0.08)
        for p in limb([[-0.2, 0.5], [-0.12, 0.08], [0.12, 0.08], [0.2, 0.5]], [0.025] * 4)[:1]:
            shape(p, tint * 0.6, 0.02)


# Where the hand is (for the right arm), what it may hold, and whether the arm is behind the body.
POSES: dict[str, tuple[tuple[float, float], tuple[str, ...], bool]] = {
    "hang": ((1.12, 3.1), ("", "", "bag"), False),
    "hip": ((0.62, 2.6), ("",), False),
    "chest": ((0.35, 1.75), ("cup", "book", "phone"), False),
    "face": ((0.8, 0.62), ("phone", "cup"), False),
    "wave": ((1.5, 0.1), ("",), False),
    "carry": ((0.95, 1.25), ("umbrella",), False),
    "back": ((0.45, 2.7), ("",), True),
    "selfie": ((1.75, 2.3), ("",), False),
}


def _elbow(shoulder: Points, wrist: Points, side: int) -> tuple[Points, Points]:
    """Elbow of an arm with bones 1.3 and 1.15, bent outwards and down, and its wrist, kept within reach."""
    away = wrist - shoulder
    d = float(np.clip(np.hypot(*away), 0.4, 2.42))
    away = away / np.hypot(*away)
    along = (d**2 + 1.3**2 - 1.15**2) / (2 * d)
    off = np.sqrt(max(0.0, 1.3**2 - along**2)) * np.array([-away[1], away[0]])
    elbow = max((shoulder + away * along + s * off for s in (-1, 1)), key=lambda e: side * e[0] + 0.8 * e[1])
    return elbow, shoulder + away * d


def _arm(rng: Rng, pen: Pen, look: Look, side: int, pose: str, garment: Floats) -> None:
    target, things, _ = POSES[pose]
    shoulder = np.array([side * (look.shoulder - 0.18), 1.02])
    goal = np.array([side * target[0], target[1]]) + rng.normal(0, 0.07, 2)
    elbow, wrist = _elbow(shoulder, goal, side)
    near = 1.6 if pose == "selfie" else 1.0  # the hand with the camera is close to the lens
    pen.fill(limb([(shoulder + elbow) / 2, elbow, wrist], [0.14, 0.125 * near, 0.09 * near]), look.skin, 0.08)
    cuff = elbow + (wrist - elbow) * max(0.0, look.sleeve * 2 - 1)
    joint = (shoulder, 0.34)
    bone = elbow - shoulder
    long = look.sleeve > 0.5
    cover = [shoulder, elbow, cuff] if long else [shoulder, shoulder + 0.5 * bone, shoulder + 0.7 * bone]
    pen.fill(limb(cover, [0.21, 0.165 * near, 0.135 * near]), garment, 0.13, shadow=0.25, joint=joint)
    if pose in ("selfie", "back"):
        return
    thing = str(rng.choice(things))
    turn = float(np.arctan2(*(wrist - elbow)[::-1]))
    at = wrist + 0.12 * np.array([np.cos(turn), np.sin(turn)])
    _palm(pen, look, at)
    if thing:
        _held(rng, pen, thing, at)
    if not thing or thing == "bag":
        _hand(pen, look, at, turn, curled=bool(thing))
    else:
        _hand(pen, look, at + (side * 0.17, 0.04), np.pi if side > 0 else 0.0, curled=True)


def _legs(rng: Rng, pen: Pen, look: Look, garment: Floats) -> None:
    stance = rng.uniform(0.25, 0.55)
    shoe = hsv(rng.random(), rng.uniform(0, 0.5), rng.uniform(0.1, 0.9))
    for side in (-1, 1):
        bend = rng.uniform(0, 0.12)
        joints = np.array([[side * 0.3, 3.2], [side * (stance + bend), 4.8], [side * stance, 6.35]])
        foot = joints[-1] + (side * rng.uniform(0.05, 0.2), 0.2)
        pen.fill(limb(joints, [0.34, 0.2, 0.11]), look.skin, 0.15)
        pen.fill(limb([joints[-1] + (0, 0.1), foot], [0.13, 0.15]), shoe, 0.08)
        if look.lower == "trousers":
            pen.fill(limb(joints, [0.37, 0.25, 0.19]), garment, 0.17)
    if look.lower != "trousers":
        hem, wide = rng.uniform(4.2, 5.6), rng.uniform(0.75, 1.1)
        skirt = [[0, 2.3], [look.waist, 2.3], [0.68, 3.1], [wide, hem], [0.5, hem + 0.08], [0, hem + 0.05]]
        pen.fill(mirrored(skirt), garment, 0.2)


def _torso(rng: Rng, pen: Pen, look: Look, garment: Floats) -> None:
    b, w = look.shoulder, look.waist
    half = [[0.12, 0.56], [0.22, 0.62], [0.48, 0.72], [b - 0.1, 0.84], [b, 1.12], [b - 0.12, 1.6],
            [w, 2.3], [0.66, 3.1], [0.6, 3.4], [0.2, 3.45]]
    pen.fill(mirrored(half), garment, 0.3, volume=0.4)
    depth = rng.choice([0.78, 0.92, 1.15])
    neckline = mirrored([[0, 0.52], [0.22, 0.6], [0.18, 0.72], [0.08, depth - 0.05], [0, depth]])
    opening = rng.random()
    if opening < 0.3:  # an open jacket over another shirt
        inner = cloth(rng, pen)
        front = [[-0.2, 0.6], [0.2, 0.6], [0.3, 1.6], [0.22, 3.4], [-0.22, 3.4], [-0.3, 1.6]]
        pen.fill(front, inner, 0.1, shadow=0)
        for side in (-1, 1):
            lapel = np.array([[0.2, 0.6], [0.4, 0.78], [0.34, 1.3], [0.28, 1.75], [0.22, 1.2]]) * (side, 1)
            pen.fill(lapel, garment * 0.8, 0.05, shadow=0.5)
    pen.fill(neckline, look.skin * 0.97, 0.06, volume=0.1, shadow=0.1)
    pen.fill(limb([[0, 0.25], [0, 0.5], [0, 0.62]], [0.2, 0.19, 0.22]), look.skin * 0.93, 0.09, shadow=0.15)
    if opening > 0.7:
        for side in (-1, 1):
            collar = np.array([[0.17, 0.56], [0.3, 0.64], [0.24, 0.9], [0, 0.82]]) * (side, 1)
            pen.fill(collar, garment * 1.1, 0.04)


# Head height and headroom as shares of the picture's height, and how often each pose in POSES occurs.
SHOTS: dict[str, tuple[float, float, list[float]]] = {
    "selfie": (0.41, 0.06, [2, 0, 1, 2, 1, 0.3, 1, 4]),
    "half": (0.25, 0.09, [3, 2, 4, 2, 1, 1, 2, 0]),
    "full": (0.128, 0.045, [4, 3, 3, 1, 1, 1.5, 1, 0]),
}


def draw_person(rng: Rng, canvas: Canvas, shot: str, x: float, size: float = 1.0) -> None:
    """Draw a figure whose head's centre is at `x` (share of the width); shot: selfie, half or full."""
    h, w = canvas.shape
    share, top, chance = SHOTS[shot]
    unit = h * share * rng.uniform(0.85, 1.12) * size
    y = unit * 0.58 + h * top * rng.uniform(0.3, 1.7) + h * (1 - size) * 0.3
    look = Look.draw(rng)
    body = Pen(canvas, (w * x, y), unit, rng.normal(0, 0.03), (0, 2))
    neck = body.place((0, 0.5)) - (0, 0.5 * unit)
    head = Pen(canvas, (neck[0], neck[1]), unit, body.angle + rng.normal(0, 0.09), (0, 0.5))
    arms = [(side, str(rng.choice(list(POSES), p=np.array(chance) / sum(chance)))) for side in (-1, 1)]
    if arms[0][1] == arms[1][1] == "carry":
        arms[0] = (-1, "hang")
    if "carry" in (arms[0][1], arms[1][1]):
        below = 0.7 * unit  # room for the umbrella
        body, head = (replace(pen, origin=(pen.origin[0], pen.origin[1] + below)) for pen in (body, head))
    garment = cloth(rng, body)
    volume, wave = rng.uniform(0.02, 0.14), rng.choice([0, 0.02, 0.05])
    _hair_back(rng, head, look, volume, wave)
    for side, pose in arms:
        if POSES[pose][2]:
            _arm(rng, body, look, side, pose, garment)
    if shot != "selfie":
        _legs(rng, body, look, garment if look.lower == "dress" else cloth(rng, body))
    _torso(rng, body, look, garment)
    _face(rng, head, look)
    _hair_front(rng, head, look, volume, wave)
    for side, pose in arms:
        if not POSES[pose][2]:
            _arm(rng, body, look, side, pose, garment)


# fmt: on
# The photo and its exact mask.


def _shrink(image: NDArray[Any], size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(image.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA))


def _over(canvas: Canvas, picture: Floats, alpha: float = 1.0) -> Floats:
    cover = alpha * _shrink(canvas.person, picture.shape[:2])[..., None]
    return np.asarray(alpha * _shrink(canvas.colour, picture.shape[:2]) + (1 - cover) * picture)


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
    picture = _blur(picture.astype(np.float32), rng.uniform(0.35, 0.7))
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
    cover = _shrink(canvas.person, size)
    away = np.array([[1, 0, -light[0] * size[1] * 0.05], [0, 1, size[0] * 0.02]])
    moved = cv2.warpAffine(cover, away, size[::-1], borderMode=cv2.BORDER_REPLICATE)
    cast = _blur(np.asarray(moved, dtype=np.float32), size[0] * 0.025)
    picture = _over(canvas, picture * (1 - rng.uniform(0, 0.35) * cast)[..., None])
    hair = _shrink(canvas.hair, size) >= 0.3
    truth = _without_specks(cover >= 0.5, hair)
    hair &= truth
    if rng.random() < 0.5:
        picture, truth, hair = picture[:, ::-1], truth[:, ::-1], hair[:, ::-1]
    return _develop(rng, picture), truth, hair


# Label defects. Each is one 8-connected component of where the mask differs from the truth.


def _largest(where: Mask) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(where.astype(np.uint8), connectivity=8)
    return labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])) if len(stats) > 1 else where


def _distance(where: Mask) -> Floats:
    """Distance in px of each pixel of `where` to the nearest one outside it."""
    return np.asarray(cv2.distanceTransform(where.astype(np.uint8), cv2.DIST_L2, 5))


def rim_size(rim: Mask, truth: Mask) -> tuple[float, int]:
    """Width and length (px) of a rim of background beside the person.

    The length counts the rim's pixels that share a side with the background left outside; the width is
    their median distance to the person.
    """
    outside = (~(rim | truth)).astype(np.uint8)
    outer = rim & (cv2.dilate(outside, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))) > 0)
    return (float(np.median(_distance(~truth)[outer])), int(outer.sum())) if outer.any() else (0.0, 0)


def _blob(rng: Rng, shape: tuple[int, int], y: float, x: float, area: float, stretch: float) -> Mask:
    """A ragged ellipse."""
    turn = rng.uniform(0, np.pi)
    dy, dx = np.mgrid[: shape[0], : shape[1]].astype(np.float32) - np.array([y, x], np.float32)[:, None, None]
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    reach = np.sqrt((u**2 / stretch + v**2 * stretch) / (area / np.pi))
    return np.asarray(reach + 0.22 * noise(rng, shape, (5, 5)) < 1)


def _pick(rng: Rng, where: Mask) -> tuple[float, float]:
    at = np.flatnonzero(where)[rng.integers(int(where.sum()))]
    return float(at // where.shape[1]), float(at % where.shape[1])


def _hair_gap(rng: Rng, truth: Mask, hair: Mask, free: Mask) -> Mask | None:
    """A rim of uneven width along a part of the hair's outline, as in the report's 303, 325, 463."""
    if not hair.any():
        return None
    outside = (~truth).astype(np.uint8)
    away, nearest = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    is_hair = np.zeros(int(nearest.max()) + 1, dtype=bool)
    is_hair[nearest[hair]] = True
    rows, columns = np.nonzero(hair)
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    turn = np.arctan2(y - np.percentile(rows, 30), x - columns.mean()) + np.pi
    start, span = rng.uniform(0, 2 * np.pi), rng.choice([0.8, 1.6, 3.2, 6.3], p=[0.2, 0.3, 0.25, 0.25])
    part = (turn - start) % (2 * np.pi) < span
    width = rng.uniform(2.4, 3.6) if rng.random() < 0.2 else rng.uniform(4.7, 10)
    edge = width * (1 + 0.16 * noise(rng, truth.shape, (7, 7)).clip(-2, 2))
    rim = _largest((away > 0) & (away <= edge) & is_hair[nearest] & part & free)
    return rim if rim_size(rim, truth)[1] >= 20 else None


def _spots(rng: Rng, truth: Mask, hair: Mask, free: Mask) -> Mask | None:
    """A detached blob, mostly a sliver not far from the person, as in the report's 474, 888, 1391."""
    away = _distance(~truth)
    near = (away > 5) & (away < (25 if rng.random() < 0.8 else 1e9)) & free
    if not near.any():
        return None
    area, stretch = np.exp(rng.uniform(np.log(14), np.log(400))), rng.uniform(1, 4)
    blob = _largest(_blob(rng, truth.shape, *_pick(rng, near), area, stretch) & (away > 3) & free)
    return blob if 12 <= blob.sum() <= 400 else None


def _holes(rng: Rng, truth: Mask, hair: Mask, free: Mask) -> Mask | None:
    """A blob of person left out, wholly inside the person."""
    depth, area = _distance(truth), np.exp(rng.uniform(np.log(14), np.log(300)))
    deep = (depth > np.sqrt(area / np.pi) + 2) & free
    if not deep.any():
        return None
    blob = _blob(rng, truth.shape, *_pick(rng, deep), area, rng.uniform(1, 2.5))
    blob = _largest(blob & (depth > 2) & free)
    return blob if 12 <= blob.sum() <= 300 else None


def _extra_background(rng: Rng, truth: Mask, hair: Mask, free: Mask) -> Mask | None:
    """A pocket between arm and body filled in, or a lump of background at the person's side."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~truth).astype(np.uint8), connectivity=4)
    pockets = np.flatnonzero((stats[:, cv2.CC_STAT_AREA] >= 150) & (stats[:, cv2.CC_STAT_AREA] <= 3000))
    pockets = pockets[pockets > 0]
    if len(pockets) and rng.random() < 0.7:
        lump = _largest((labels == rng.choice(pockets)) & free)
    else:
        rim = ~truth & (_distance(~truth) < 2)
        blob = _blob(rng, truth.shape, *_pick(rng, rim), rng.uniform(400, 3000), rng.uniform(1, 2.5))
        lump = _largest(blob & ~truth & free)
    attached = (cv2.dilate(lump.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & truth
    return lump if lump.sum() >= 150 and attached.any() else None


_PLANTERS = {"hair_gap": _hair_gap, "spots": _spots, "holes": _holes, "extra_background": _extra_background}


def plant(rng: Rng, truth: Mask, hair: Mask, defect_fraction: float) -> tuple[Mask, list[tuple[Any, ...]]]:
    """Return the mask as labelled and a row of COLUMNS without the stem for each defect in it."""
    mask, rows, free = truth.copy(), [], np.ones_like(truth)
    if rng.random() >= defect_fraction:
        return mask, []
    order = rng.choice(KINDS, len(KINDS), replace=False, p=KIND_WEIGHTS)
    wanted = 1 if rng.random() < 0.7 else 2
    for kind in order:
        pieces = 0
        for _ in range(rng.integers(1, 5) if kind in ("spots", "holes") else 1):
            attempts = (_PLANTERS[kind](rng, truth, hair, free) for _ in range(8))
            piece = next((piece for piece in attempts if piece is not None), None)
            if piece is None:
                continue
            mask ^= piece
            free &= _distance(~piece) > 4  # so that no two defects touch
            gap = rim_size(piece, truth) if kind == "hair_gap" else (None, None)
            y, x = (float(axis.mean()) for axis in np.nonzero(piece))
            rows.append((str(kind), int(piece.sum()), *gap, x, y))
            pieces += 1
        wanted -= pieces > 0
        if not wanted:
            break
    return mask, rows


def _write_pair(
    index: int, folder: Path, seed: int, defect_fraction: float, size: tuple[int, int]
) -> list[tuple[Any, ...]]:
    rng = np.random.default_rng([seed, index])
    stem = f"{index + 1:04d}"
    image, truth, hair = draw_pair(rng, size)
    mask, rows = plant(rng, truth, hair, defect_fraction)
    write_image(folder / "images" / f"{stem}.jpg", image, quality=92)
    write_mask(folder / "masks" / f"{stem}.png", mask)
    write_mask(folder / "truth" / f"{stem}.png", truth)
    return [(stem, *row) for row in rows]


def generate(
    folder: Path,
    count: int,
    seed: int,
    defect_fraction: float = 0.35,
    size: tuple[int, int] = (320, 240),
    workers: int = 2,
) -> None:
    """Write `count` pairs of `size` (height, width) px into `folder`, replacing a set generated before.

    images/STEM.jpg, masks/STEM.png (0/255, about `defect_fraction` of them with planted defects),
    truth/STEM.png (the exact mask) and truth/truth.csv; stems 0001, 0002, ... A pair depends on `seed`
    and its number alone, not on `count` or `workers`.

    truth.csv has a row per planted defect, none for a clean mask: stem; defect (hair_gap, spots, holes,
    extra_background); size_px, its area; x, y, the mean of its pixels' columns and rows; and for hair_gap
    gap_px and contour_px, the rim's width and length (see `rim_size`), else empty. Each row is exactly one
    8-connected component of mask XOR truth.
    """
    folder = Path(folder)
    parts = ("images", "masks", "truth")
    if folder.is_file() or (folder.is_dir() and any(path.name not in parts for path in folder.iterdir())):
        raise UserError(f"{folder}: holds something other than a generated set; choose a new or empty folder")
    with fresh_folder(folder) as new:
        for name in parts:
            (new / name).mkdir()
        write = partial(_write_pair, folder=new, seed=seed, defect_fraction=defect_fraction, size=size)
        if workers <= 1 or count < 24:
            found = [write(index) for index in range(count)]
        else:
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                found = list(pool.map(write, range(count), chunksize=8))
        table = pd.DataFrame([row for rows in found for row in rows], columns=COLUMNS)
        write_table(new / "truth" / "truth.csv", table)
