"""Curves, and a pen that draws them as shaded bodies.

Figures are built in head heights: the head's centre is (0, 0), its crown (0, -0.5), y is down. They are drawn
at SCALE times the picture's size and averaged down, so that a pixel of the exact mask is person where the
figure covers at least half of it.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Rng = np.random.Generator
Floats = NDArray[np.float32]
Points = NDArray[np.float64]
Shape = Any  # one closed curve (n, 2), or a list of curves as arrays that are joined

SCALE = 3  # drawing size over picture size


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


def between(share: Floats, dark: Floats, bright: Floats) -> Floats:
    """Colours (..., 3) from `dark` (share 0) to `bright` (share 1)."""
    return np.asarray(dark + np.clip(share, 0, 1)[..., None] * (bright - dark), dtype=np.float32)


def shrink(image: NDArray[Any], size: tuple[int, int]) -> Floats:
    """Average a drawing down to `size` (height, width)."""
    return np.asarray(cv2.resize(image.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA))


def blurred(image: Floats, sigma: float) -> Floats:
    """Gaussian blur by `sigma` px, a large one at reduced size."""
    if sigma > 6:
        small = cv2.resize(image, None, fx=3 / sigma, fy=3 / sigma, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(cv2.GaussianBlur(small, (0, 0), 3), image.shape[1::-1]))
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32) if sigma > 0.1 else image


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

    def over(self, picture: Floats, alpha: float = 1.0) -> Floats:
        """Lay what is drawn, averaged down, over a picture."""
        size = (picture.shape[0], picture.shape[1])
        cover = alpha * shrink(self.person, size)[..., None]
        return np.asarray(alpha * shrink(self.colour, size) + (1 - cover) * picture)


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
            mask = blurred(_raster(pieces, window, alpha), blur * self.unit) * self.canvas.person[window]
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
