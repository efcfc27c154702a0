"""Probability maps on disk: 8 bits are enough for a small model's opinion."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from personseg.errors import UserError
from personseg.files import atomic_path

LEVELS = 255

Floats = NDArray[np.float32]


def write_probability(path: Path, probability: Floats) -> None:
    """Store float32 probabilities [H, W] as an 8-bit PNG."""
    levels = np.rint(probability * LEVELS).astype(np.uint8)
    with atomic_path(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", levels)[1].tobytes())


def read_probability(path: Path, shape: tuple[int, int]) -> Floats:
    """Read stored probabilities as float32 [H, W] of `shape`, enlarged smoothly; UserError if unreadable."""
    levels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if levels is None:
        raise UserError(f"{path}: missing or not readable; run `dvc repro folds` to make it anew")
    resized = cv2.resize(levels.astype(np.float32) / LEVELS, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(resized, 0, 1).astype(np.float32)
