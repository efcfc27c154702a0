"""How good each mask is: defect measures, quality scores, a suggested category with its reasons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from personseg import defects
from personseg.errors import UserError
from personseg.files import natural_key, read_table, write_table
from personseg.images import RGB, Mask, read_image, read_mask
from personseg.parallel import parallel_map
from personseg.probability import Floats, read_probability
from personseg.tables import blocks

LABEL_HEIGHT = 160  # px; the height at which cleanlab compares labels with out-of-fold predictions


@dataclass(frozen=True)
class AuditLimits:
    """How much of a defect makes a mask category 2 by itself; smaller amounts of several add up.

    Lengths and areas in px of a photo 320 px high.
    """

    coverage_min: float  # share of the frame; at or below it the mask counts as empty
    coverage_max: float  # share of the frame; at or above it the mask counts as full
    gap_width: float  # rim width from which the contour counts as gap
    wide_gap_width: float  # rim width from which the gap counts as wide
    hair_gap: float  # area
    spots: float  # area
    holes: float  # area
    extra_background: float  # area
    missing_part: float  # area
    ragged_edge: float  # outline over smoothed outline, less 1
    severe: float  # a sum of burdens (see `burden`) from here on makes category 3


@dataclass(frozen=True)
class Case:
    """A mask with what it is judged by: photo uint8 RGB HxWx3, mask bool HxW, and `expected`, the out-of-fold
    probability of person, float32 HxW."""

    image: RGB
    mask: Mask
    expected: Floats


@dataclass(frozen=True)
class Findings:
    """The defects of one mask."""

    coverage: float
    spots: defects.Region
    holes: defects.Region
    gap: defects.Gap
    extra_background: defects.Region
    missing_part: defects.Region
    ragged_edge: float


def mendable(
    case: Case, limits: AuditLimits, certain_only: bool = False
) -> tuple[defects.Region, defects.Region, defects.Gap]:
    """Measure the defects that `personseg.repair` mends: spots, holes, hair gap; or the certain ones among them."""
    image, mask, expected = case.image, case.mask, case.expected
    return (
        defects.spots(image, mask, expected, certain_only),
        defects.holes(image, mask, expected, certain_only),
        defects.hair_gap(image, mask, expected, limits.gap_width, limits.wide_gap_width, certain_only),
    )


def inspect(case: Case, limits: AuditLimits) -> Findings:
    """Measure all defects of a mask."""
    image, mask, expected = case.image, case.mask, case.expected
    spots, holes, gap = mendable(case, limits)
    return Findings(
        coverage=defects.coverage(mask),
        spots=spots,
        holes=holes,
        gap=gap,
        extra_background=defects.extra_background(image, mask, expected, spots.where | gap.where),
        missing_part=defects.missing_part(mask, expected, holes.where),
        ragged_edge=defects.ragged_edge(mask),
    )


def blank(found: Findings, limits: AuditLimits) -> str | None:
    """Say `empty mask` or `full mask` if it is one."""
    if found.coverage <= limits.coverage_min:
        return "empty mask"
    if found.coverage >= limits.coverage_max:
        return "full mask"
    return None


def burden(found: Findings, limits: AuditLimits) -> dict[str, float]:
    """Each defect's amount against its limit, at least 0; category 2 begins where they sum to 1.

    For what lies along the contour it is the square root of amount over limit, as ten times the pixels do
    not look ten times as bad (and agree less with people's judgement); for whole areas, amount over limit.
    """
    edge = {
        "hair_gap": found.gap.sure_area / limits.hair_gap,
        "spots": found.spots.area / limits.spots,
        "holes": found.holes.area / limits.holes,
        "ragged_edge": max(0.0, found.ragged_edge - 1) / limits.ragged_edge,
    }
    return {
        **{name: math.sqrt(share) for name, share in edge.items()},
        "extra_background": found.extra_background.area / limits.extra_background,
        "missing_part": found.missing_part.area / limits.missing_part,
    }


def quality(found: Findings, limits: AuditLimits) -> float:
    """Score in [0, 1]: 1 / (1 + the sum of all burdens); 0 for an empty or full mask.

    1 is a mask without a defect, 0.5 one at the border of category 2.
    """
    return 0.0 if blank(found, limits) else 1 / (1 + sum(burden(found, limits).values()))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


REASON_LEAST = 0.35  # smaller burdens are named only if none is larger


def judge(found: Findings, limits: AuditLimits) -> tuple[int, list[str]]:
    """Suggest a category, 1 acceptable, 2 quickly fixable, 3 long to fix, with the reasons in words."""
    empty_or_full = blank(found, limits)
    if empty_or_full:
        return 3, [empty_or_full]
    gap, spots, holes = found.gap, found.spots, found.holes
    rim = f" ({gap.width:.0f} px wide over {gap.length:.0f} px)" if gap.length else ""
    words = {
        "hair_gap": f"hair gap, {gap.sure_area:.0f} px{rim}",
        "spots": f"{_counted(spots.count, 'spot')}, {spots.area:.0f} px",
        "holes": f"{_counted(holes.count, 'hole')}, {holes.area:.0f} px",
        "extra_background": f"extra background, {found.extra_background.area:.0f} px",
        "missing_part": f"missing part, {found.missing_part.area:.0f} px",
        "ragged_edge": f"ragged edge {found.ragged_edge:.2f}",
    }
    burdens = burden(found, limits)
    total = sum(burdens.values())
    if total < 1:
        return 1, []
    ranked = sorted(burdens, key=lambda name: -burdens[name])
    reasons = [words[name] for name in ranked if burdens[name] >= REASON_LEAST] or [words[ranked[0]]]
    return (3 if total >= limits.severe else 2), reasons


def label_quality(mask: Mask, expected: Floats) -> float:
    """Label quality in [0, 1] by cleanlab's soft minimum over the pixels (Lad & Mueller, "Estimating label quality
    and errors in semantic segmentation data via any model", 2023), at a height of 160 px."""
    from cleanlab.segmentation.rank import get_label_quality_scores

    size = (max(1, round(mask.shape[1] * LABEL_HEIGHT / mask.shape[0])), LABEL_HEIGHT)
    label = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    person = np.clip(cv2.resize(expected, size, interpolation=cv2.INTER_AREA), 0.001, 0.999)
    scores, _ = get_label_quality_scores(
        label[None].astype(np.int64), np.stack([1 - person, person])[None], method="softmin", verbose=False
    )
    return float(scores[0])


def read_case(jpg_dir: Path, folds_dir: Path, stem: str) -> Case:
    """Read images/STEM.jpg, masks/STEM.jpg and the out-of-fold STEM.png; UserError if the sizes differ."""
    photo, label = jpg_dir / "images" / f"{stem}.jpg", jpg_dir / "masks" / f"{stem}.jpg"
    image, mask = read_image(photo), read_mask(label)
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"{label}: mask is {mask.shape[1]}x{mask.shape[0]}, its photo {image.shape[1]}x{image.shape[0]}; "
            "run `dvc repro` to convert them anew"
        )
    return Case(image, mask, read_probability(folds_dir / f"{stem}.png", mask.shape))


