"""The clean data: category 1 as it is, category 2 repaired, category 3 left out."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from personseg.audit import AuditLimits, read_case
from personseg.categories import mended_path, read_categories
from personseg.errors import UserError
from personseg.files import fresh_folder, natural_key, read_table
from personseg.images import read_mask, write_mask
from personseg.parallel import parallel_map
from personseg.repair import repair
from personseg.tables import write_rows

UNDONE = "left out: nothing certain enough to mend, or no better for it"
BY_HAND = "mended by hand"


@dataclass(frozen=True, slots=True)
class _Job:
    stem: str
    category: int
    reviewed: bool = False
    mended: Path | None = None  # the mask a person mended


def _keep(
    job: _Job, jpg_dir: Path, folds_dir: Path, out_dir: Path, limits: AuditLimits, repair_category_2: bool
) -> tuple[bool, str]:
    """Write one pair if it is kept; return whether it is, and the repair in words."""
    image_path, mask_path = jpg_dir / "images" / f"{job.stem}.jpg", jpg_dir / "masks" / f"{job.stem}.jpg"
    done = ""
    if job.mended is not None:
        mask, done = read_mask(job.mended), BY_HAND
        if mask.shape != read_mask(mask_path).shape:
            raise UserError(f"{job.mended}: not of its photo's size; mend it anew or delete it")
        write_mask(out_dir / "masks" / mask_path.name, mask)
    elif job.category == 2:
        if not repair_category_2:
            return False, ""
        mended, steps = repair(read_case(jpg_dir, folds_dir, job.stem), limits, certain_only=not job.reviewed)
        if not steps:
            return False, UNDONE
        done = "; ".join(steps)
        write_mask(out_dir / "masks" / mask_path.name, mended)
    else:
        # A copy, never a link: DVC may replace either side by a link into its cache.
        shutil.copyfile(mask_path, out_dir / "masks" / mask_path.name)
    shutil.copyfile(image_path, out_dir / "images" / image_path.name)
    return True, done


def filter_masks(
    jpg_dir: str | Path,
    folds_dir: str | Path,
    scores_csv: str | Path,
    categories_csv: str | Path | None,
    out_dir: str | Path,
    limits: AuditLimits,
    repair: bool = True,
    workers: int = 2,
) -> dict[str, Any]:
    """Write the kept pairs and manifest.csv into `out_dir` (replaced); return the counts.

    A reviewed category beats the audit's suggestion, and a mask mended by hand (see `categories.mended_path`) the
    automatic repair. A category 2 mask whose repair fails is counted and
    left out as category 3; with `repair` off all of category 2 is left out, but still counted as 2.
    manifest.csv has a row per mask, kept or not: stem, category, source_of_category (suggested or
    reviewed), repair (in words), kept.

    Returns {"category": {"1": n, "2": n, "3": n}, "repaired": n, "repair_undone": n, "kept": n,
    "reviewed": n, "suggested": n}; the categories are those after repairs, so kept = 1 + repaired.
    UserError: scores without a mask, faults in the reviewed file, or nothing left to keep.
    """
    jpg_dir = Path(jpg_dir)
    scores = read_table(scores_csv, ["stem", "suggested"])
    suggested = dict(zip(scores["stem"], scores["suggested"].astype(int), strict=True))
    del scores
    reviews = read_categories(categories_csv, suggested) if categories_csv else {}
    if reviews and (missing := [stem for stem in sorted(suggested, key=natural_key) if stem not in reviews]):
        print(
            f"{categories_csv}: no row for {len(missing)} of {len(suggested)} masks, as {missing[0]}: suggestions hold"
        )
    jobs = []
    for stem in sorted(suggested, key=natural_key):
        mended = mended_path(Path(categories_csv), stem) if categories_csv else None
        category = reviews[stem].category if stem in reviews else suggested[stem]
        jobs.append(_Job(stem, category, stem in reviews, mended if mended and mended.is_file() else None))
    chosen = [job for job in jobs if job.category < 3]
    with fresh_folder(out_dir) as folder:
        for name in ("images", "masks"):
            (folder / name).mkdir()
        shared: dict[str, Any] = {"jpg_dir": jpg_dir, "folds_dir": Path(folds_dir), "out_dir": folder, "limits": limits}
        work = partial(_keep, repair_category_2=repair, **shared)
        counts: Counter[str] = Counter()

        def rows() -> Iterator[dict[str, Any]]:
            outcomes = parallel_map(work, chosen, workers, "filter")
            for job in jobs:
                kept, done = next(outcomes) if job.category < 3 else (False, "")
                category = 3 if done == UNDONE else job.category
                source = "reviewed" if job.reviewed else "suggested"
                counts.update([str(category), source])
                counts.update({"kept": kept, "repaired": kept and category == 2, "undone": done == UNDONE})
                yield {
                    "stem": job.stem,
                    "category": category,
                    "source_of_category": source,
                    "repair": done,
                    "kept": int(kept),
                }
            next(outcomes, None)  # the progress bar's end

        write_rows(folder / "manifest.csv", rows())
        if not counts["kept"]:
            raise UserError(f"{scores_csv}: every mask is in category 3 or could not be repaired, nothing is kept")
    return {
        "category": {number: counts[number] for number in ("1", "2", "3")},
        "repaired": counts["repaired"],
        "repair_undone": counts["undone"],
        "kept": counts["kept"],
        "reviewed": counts["reviewed"],
        "suggested": counts["suggested"],
    }
