"""From a photo of any size to the network's input and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Placement:
    """Where a photo lies inside the network's input.

    `height`, `width`: the photo's own size; `inner_height`, `inner_width`: its size inside the input,
    whose top left corner it shares.
    """

    height: int
    width: int
    inner_height: int
    inner_width: int

    def inner(self, values: NDArray[T]) -> NDArray[T]:
        """Crop the padding off values of the network's size [H, W]."""
        return values[: self.inner_height, : self.inner_width]

    def restore(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Crop the padding off float32 logits or probabilities [H, W] and resize to the photo's size."""
        inner = self.inner(values)
        if inner.shape == (self.height, self.width):
            return np.ascontiguousarray(inner)
        return np.asarray(cv2.resize(inner, (self.width, self.height), interpolation=cv2.INTER_LINEAR), np.float32)


def enlarge(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Enlarge float32 logits [N, h, w] bilinearly to `size` (H, W), as a network itself would; those of it stay."""
    if values.shape[1:] == size:
        return values
    enlarged = np.empty((len(values), *size), np.float32)
    for small, large in zip(values, enlarged, strict=True):
        cv2.resize(small, size[::-1], dst=large, interpolation=cv2.INTER_LINEAR)
    return enlarged


def place(height: int, width: int, size: tuple[int, int]) -> Placement:
    """Fit a photo of height x width into `size` (H, W), aspect ratio kept, never enlarged."""
    scale = min(1.0, size[0] / height, size[1] / width)
    inner_height = min(size[0], max(1, round(height * scale)))
    inner_width = min(size[1], max(1, round(width * scale)))
    return Placement(height, width, inner_height, inner_width)


def cover(image: NDArray[np.uint8], height: int, width: int, interpolation: int) -> NDArray[np.uint8]:
    """Scale a uint8 image [H, W, 3] or [H, W] to cover height x width, aspect ratio kept; crop it in the middle."""
    rows, columns = image.shape[:2]
    scale = max(height / rows, width / columns)
    size = (max(width, round(columns * scale)), max(height, round(rows * scale)))
    if size != (columns, rows):
        image = np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return image[top : top + height, left : left + width]


def letterbox(image: NDArray[Any], size: tuple[int, int]) -> tuple[NDArray[Any], Placement]:
    """Fit a uint8 image [H, W, 3] or mask [H, W] into `size` (H, W).

    Photos that fit are not resampled; larger ones are shrunk by area averaging. The rest is padded
    with 0 on the right and at the bottom, as in the report (which padded to a square).
    """
    placement = place(image.shape[0], image.shape[1], size)
    inner_shape = (placement.inner_height, placement.inner_width)
    if image.shape[:2] != inner_shape:
        image = cv2.resize(image, inner_shape[::-1], interpolation=cv2.INTER_AREA)
    padded = np.zeros((*size, *image.shape[2:]), dtype=image.dtype)
    padded[: inner_shape[0], : inner_shape[1]] = image
    return padded, placement
