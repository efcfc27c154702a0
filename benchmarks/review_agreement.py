"""How far two looks at the masks agree, and the looks with the audit's suggestions.

    python -m benchmarks.review_agreement [--scores SCORES.csv] [--folder results/picsart/review]

Cohen's kappa (scikit-learn) of the three categories, and of category 1 against the rest; confusion tables.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from personseg.agreement import agreement
from personseg.categories import read_categories
from personseg.errors import UserError
from personseg.files import read_table, write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scores", type=Path, default=Path("results/picsart/data/audit/scores.csv"))
    parser.add_argument("--folder", type=Path, default=Path("results/picsart/review"))
    arguments = parser.parse_args()
    try:
        suggested = read_table(arguments.scores).set_index("stem")["suggested"].astype(int)
        looks = (read_categories(arguments.folder / f"{name}.csv", suggested.index) for name in ("first", "second"))
        first, second = (pd.Series({stem: review.category for stem, review in look.items()}) for look in looks)
        if missing := set(suggested.index) - set(first.index):
            raise UserError(f"{arguments.folder}/first.csv: no review of {len(missing)} masks, as {min(missing)}")
        result = {
            "counts": {str(category): int((first == category).sum()) for category in (1, 2, 3)},
            "first_against_second": agreement(first[second.index], second),
            "first_against_suggested": agreement(first, suggested[first.index]),
        }
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    for name, value in result.items():
        print(name, value)
    write_json(arguments.folder / "agreement.json", result)


if __name__ == "__main__":
    main()
