"""Predictions laid over photos: true positive green, false positive red, false negative blue."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

GREEN, RED, BLUE = (60, 190, 90), (235, 60, 50), (50, 110, 245)


def error_overlay(
    image: NDArray[np.uint8], prediction: NDArray[np.bool_], target: NDArray[np.bool_], caption: str, scale: float = 1.5
) -> NDArray[np.uint8]:
    """Return the photo beside its tinted copy, enlarged by `scale`, a caption strip below; uint8 RGB.

    What is right is tinted lightly and what is wrong strongly, so errors are what the eye meets.
    """
    tinted = image.astype(np.float32)
    areas = ((prediction & target, GREEN, 0.3), (prediction & ~target, RED, 0.75), (~prediction & target, BLUE, 0.75))
    for area, colour, strength in areas:
        tinted[area] = (1 - strength) * tinted[area] + strength * np.array(colour, np.float32)
    pair = np.hstack([image, tinted.round().astype(np.uint8)])
    size = (round(pair.shape[1] * scale), round(pair.shape[0] * scale))
    pair = cv2.resize(pair, size, interpolation=cv2.INTER_CUBIC)
    strip = np.full((30, size[0], 3), 255, np.uint8)
    cv2.putText(strip, caption, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA)
    return np.vstack([pair, strip]).astype(np.uint8)
