"""What the measures share: sizes, colours, distances, components.

Every measure takes the photo (uint8 RGB HxWx3) and the mask (bool HxW) at any size. Lengths and areas are
returned in pixels of the same photo scaled to a height of 320, so that limits hold for any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from personseg.images import RGB, Mask

HEIGHT = 320  # the height all lengths and areas refer to
WIDEST = 2560  # px at that height; stripes of pictures are squeezed to it
LEAF = 48  # samples in a leaf of the tree of colours: quickest for thousands of points, the result is the same

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """Where a defect is (bool HxW at the mask's size), how many pieces, and their area in px."""

    where: Mask
    count: int
    area: float


@dataclass(frozen=True)
class Verdict:
    """A fitted logistic decision: `weights` by feature, after the offset; the least probability to accept, and the
    least to be certain enough to change a mask that nobody has looked at.

    Fitted by `python -m benchmarks.defect_fit`.
    """

    offset: float
    weights: dict[str, float]
    least: float
    certain: float = 0.9

    def probability(self, features: Sequence[float]) -> float:
        """Probability from features in the order of `weights`."""
        return float(1 / (1 + np.exp(-(self.offset + np.dot([*self.weights.values()], features)))))

    def accepts(self, features: Sequence[float], certain_only: bool = False) -> bool:
        """Decide about features in the order of `weights`."""
        return self.probability(features) >= (self.certain if certain_only else self.least)


def px_scale(mask: Mask) -> float:
    return mask.shape[0] / HEIGHT


def to_lab(image: RGB, sigma: float = 0.8) -> Floats:
    """CIELAB of the lightly blurred photo: single noisy pixels would otherwise find a match anywhere."""
    smooth = cv2.GaussianBlur(image, (0, 0), sigma).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), dtype=np.float32)


def connected(mask: Mask, connectivity: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    return labels, stats  # type: ignore[return-value]


def depth_of(mask: Mask) -> Floats:
    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), dtype=np.float32)


def every_nth(points: Floats, most: int) -> Floats:
    return points[:: max(1, -(-len(points) // most))]


def nearest(samples: Floats, points: Floats, most: int = 3000) -> Floats:
    """Mean distance of each point to its three nearest samples."""
    distance, _ = cKDTree(every_nth(samples, most), leafsize=LEAF).query(points, k=3)
    return np.asarray(distance, dtype=np.float32).mean(axis=1)


def near(where: Mask, radius: float) -> Mask:
    return np.asarray(depth_of(~where) <= radius)


def window_around(where: Mask, margin: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )


def largest_component(mask: Mask) -> Mask:
    """Return the largest 8-connected component; all False for an empty mask."""
    labels, stats = connected(mask, 8)
    if len(stats) < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def coverage(mask: Mask) -> float:
    """Share of the frame that is person, 0 to 1."""
    return float(mask.mean())


def likeness(lab: Floats, piece: Mask, *others: Mask) -> tuple[float, ...]:
    """Mean Lab distance of the piece's pixels to the nearest colours in each of the others; inf if empty."""
    points = every_nth(lab[piece], 500)
    return tuple(float(nearest(lab[other], points).mean()) if other.sum() >= 3 else np.inf for other in others)


def edge_strength(image: RGB) -> Floats:
    """Colour gradient, in Lab units per px."""
    lab = to_lab(image, sigma=1.0)
    across, down = (cv2.Scharr(lab, cv2.CV_32F, dx, 1 - dx) / 32 for dx in (1, 0))
    return np.asarray(np.sqrt((across**2 + down**2).sum(axis=2)), dtype=np.float32)


def strongest_edge(edges: Floats, where: Mask) -> float:
    """Mean over `where` of the strongest edge within a pixel; 0 where it is empty."""
    return float(cv2.dilate(edges, np.ones((3, 3), np.uint8))[where].mean()) if where.any() else 0.0


def log_odds(probability: Any) -> Any:
    """Log-odds of probabilities (number or array), kept away from 0 and 1: the small model is never that sure."""
    return np.log((probability + 0.02) / (1.02 - probability))


def _working_shape(mask: Mask) -> tuple[int, int]:
    return min(WIDEST, max(1, round(mask.shape[1] / px_scale(mask)))), HEIGHT


def working_mask(mask: Mask) -> Mask:
    """Bring a mask to a height of 320."""
    if mask.shape[0] == HEIGHT:
        return mask
    share = cv2.resize(mask.astype(np.float32), _working_shape(mask), interpolation=cv2.INTER_AREA)
    return np.asarray(share >= 0.5)


def working_size(image: RGB, mask: Mask, expected: Floats) -> tuple[RGB, Mask, Floats]:
    """Bring photo, mask and out-of-fold probability to a height of 320."""
    if mask.shape[0] == HEIGHT:
        return image, mask, expected
    small, probability = (
        cv2.resize(values, _working_shape(mask), interpolation=cv2.INTER_AREA) for values in (image, expected)
    )
    return np.asarray(small, dtype=np.uint8), working_mask(mask), np.asarray(probability, dtype=np.float32)
