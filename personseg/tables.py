"""Tables of any length, row by row: only a block of rows is in memory, a hundred thousand photos or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from personseg.files import atomic_path

BLOCK = 2000  # rows


def blocks(rows: Iterable[Mapping[str, Any]]) -> Iterator[pd.DataFrame]:
    """Gather rows into tables of `BLOCK` rows: as Python objects they take ten times the memory."""
    remaining = iter(rows)
    while block := list(islice(remaining, BLOCK)):
        yield pd.DataFrame(block)


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of the same columns as `files.write_table` would write their table, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        for number, block in enumerate(blocks(rows)):
            block.to_csv(stream, index=False, header=number == 0, float_format="%.6g", lineterminator="\n")
