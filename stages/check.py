"""check: how well the audit finds what was planted, and how its suggestions agree with the reviewed list."""

from pathlib import Path
from typing import Any

import pandas as pd

from personseg.agreement import agreement
from personseg.audit import AuditLimits
from personseg.categories import read_categories
from personseg.files import read_table, write_json
from personseg.planted import score_planted
from stages.common import Params, run

TRUTH = Path("data/raw/truth")  # of a generated sample only


def main(params: Params) -> None:
    suggested = read_table("data/audit/scores.csv").set_index("stem")["suggested"].astype(int)
    result: dict[str, Any] = {"suggested": {str(number): int((suggested == number).sum()) for number in (1, 2, 3)}}
    reviews = read_categories(f"data/categories/{params.data.name}.csv", suggested.index)
    if reviews:
        reviewed = pd.Series({stem: review.category for stem, review in reviews.items()})
        result["reviewed_against_suggested"] = agreement(reviewed, suggested[reviewed.index])
    if TRUTH.is_dir():
        limits = AuditLimits(**params.audit.limits.model_dump())
        folders = (Path("data/jpg"), Path("data/folds"), TRUTH, Path("data/clean"))
        result |= score_planted(*folders, limits, params.audit.workers)
    write_json("metrics/audit.json", result)


if __name__ == "__main__":
    run(main)
