"""How good a mask is: IoU, Dice, boundary IoU, counts over thresholds, confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Counts = tuple[int, int, int, int]

# Thresholds at which a pixel is person if its probability is ABOVE it; every tenth is one of the report's eleven.
THRESHOLDS = np.round(np.arange(101) / 100, 2).astype(np.float32)


def counts(prediction: Mask, target: Mask) -> Counts:
    """Return true positives, false positives, false negatives, true negatives in px; masks bool, same shape."""
    if prediction.shape != target.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {target.shape}")
    tp = int(np.count_nonzero(prediction & target))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(target)) - tp
    return tp, fp, fn, prediction.size - tp - fp - fn


def iou(tp: int, fp: int, fn: int) -> float:
    """Intersection over union; 1 where neither mask has any pixel (nothing to find, nothing found)."""
    union = tp + fp + fn
    return tp / union if union else 1.0


def dice(tp: int, fp: int, fn: int) -> float:
    """Dice coefficient, 2 tp / (2 tp + fp + fn); 1 where neither mask has any pixel."""
    total = 2 * tp + fp + fn
    return 2 * tp / total if total else 1.0


def boundary(mask: Mask, ratio: float = 0.02) -> Mask:
    """Mark the mask's pixels within `ratio` of the image diagonal from its contour (at least 1 px).

    The image's edge counts as outside, as in the reference implementation of Boundary IoU.
    """
    height, width = mask.shape
    distance = max(1, round(ratio * float(np.hypot(height, width))))
    padded = np.pad(mask, 1).astype(np.uint8)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)
    return mask & (eroded[1:-1, 1:-1] == 0)


def boundary_iou(prediction: Mask, target: Mask, ratio: float = 0.02) -> float:
    """Boundary IoU (Cheng et al., CVPR 2021): IoU of the two masks' inner boundary bands."""
    tp, fp, fn, _ = counts(boundary(prediction, ratio), boundary(target, ratio))
    return iou(tp, fp, fn)


@dataclass
class ThresholdCounts:
    """Pooled counts at every threshold of `THRESHOLDS` at once; memory does not grow with the images."""

    positives: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(THRESHOLDS) + 1, np.int64))
    negatives: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(THRESHOLDS) + 1, np.int64))

    def update(self, probability: NDArray[np.float32], target: Mask) -> None:
        """Add an image: float32 probabilities and bool truth, both HxW."""
        # For each pixel: how many thresholds lie below its probability.
        above = np.searchsorted(THRESHOLDS, probability.ravel(), side="left")
        bins = len(THRESHOLDS) + 1
        positive = np.bincount(above[target.ravel()], minlength=bins)
        self.positives += positive
        self.negatives += np.bincount(above, minlength=bins) - positive

    def iou(self) -> NDArray[np.float64]:
        """Pooled (micro) IoU at each threshold of `THRESHOLDS`."""
        tp = self.positives[::-1].cumsum()[::-1][1:]
        fp = self.negatives[::-1].cumsum()[::-1][1:]
        union = self.positives.sum() + fp
        return np.where(union > 0, tp / np.maximum(union, 1), 1.0)

    def report_protocol(self) -> float:
        """The report's own figure: the best pooled IoU of the thresholds 0, 0.1 ... 1 on the scored set itself."""
        return float(self.iou()[::10].max())


def pooled_iou(per_image: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pooled IoU, float64 [R], of R resamples: int64 [N, 3] (tp, fp, fn) of each image, int64 [R, M] indices drawn."""
    total = np.array([per_image[rows].sum(axis=0) for rows in drawn], dtype=np.float64)
    return total[:, 0] / np.maximum(total.sum(axis=1), 1)


def bootstrap_ci(per_image: NDArray[np.int64], resamples: int, seed: int, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the pooled IoU, images drawn with replacement.

    `per_image` is int64 [N, 3]: tp, fp, fn of each image.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(per_image), size=(resamples, len(per_image)))
    tail = (1 - level) / 2
    low, high = np.quantile(pooled_iou(per_image, drawn), [tail, 1 - tail])
    return float(low), float(high)
