"""The three figures several benchmarks compare models by, and their paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personseg.images import Mask
from personseg.metrics import boundary_iou, counts, iou, pooled_iou


@dataclass(frozen=True)
class Scores:
    """Counts (int64 [N, 3]: tp, fp, fn) and boundary IoU (float64 [N]) of N photos."""

    counts: NDArray[np.int64]
    boundary: NDArray[np.float64]

    def summary(self) -> dict[str, float]:
        """Pooled IoU, and the means over photos."""
        return {
            "iou": iou(*self.counts.sum(axis=0).tolist()),
            "iou_imagewise": float(np.mean([iou(*row) for row in self.counts.tolist()])),
            "boundary_iou": float(self.boundary.mean()),
        }

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """Scores of all the photos of `parts`."""
        return cls(np.concatenate([part.counts for part in parts]), np.concatenate([part.boundary for part in parts]))


def score(predictions: Iterable[tuple[Mask, Mask]]) -> Scores:
    """Score pairs of predicted and true mask."""
    rows = [(counts(predicted, truth)[:3], boundary_iou(predicted, truth)) for predicted, truth in predictions]
    return Scores(np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows]))


def difference(ours: Scores, theirs: Scores, resamples: int, seed: int) -> dict[str, Any]:
    """Ours less theirs with 95 % intervals by bootstrap, the same photos drawn for both."""
    number = len(ours.counts)
    drawn = np.random.default_rng(seed).integers(0, number, size=(resamples, number))
    values = {
        "iou": pooled_iou(ours.counts, drawn) - pooled_iou(theirs.counts, drawn),
        "boundary_iou": (ours.boundary - theirs.boundary)[drawn].mean(axis=1),
    }
    mine, other = ours.summary(), theirs.summary()
    return {
        name: {
            "difference": mine[name] - other[name],
            "ci95_low": float(np.quantile(value, 0.025)),
            "ci95_high": float(np.quantile(value, 0.975)),
        }
        for name, value in values.items()
    }
