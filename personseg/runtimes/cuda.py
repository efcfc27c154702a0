"""Timing on an NVIDIA GPU by the GPU's own clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class CudaClock:
    """Times work on PyTorch's current CUDA stream with events, which leave out what the host does meanwhile."""

    def __init__(self) -> None:
        self.start, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time what the block puts on the stream; returns when the device has done it."""
        self.start.record()
        yield
        self.end.record()
        self.end.synchronize()

    def seconds(self) -> float:
        """How long the last block took on the device."""
        return self.start.elapsed_time(self.end) / 1e3
