"""Run-length codes as in the PicsArt competition: pairs of start (from 1, row by row) and length."""

from __future__ import annotations

import numpy as np

from personseg.errors import UserError
from personseg.images import Mask


def encode(mask: Mask) -> str:
    """Encode a bool HxW mask; an empty one is an empty string."""
    padded = np.concatenate([[False], mask.ravel(), [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1]) + 1
    edges[1::2] -= edges[::2]
    return " ".join(map(str, edges.tolist()))


def decode(code: str, shape: tuple[int, int]) -> Mask:
    """Decode into a bool mask of `shape` (H, W); UserError if the runs do not rise or leave the frame."""
    try:
        numbers = np.array(code.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise UserError(f"run-length code {code[:40]!r}: not whole numbers of this size") from None
    size = shape[0] * shape[1]
    if (numbers > size).any():
        raise UserError(f"run-length code: runs leave a mask of {shape[1]}x{shape[0]}")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    if len(numbers) % 2 or (lengths < 1).any():
        raise UserError("run-length code: needs pairs of start and length, lengths from 1")
    ends = starts + lengths
    if len(starts) and (starts[0] < 0 or ends[-1] > size or (starts[1:] < ends[:-1]).any()):
        raise UserError(f"run-length code: runs overlap or leave a mask of {shape[1]}x{shape[0]}")
    steps = np.zeros(size + 1, np.int8)
    steps[starts] += 1
    np.subtract.at(steps, ends, 1)
    return np.cumsum(steps[:-1], dtype=np.int8).astype(bool).reshape(shape)
