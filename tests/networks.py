"""Small networks, for tests."""

import os
import signal
from typing import Any

import torch
from torch import Tensor, nn


def architecture(encoder: str = "resnet18", **changes: Any) -> dict[str, Any]:
    base = {
        "name": "concat_unet",
        "encoder": encoder,
        "decoder_channels": [32, 16, 16, 16, 16],
        "projection": 4,
        "dropout": 0.2,
        "attention": None,
    }
    return {**base, **changes}


class Small(nn.Module):
    """Convolutions without batch norm or dropout: what it learns does not depend on how a batch is dealt."""

    def __init__(self, dies_at: int | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)
        )
        self.dies_at = dies_at
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, 1, H, W] of photos [N, 3, H, W] (0 to 255); the second process is killed at call `dies_at`."""
        self.calls += 1
        if self.calls == self.dies_at and torch.distributed.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.layers(x / 255)
