"""What makes training quicker on a CPU; `python -m benchmarks.training_cost` shows the gain."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class _Float32Convolution:
    """Mixed in before a convolution's class: computes in float32 under autocast, answers in the input's type."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)  # type: ignore[misc]


@contextlib.contextmanager
def float32_depthwise(network: nn.Module) -> Iterator[None]:
    """Let the depthwise convolutions of `network` compute in float32 while bf16 autocast is on.

    oneDNN has no quick bf16 kernel for their backward pass: in float32 they take a quarter to a half of the
    time. Parameters stay the same; a copy of the network made meanwhile behaves alike.
    """
    classes: list[tuple[nn.Module, type[nn.Module]]] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and module.groups == module.in_channels:
            classes.append((module, type(module)))
            module.__class__ = type("Float32Depthwise", (_Float32Convolution, type(module)), {})
    try:
        yield
    finally:
        for module, original in classes:
            module.__class__ = original
