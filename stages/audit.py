"""audit: measure every mask, suggest a category, draw the worst."""

from personseg.audit import AuditLimits, audit
from stages.common import Params, run


def main(params: Params) -> None:
    audit(
        images_dir="data/jpg/images",
        masks_dir="data/jpg/masks",
        out_csv="data/audit/scores.csv",
        sheets_dir="data/audit/sheets",
        limits=AuditLimits(**params.audit.limits.model_dump()),
        workers=params.audit.workers,
        worst=params.audit.worst,
    )


if __name__ == "__main__":
    run(main)
