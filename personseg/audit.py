"""How good each mask is: defect measures, a quality score, a suggested category with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from personseg import defects
from personseg.errors import UserError
from personseg.files import natural_key, write_table
from personseg.images import RGB, Mask, read_image, read_mask
from personseg.parallel import parallel_map


@dataclass(frozen=True)
class AuditLimits:
    """From which size on a defect counts; lengths and areas in px of a photo 320 px high.

    `..._fixable` makes a mask category 2, `..._severe` category 3.
    """

    coverage_min: float  # share of the frame; at or below it the mask counts as empty
    coverage_max: float  # share of the frame; at or above it the mask counts as full
    spots_fixable: float  # area
    spots_severe: float  # area
    holes_fixable: float  # area
    holes_severe: float  # area
    gap_width: float  # rim width from which the contour counts as gap
    gap_fixable: float  # contour length
    gap_severe: float  # contour length
    wide_gap_width: float  # rim width from which the gap counts as wide
    wide_gap_severe: float  # contour length
    ragged_severe: float  # outline over smoothed outline, together with a gap
    pocket_severe: float  # area


@dataclass(frozen=True)
class Findings:
    """The defects of one mask."""

    coverage: float
    spots: defects.Region
    holes: defects.Region
    gap: defects.Gap
    ragged_edge: float


def inspect(image: RGB, mask: Mask, limits: AuditLimits) -> Findings:
    """Measure all defects of a mask (bool HxW) on its photo (uint8 RGB HxWx3)."""
    return Findings(
        coverage=defects.coverage(mask),
        spots=defects.spots(image, mask),
        holes=defects.holes(image, mask),
        gap=defects.hair_gap(image, mask, limits.gap_width, limits.wide_gap_width),
        ragged_edge=defects.ragged_edge(image, mask),
    )


def blank(found: Findings, limits: AuditLimits) -> str | None:
    """Say `empty mask` or `full mask` if it is one."""
    if found.coverage <= limits.coverage_min:
        return "empty mask"
    if found.coverage >= limits.coverage_max:
        return "full mask"
    return None


def quality(found: Findings, limits: AuditLimits) -> float:
    """Score in [0, 1]: the product over all measures of 1 / (1 + measure / severe limit).

    1 is a mask without a defect, 0.5 one with a single defect at its severe limit, 0 an empty or full one.
    The ragged edge enters with its excess over 1.
    """
    if blank(found, limits):
        return 0.0
    shares = (
        found.spots.area / limits.spots_severe,
        found.holes.area / limits.holes_severe,
        found.gap.length / limits.gap_severe,
        found.gap.wide_length / limits.wide_gap_severe,
        found.gap.pocket / limits.pocket_severe,
        max(0.0, found.ragged_edge - 1) / (limits.ragged_severe - 1),
    )
    score = 1.0
    for share in shares:
        score /= 1 + share
    return score


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def judge(found: Findings, limits: AuditLimits) -> tuple[int, list[str]]:
    """Suggest a category, 1 acceptable, 2 quickly fixable, 3 long to fix, with the reasons in words."""
    empty_or_full = blank(found, limits)
    if empty_or_full:
        return 3, [empty_or_full]
    gap, spots, holes = found.gap, found.spots, found.holes
    has_gap = gap.length >= limits.gap_fixable
    frayed = has_gap and found.ragged_edge >= limits.ragged_severe
    severe = frayed or (
        gap.length >= limits.gap_severe
        or gap.wide_length >= limits.wide_gap_severe
        or gap.pocket >= limits.pocket_severe
        or spots.area >= limits.spots_severe
        or holes.area >= limits.holes_severe
    )
    reasons = []
    if has_gap or gap.wide_length >= limits.wide_gap_severe:
        reasons.append(f"hair gap {gap.width:.0f} px over {gap.length:.0f} px")
    if gap.pocket >= limits.pocket_severe:
        reasons.append(f"background pocket, {gap.pocket:.0f} px")
    if frayed:
        reasons.append(f"ragged edge {found.ragged_edge:.2f}")
    if spots.area >= limits.spots_fixable:
        reasons.append(f"{_counted(spots.count, 'spot')}, {spots.area:.0f} px")
    if holes.area >= limits.holes_fixable:
        reasons.append(f"{_counted(holes.count, 'hole')}, {holes.area:.0f} px")
    return (3 if severe else 2 if reasons else 1), reasons


def read_pair(images_dir: Path, masks_dir: Path, stem: str) -> tuple[RGB, Mask]:
    """Read STEM.jpg from both folders; UserError if the sizes differ."""
    image, mask = read_image(images_dir / f"{stem}.jpg"), read_mask(masks_dir / f"{stem}.jpg")
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"{masks_dir / stem}.jpg: mask is {mask.shape[1]}x{mask.shape[0]}, its photo "
            f"{image.shape[1]}x{image.shape[0]}; run `dvc repro` to convert them anew"
        )
    return image, mask


def mask_stems(masks_dir: str | Path) -> list[str]:
    """Stems of the masks in a folder, in natural order; UserError if there are none."""
    stems = sorted((path.stem for path in Path(masks_dir).glob("*.jpg")), key=natural_key)
    if not stems:
        raise UserError(f"{masks_dir}: no masks (*.jpg); run `dvc repro` to make them")
    return stems


def _row(stem: str, images_dir: Path, masks_dir: Path, limits: AuditLimits) -> dict[str, Any]:
    found = inspect(*read_pair(images_dir, masks_dir, stem), limits)
    category, reasons = judge(found, limits)
    return {
        "stem": stem,
        "coverage": found.coverage,
        "spots": found.spots.count,
        "spots_area": found.spots.area,
        "holes": found.holes.count,
        "holes_area": found.holes.area,
        "gap_width": found.gap.width,
        "gap_length": found.gap.length,
        "wide_gap_length": found.gap.wide_length,
        "extra_background": found.gap.pocket,
        "ragged_edge": found.ragged_edge,
        "quality": quality(found, limits),
        "suggested": category,
        "reasons": "; ".join(reasons),
    }


def audit(
    images_dir: str | Path,
    masks_dir: str | Path,
    out_csv: str | Path,
    sheets_dir: str | Path,
    limits: AuditLimits,
    workers: int = 2,
    worst: int = 60,
) -> pd.DataFrame:
    """Measure every mask, write a row each to `out_csv`, draw the `worst` into `sheets_dir`.

    Columns: stem, the measures (px at 320 px height; coverage and ragged_edge without unit), quality in
    [0, 1], suggested category, reasons. Photos are read one at a time in each worker process.
    """
    from personseg.sheets import write_sheets

    images_dir, masks_dir = Path(images_dir), Path(masks_dir)
    row = partial(_row, images_dir=images_dir, masks_dir=masks_dir, limits=limits)
    scores = pd.DataFrame(parallel_map(row, mask_stems(masks_dir), workers, "audit"))
    write_table(out_csv, scores)
    write_sheets(images_dir, masks_dir, scores, sheets_dir, limits, worst)
    return scores
