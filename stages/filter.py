"""filter: keep category 1, repair category 2, leave out 3."""

from personseg.audit import AuditLimits
from personseg.files import write_json
from personseg.filtering import filter_masks
from stages.common import Params, run


def main(params: Params) -> None:
    counts = filter_masks(
        jpg_dir="data/jpg",
        folds_dir="data/folds",
        scores_csv="data/audit/scores.csv",
        categories_csv=f"data/categories/{params.data.name}.csv",
        out_dir="data/clean",
        limits=AuditLimits(**params.audit.limits.model_dump()),
        repair=params.filter.repair,
        workers=params.filter.workers,
    )
    write_json("metrics/filter.json", counts)


if __name__ == "__main__":
    run(main)
