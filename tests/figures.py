"""A drawn person for the mask tests: photo, true mask, and places to plant defects."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from personseg.audit import AuditLimits, Case
from personseg.files import write_table
from personseg.images import RGB, Mask
from personseg.probability import write_probability

LIMITS = AuditLimits(
    coverage_min=0.005,
    coverage_max=0.995,
    gap_width=4,
    wide_gap_width=8,
    hair_gap=190,
    spots=100,
    holes=200,
    ragged_edge=1.2,
    extra_background=3000,
    missing_part=4000,
    severe=3,
)
HAIR, SKIN, SHIRT = (60, 40, 30), (215, 165, 135), (40, 70, 150)


def person(seed: int = 0, scale: int = 1) -> tuple[RGB, Mask]:
    """Photo uint8 (320 * scale)x(240 * scale)x3 of a dark-haired figure on a noisy wall, and its mask."""
    rng = np.random.default_rng(seed)
    wall = np.array([170, 185, 175]) + np.linspace(-15, 15, 240)[None, :, None]
    photo = np.broadcast_to(wall, (320, 240, 3)).astype(np.uint8).copy()
    mask = np.zeros((320, 240), np.uint8)
    for centre, axes, colour in (
        ((120, 330), (100, 140), SHIRT),
        ((120, 120), (60, 80), HAIR),
        ((120, 135), (38, 52), SKIN),
    ):
        cv2.ellipse(photo, centre, axes, 0, 0, 360, colour, -1)
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
    noisy = np.clip(photo + rng.normal(0, 3, photo.shape), 0, 255).astype(np.uint8)
    size = (240 * scale, 320 * scale)
    big = cv2.resize(noisy, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(big, dtype=np.uint8), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 0


def expected_of(truth: Mask) -> NDArray[np.float32]:
    """What a fair small model would predict: the true mask, blurred by 2 px of a photo 320 px high."""
    sigma = 2 * truth.shape[0] / 320
    return np.asarray(cv2.GaussianBlur(truth.astype(np.float32), (0, 0), sigma), dtype=np.float32)


def case(image: RGB, mask: Mask, truth: Mask) -> Case:
    """A mask to be judged on its photo, with the prediction of a fair small model."""
    return Case(image, mask, expected_of(truth))


def disc(shape: tuple[int, ...], centre: tuple[int, int], radius: int) -> Mask:
    """A filled disc, centre as (x, y), as bool HxW."""
    return cv2.circle(np.zeros(shape[:2], np.uint8), centre, radius, 1, -1) > 0


def with_rim(mask: Mask, width: int) -> Mask:
    """The mask with a rim of background kept around the upper half of the head."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    wide = cv2.dilate(mask.astype(np.uint8), kernel) > 0
    wide[mask.shape[0] * 3 // 8 :] = False
    return np.asarray(mask | wide)


def with_many_spots(mask: Mask) -> Mask:
    """The mask with a column of spots on either side, more of them than a local edit mends."""
    spots = [disc(mask.shape, (x, y), 7) for x in (20, 220) for y in range(20, 300, 16)]
    return np.asarray(mask | np.any(spots, axis=0))


def write_folds(folder: Path, truths: dict[str, Mask]) -> None:
    """What stage folds leaves for masks whose true ones are `truths`, by stem."""
    folder.mkdir()
    for stem, truth in truths.items():
        write_probability(folder / f"{stem}.png", expected_of(truth))
    table = pd.DataFrame({"stem": list(truths), "fold": 1, "near_duplicates": ""})
    write_table(folder / "folds.csv", table)
