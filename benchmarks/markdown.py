"""Tables of figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], left: Sequence[int] = (0,)) -> str:
    """A Markdown table; figures to the right, the columns numbered in `left` to the left."""
    marks = "|".join("---" if column in left else "---:" for column in range(len(head)))
    cells = (" | ".join(str(cell) for cell in row) for row in (head, *rows))
    first, *others = (f"| {line} |" for line in cells)
    return "\n".join([first, f"|{marks}|", *others])
