"""Score audit and repair on freshly generated pictures whose planted defects are known.

    python -m benchmarks.audit_truth FOLDER --seed 901 [--count 300]

Makes FOLDER/raw, jpg, folds, scores.csv and clean as the stages would, with the params of this project, and prints
what was found and mended, as stage check does. What exists in FOLDER is not made again. Seeds 100, 200, 300, 400,
555, 1601, 1702, 1803, 2611, 2712, 2813, 2914, 3015 and 3116 are those the audit's constants were fitted on
(benchmarks/defect_fit.py; the last three for holes alone, and results/audit/earlier scores them with the constants
before that); 7 (the default sample), 901, 1301, 1402, 1503, 1904, 2005, 2106, 2207, 2308, 2409, 2510, 3217, 3318 and
3419 were looked at; any other is unseen. results/audit was made with OMP_NUM_THREADS=1 and --count 240: with another
number of threads sums are taken in another order.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from personseg.audit import AuditLimits, audit
from personseg.convert import convert
from personseg.errors import one_line_errors
from personseg.files import write_json
from personseg.filtering import filter_masks
from personseg.folds import out_of_fold
from personseg.planted import score_planted
from personseg.resume import fingerprint, resume_folder
from personseg.sample.generate import generate
from stages.params import load_params


def score(folder: Path, seed: int, count: int) -> dict[str, Any]:
    """Make the set and score it; the result of `score_planted`."""
    params = load_params()
    folder.mkdir(parents=True, exist_ok=True)
    raw, jpg, folds = folder / "raw", folder / "jpg", folder / "folds"
    if not raw.is_dir():
        generate(raw, count, seed, params.sample.defect_fraction)
    if not jpg.is_dir():
        section = params.convert
        pixels = int(section.max_megapixels * 1e6)
        convert(raw, jpg, section.jpeg_quality, pixels, section.max_reject_fraction, section.workers)
    if not folds.is_dir():
        values = params.folds.model_dump()
        with resume_folder(folder / "resume", fingerprint(values, [jpg / "manifest.csv"])) as state:
            out_of_fold(jpg, folds, values, state)
    limits = AuditLimits(**params.audit.limits.model_dump())
    audit(jpg, folds, folder / "scores.csv", folder / "sheets", limits, params.audit.workers, worst=0)
    filter_masks(jpg, folds, folder / "scores.csv", None, folder / "clean", limits, workers=params.filter.workers)
    return score_planted(jpg, folds, raw / "truth", folder / "clean", limits, params.audit.workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--out", type=Path, help="also write the result there, as JSON")
    arguments = parser.parse_args()
    with one_line_errors():
        result = score(arguments.folder, arguments.seed, arguments.count)
    print(json.dumps(result, indent=2))
    if arguments.out:
        write_json(arguments.out, {"seed": arguments.seed, "count": arguments.count, **result})


if __name__ == "__main__":
    main()
