"""Label defects. Each is one 8-connected component of where the mask differs from the truth."""

from typing import Any

import cv2
import numpy as np

from personseg.images import Mask
from personseg.sample.drawing import Floats, Rng, noise

KINDS = ("hair_gap", "spots", "holes", "extra_background")
KIND_WEIGHTS = (0.45, 0.27, 0.13, 0.15)  # how often each comes first in a defective mask
COLUMNS = ["stem", "defect", "size_px", "gap_px", "contour_px", "x", "y"]


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
