"""How far the looks at the masks agree with each other, with the list they made, and with the audit's suggestions.

    python -m benchmarks.review_agreement [--scores SCORES.csv] [--folder results/picsart/review]

Cohen's kappa (scikit-learn) of the three categories, and of category 1 against the rest; confusion tables.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from personseg.agreement import agreement
from personseg.categories import read_categories
from personseg.errors import UserError, one_line_errors
from personseg.files import read_table, write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scores", type=Path, default=Path("results/picsart/data/audit/scores.csv"))
    parser.add_argument("--folder", type=Path, default=Path("results/picsart/review"))
    parser.add_argument("--reviewed", type=Path, default=Path("data/categories/picsart.csv"))
    arguments = parser.parse_args()
    with one_line_errors():
        suggested = read_table(arguments.scores).set_index("stem")["suggested"].astype(int)
        paths = {name: arguments.folder / f"{name}.csv" for name in ("first", "second", "third", "fresh")}
        looks = {"suggested": suggested}
        for name, path in (paths | {"reviewed": arguments.reviewed}).items():
            reviews = read_categories(path, suggested.index)
            looks[name] = pd.Series({stem: review.category for stem, review in reviews.items()})
        for name in ("first", "reviewed"):
            if missing := set(suggested.index) - set(looks[name].index):
                raise UserError(f"{name} look: no review of {len(missing)} masks, as {min(missing)}")
    pairs = (
        ("first", "second"),
        ("first", "third"),
        ("reviewed", "fresh"),
        ("suggested", "fresh"),
        ("first", "suggested"),
        ("reviewed", "suggested"),
    )
    result = {
        "counts": {str(category): int((looks["reviewed"] == category).sum()) for category in (1, 2, 3)},
        **{
            f"{a}_against_{b}": agreement(looks[a][shared], looks[b][shared])
            for a, b in pairs
            for shared in [looks[a].index.intersection(looks[b].index)]
        },
    }
    for name, value in result.items():
        print(name, value)
    write_json(arguments.folder / "agreement.json", result)


if __name__ == "__main__":
    main()
