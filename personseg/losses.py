"""Losses by name, and weighted sums of them."""

from __future__ import annotations

from collections.abc import Callable

import segmentation_models_pytorch.losses as smp_losses
from torch import Tensor, nn

from personseg.errors import UserError

LOSSES: dict[str, Callable[[float], nn.Module]] = {
    "focal": lambda gamma: smp_losses.FocalLoss("binary", gamma=gamma),  # the report's; Lin et al. 2017
    "bce": lambda gamma: smp_losses.SoftBCEWithLogitsLoss(),
    "dice": lambda gamma: smp_losses.DiceLoss("binary", from_logits=True),
    "jaccard": lambda gamma: smp_losses.JaccardLoss("binary", from_logits=True),
    "lovasz": lambda gamma: smp_losses.LovaszLoss("binary", per_image=True),  # Berman et al. 2018
}


class WeightedLoss(nn.Module):
    """Weighted sum of named losses over logits and targets, both float32 [N, 1, H, W]; a scalar."""

    def __init__(self, weights: dict[str, float], focal_gamma: float) -> None:
        super().__init__()
        unknown = sorted(set(weights) - set(LOSSES))
        if unknown or not weights:
            raise UserError(f"train.loss: {', '.join(unknown) or 'empty'}; choose from {', '.join(LOSSES)}")
        self.weights = dict(weights)
        self.terms = nn.ModuleDict({name: LOSSES[name](focal_gamma) for name in weights})

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted sum; computed in float32 whatever the autocast precision."""
        logits = logits.float()
        losses = [weight * self.terms[name](logits, target) for name, weight in self.weights.items()]
        return sum(losses[1:], start=losses[0])
