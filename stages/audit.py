"""audit: measure every mask, suggest a category, draw the worst."""

from personseg.audit import AuditLimits, audit
from stages.common import Params, run


def main(params: Params) -> None:
    audit(
        jpg_dir="data/jpg",
        folds_dir="data/folds",
        out_csv="data/audit/scores.csv",
        sheets_dir="data/audit/sheets",
        limits=AuditLimits(**params.audit.limits.model_dump()),
        workers=params.audit.workers,
        worst=params.audit.worst,
    )


if __name__ == "__main__":
    run(main)
