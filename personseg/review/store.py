"""What people decide about masks, on disk: reviewed categories and masks mended by hand. Safe with several writers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from personseg.categories import Review, mended_path, read_categories, write_categories
from personseg.images import Mask, write_mask


class Conflict(Exception):
    """Someone else has changed the same row in the meantime; `current` is what stands there now."""

    def __init__(self, current: dict[str, Any] | None) -> None:
        super().__init__("changed elsewhere")
        self.current = current


def _row(review: Review) -> dict[str, Any]:
    return {key: value for key, value in asdict(review).items() if key != "stem"}


@dataclass(frozen=True)
class ReviewStore:
    """Reads and writes `path` (data/categories/NAME.csv), row by row: category, defects, reviewer, note.

    The file is read anew for every change, under a lock, and replaced as a whole: rows that another tab, process or
    editor wrote stay, and no kill leaves half a file.
    """

    path: Path
    stems: Collection[str]

    def _lock(self) -> FileLock:
        # Not beside the file: the folder is a dependency of stages.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.parent.parent / f".{self.path.stem}.lock")

    def read(self) -> dict[str, dict[str, Any]]:
        """All rows, by stem."""
        return {stem: _row(review) for stem, review in read_categories(self.path, self.stems).items()}

    def save(self, stem: str, row: dict[str, Any] | None, expected: dict[str, Any] | None) -> None:
        """Replace the row of `stem` by `row` (None: delete it) if it still is `expected`; else Conflict."""
        with self._lock():
            reviews = read_categories(self.path, self.stems)
            current = _row(reviews[stem]) if stem in reviews else None
            if current != expected:
                raise Conflict(current)
            if row is None:
                reviews.pop(stem, None)
            else:
                reviews[stem] = Review(stem, **row)
            write_categories(self.path, reviews.values())

    def mended_path(self, stem: str) -> Path:
        """Where the mask of `stem`, mended by hand, lies, if there is one."""
        return mended_path(self.path, stem)

    def save_mended(self, stem: str, mask: Mask | None) -> None:
        """Write a mended mask (bool HxW), or with None go back to the one that came."""
        path = self.mended_path(stem)
        if mask is None:
            path.unlink(missing_ok=True)
        else:
            write_mask(path, mask)
