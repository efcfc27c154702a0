"""Reviewed categories: a small CSV, kept in git, that beats the audit's suggestions.

Columns: stem, category (1 acceptable, 2 quickly fixable, 3 long to fix), defects, reviewer, note.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from personseg.errors import UserError
from personseg.files import atomic_path, natural_key

COLUMNS = ("stem", "category", "defects", "reviewer", "note")


@dataclass(frozen=True)
class Review:
    """One person's decision about one mask."""

    stem: str
    category: int
    defects: str = ""
    reviewer: str = ""
    note: str = ""


def read_categories(path: str | Path, known_stems: Collection[str]) -> dict[str, Review]:
    """Read a reviewed file into {stem: Review}; a missing file gives {}.

    UserError, naming file, line and stem: a stem without a mask, a category other than 1, 2, 3, a stem
    given twice, or the columns `stem` and `category` missing.
    """
    path = Path(path)
    if not path.exists():
        return {}
    known = set(known_stems)
    reviews: dict[str, Review] = {}
    lines: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)  # else a quote left open swallows the rest
            missing = {"stem", "category"} - set(reader.fieldnames or ())
            if missing:
                raise UserError(f"{path}: no column {', '.join(sorted(missing))}; needs {','.join(COLUMNS)}")
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                stem = (row["stem"] or "").strip()
                category = (row["category"] or "").strip()
                if stem not in known:
                    raise UserError(f"{where}: no mask has the stem {stem!r}; correct or delete the line")
                if category not in ("1", "2", "3"):
                    raise UserError(f"{where}: stem {stem} has category {category!r}; use 1, 2 or 3")
                if stem in reviews:
                    raise UserError(f"{where}: stem {stem} is already on line {lines[stem]}; delete one")
                lines[stem] = reader.line_num
                texts = {name: (row.get(name) or "").strip() for name in COLUMNS[2:]}
                reviews[stem] = Review(stem, int(category), **texts)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a readable UTF-8 CSV ({error}); save it as one") from None
    return reviews


def mended_path(categories_csv: Path, stem: str) -> Path:
    """The mask of `stem` that a person mended: NAME.masks/STEM.png beside NAME.csv."""
    return categories_csv.with_suffix(".masks") / f"{stem}.png"


def write_categories(path: str | Path, reviews: Iterable[Review]) -> None:
    """Write reviews in natural order of their stems; ValueError for a category other than 1, 2, 3."""
    ordered = sorted(reviews, key=lambda review: natural_key(review.stem))
    for review in ordered:
        if review.category not in (1, 2, 3):
            raise ValueError(f"stem {review.stem}: category {review.category} is not 1, 2 or 3")
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(review) for review in ordered)
