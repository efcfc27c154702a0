"""Losses by name, and weighted sums of them."""

from __future__ import annotations

from collections.abc import Callable

import segmentation_models_pytorch.losses as smp_losses
import torch.nn.functional as F
from torch import Tensor, nn

from personseg.errors import UserError

WINDOW = 31  # px; of the neighbourhood that decides how near a contour a pixel is


class StructureLoss(nn.Module):
    """BCE plus IoU loss, pixels near a contour weighing up to six times as much (Wei et al., "F3Net: Fusion, feedback
    and focus for salient object detection", AAAI 2020)."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        near = F.avg_pool2d(target, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
        weight = 1 + 5 * (near - target).abs()
        area = (1, 2, 3)
        bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        bce = (weight * bce).sum(area) / weight.sum(area)
        probability = logits.sigmoid()
        shared = (weight * probability * target).sum(area)
        either = (weight * (probability + target)).sum(area) - shared
        return (bce + 1 - (shared + 1) / (either + 1)).mean()


LOSSES: dict[str, Callable[[float], nn.Module]] = {
    "focal": lambda gamma: smp_losses.FocalLoss("binary", gamma=gamma),  # the report's; Lin et al. 2017
    "bce": lambda gamma: smp_losses.SoftBCEWithLogitsLoss(),
    "dice": lambda gamma: smp_losses.DiceLoss("binary", from_logits=True),
    "jaccard": lambda gamma: smp_losses.JaccardLoss("binary", from_logits=True),
    "structure": lambda gamma: StructureLoss(),
    "lovasz": lambda gamma: smp_losses.LovaszLoss("binary", per_image=True),  # Berman et al. 2018
}


class WeightedLoss(nn.Module):
    """Weighted sum of named losses over logits and targets, both float32 [N, 1, H, W]; a scalar.

    Those of weight 0 are left out. UserError for a name that is no loss, or nothing left.
    """

    def __init__(self, weights: dict[str, float], focal_gamma: float) -> None:
        super().__init__()
        unknown = sorted(set(weights) - set(LOSSES))
        self.weights = {name: weight for name, weight in weights.items() if weight}
        if unknown or not self.weights:
            raise UserError(f"train.loss: {', '.join(unknown) or 'empty'}; choose from {', '.join(LOSSES)}")
        self.terms = nn.ModuleDict({name: LOSSES[name](focal_gamma) for name in self.weights})

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted sum; computed in float32 whatever the autocast precision."""
        logits = logits.float()
        losses = [weight * self.terms[name](logits, target) for name, weight in self.weights.items()]
        return sum(losses[1:], start=losses[0])
