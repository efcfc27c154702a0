"""The lists of train, val and test on disk."""

from __future__ import annotations

from pathlib import Path

from personseg.files import read_table

NAMES = ("train", "val", "test")


def read_split(folder: Path) -> dict[str, list[str]]:
    """Read the stems of train, val and test."""
    return {name: read_table(folder / f"{name}.csv", ["stem"])["stem"].tolist() for name in NAMES}