def mask_stems(masks_dir: str | Path) -> list[str]:
    """Stems of the masks in a folder, in natural order; UserError if there are none."""
    stems = sorted((path.stem for path in Path(masks_dir).glob("*.jpg")), key=natural_key)
    if not stems:
        raise UserError(f"{masks_dir}: no masks (*.jpg); run `dvc repro` to make them")
    return stems


def _row(stem: str, jpg_dir: Path, folds_dir: Path, limits: AuditLimits) -> dict[str, Any]:
    case = read_case(jpg_dir, folds_dir, stem)
    found = inspect(case, limits)
    category, reasons = judge(found, limits)
    return {
        "stem": stem,
        "coverage": found.coverage,
        "hair_gap": found.gap.sure_area,
        "gap_width": found.gap.width,
        "gap_length": found.gap.length,
        "wide_gap_length": found.gap.wide_length,
        "spots": found.spots.count,
        "spots_area": found.spots.area,
        "holes": found.holes.count,
        "holes_area": found.holes.area,
        "extra_background": found.extra_background.area,
        "missing_part": found.missing_part.area,
        "ragged_edge": found.ragged_edge,
        "quality": quality(found, limits),
        "label_quality": label_quality(case.mask, case.expected),
        "suggested": category,
        "reasons": "; ".join(reasons),
    }


def audit(
    jpg_dir: str | Path,
    folds_dir: str | Path,
    out_csv: str | Path,
    sheets_dir: str | Path,
    limits: AuditLimits,
    workers: int = 2,
    worst: int = 60,
) -> pd.DataFrame:
    """Measure every mask, write a row each to `out_csv`, draw the `worst` into `sheets_dir`.

    Columns: stem, the measures (px at 320 px height; coverage and ragged_edge without unit), quality and
    cleanlab's label_quality in [0, 1], suggested category, reasons, near_duplicates (stems, by space).
    Photos are read one at a time in each worker process.
    """
    from personseg.sheets import write_sheets

    jpg_dir, folds_dir = Path(jpg_dir), Path(folds_dir)
    row = partial(_row, jpg_dir=jpg_dir, folds_dir=folds_dir, limits=limits)
    found = parallel_map(row, mask_stems(jpg_dir / "masks"), workers, "audit")
    scores = pd.concat(blocks(found), ignore_index=True)
    folds = read_table(folds_dir / "folds.csv", ["stem", "fold"]).set_index("stem")
    scores["near_duplicates"] = folds["near_duplicates"].reindex(scores["stem"]).fillna("").to_numpy()
    write_table(out_csv, scores)
    write_sheets(jpg_dir, folds_dir, scores, sheets_dir, limits, worst)
    return scores
