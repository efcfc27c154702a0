"""One way to use all cores on many files: ordered results, bounded memory, a progress bar."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
R = TypeVar("R")

# Fewer items than this are not worth starting processes for.
SERIAL_BELOW = 16


def parallel_map(function: Callable[[T], R], items: Sequence[T], workers: int, label: str) -> Iterator[R]:
    """Yield `function(item)` in order, computed by `workers` processes; an exception in one ends all.

    `function` and the items must be picklable. Only a few results wait in memory at a time.
    """
    bar = {"desc": label, "total": len(items), "mininterval": 1.0, "unit": "img"}
    if workers <= 1 or len(items) < SERIAL_BELOW:
        yield from tqdm(map(function, items), **bar)
        return
    chunk = max(1, min(32, len(items) // (workers * 4)))
    with multiprocessing.get_context("forkserver").Pool(workers) as pool:
        yield from tqdm(pool.imap(function, items, chunksize=chunk), **bar)
