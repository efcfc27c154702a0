"""The original report's own network, kept to be measured against."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personseg.weights import build_encoder


def _double_conv(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 3, padding=1),
        nn.BatchNorm2d(middle),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _up(x: Tensor, scale: int) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


class ReportUnet(nn.Module):
    """Unet on a resnet34 whose stem has no max-pooling, four decoder outputs concatenated.

    Every stage works at twice the resolution of the usual resnet34 Unet, which is what makes it so
    dear. Source: the public code behind the report.
    Input float32 [N, 3, H, W] in 0..255, H and W multiples of 32; output logits float32 [N, 1, H, W]. `weights` as
    of `personseg.weights.build_encoder`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dropout: float, mean: list[float], std: list[float], weights: str = "none") -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        resnet: Any = build_encoder("resnet34", weights)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu)
        self.encoder = nn.ModuleList([resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4])
        self.bottleneck = nn.Sequential(*_double_conv(512, 512, 256), nn.MaxPool2d(2))
        self.decoder = nn.ModuleList(
            [
                _double_conv(256 + 512, 512, 256),
                _double_conv(256 + 256, 256, 128),
                _double_conv(128 + 128, 128, 64),
                _double_conv(64 + 64, 128, 64),
                _double_conv(64, 64, 64),
            ]
        )
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Sequential(nn.Conv2d(320, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map photos to logits; shapes as in the class docstring."""
        x = self.stem((x - self.mean) / self.std)
        skips: list[Tensor] = []
        for layer in self.encoder:
            x = layer(x)
            skips.append(x)
        x = self.bottleneck(x)
        outputs = []
        for block in self.decoder:
            x = _up(x, 2)
            if skips:
                x = torch.cat([x, skips.pop()], dim=1)
            x = block(x)
            outputs.append(x)
        # The deepest block's output is left out, as in the report's code.
        joined = torch.cat([_up(y, 2**i) if i else y for i, y in enumerate(reversed(outputs[1:]))], dim=1)
        return self.head(self.dropout(joined))
