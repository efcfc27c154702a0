"""Large photos a few rows at a time, so that what is worked out of them never lies in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator

STRIP = 256  # rows


def strips(height: int) -> Iterator[slice]:
    """Slices of at most STRIP rows that together are all `height` of them."""
    for top in range(0, height, STRIP):
        yield slice(top, min(top + STRIP, height))
