"""Features of a teacher's encoder as hints for another encoder.

A. Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, at every resolution at once. An encoder that starts
from random weights so learns from each photo hundreds of numbers a pixel instead of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personseg.errors import UserError
from personseg.model import ConcatUnet

FINEST = 2  # levels of features, of stride 2^level; the finer one would cost most and is nothing but edges


class Hints(nn.Module):
    """How far the features of `student`'s encoder, each level mapped by a 1x1 convolution, are from the `teacher`'s.

    The teacher's are standardised by channel over the batch of this process, so every channel and level counts alike.
    It learns nothing itself.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        super().__init__()
        if not isinstance(teacher, ConcatUnet) or not isinstance(student, ConcatUnet):
            raise UserError("teacher.hints: only a concat_unet gives hints, and only a concat_unet takes them")
        # In a tuple it is none of the modules: not averaged, not in checkpoints, always in eval mode.
        self.frozen = (teacher.requires_grad_(False).eval(),)
        channels = [list(map(int, net.encoder.out_channels)) for net in (student, teacher)]  # type: ignore[arg-type]
        pairs = list(zip(*channels, strict=True))[FINEST:]
        self.maps = nn.ModuleList(nn.Conv2d(ours, theirs, 1) for ours, theirs in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(theirs, affine=False) for _, theirs in pairs)

    def forward(self, images: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Mean squared difference, a scalar, between the teacher's features of `images` and the student's `features`.

        `images` float32 [N, 3, H, W] in 0..255; `features` as `ConcatUnet.features` gives them.
        """
        with torch.no_grad():
            wanted = self.frozen[0].to(images.device).features(images)[FINEST:]
        losses = [
            F.mse_loss(to_theirs(ours).float(), norm(theirs.float()))
            for to_theirs, norm, ours, theirs in zip(self.maps, self.norms, features[FINEST:], wanted, strict=True)
        ]
        return torch.stack(losses).mean()
