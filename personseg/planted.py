"""How well the audit finds, and the repair mends, the defects planted in a generated sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from personseg.audit import AuditLimits, Findings, inspect, mask_stems, read_case
from personseg.files import read_table
from personseg.images import Mask, read_mask
from personseg.metrics import counts, iou
from personseg.parallel import parallel_map

# What counts, planted and found alike: px, for hair gaps width and length of the rim.
SMALLEST = {"spots": 12.0, "holes": 12.0, "extra_background": 150.0}
GAP_WIDTH, GAP_LENGTH = 4.0, 20
SMALLEST_GAP = 60.0  # px; a found gap of fewer is a chip of one
OVERLAP = 0.5  # share of a planted piece that findings must cover, and of a finding that must be planted


@dataclass(frozen=True)
class Piece:
    """A planted defect: its kind, its pixels (bool HxW), and whether it is large enough to be counted."""

    kind: str
    where: Mask
    counted: bool


@dataclass(frozen=True)
class Tally:
    """Planted pieces and how many of them were found; findings and how many of them were right."""

    planted: int = 0
    found: int = 0
    findings: int = 0
    right: int = 0

    def __add__(self, other: Tally) -> Tally:
        mine, theirs = vars(self).values(), vars(other).values()
        return Tally(*(a + b for a, b in zip(mine, theirs, strict=True)))

    def scores(self) -> dict[str, float | int | None]:
        """Give precision and recall in [0, 1] (None where nothing was found or planted) and the counts."""
        return {
            "precision": self.right / self.findings if self.findings else None,
            "recall": self.found / self.planted if self.planted else None,
            **vars(self),
        }


def _pieces(where: Mask) -> list[Mask]:
    count, labels = cv2.connectedComponents(where.astype(np.uint8), connectivity=8)
    return [np.asarray(labels == label) for label in range(1, count)]


def planted_pieces(mask: Mask, truth: Mask, rows: pd.DataFrame) -> list[Piece]:
    """Find each row of truth.csv (of one picture) among the 8-connected components of mask XOR truth."""
    components = [(piece, *(axis.mean() for axis in np.nonzero(piece))) for piece in _pieces(mask ^ truth)]
    pieces = []
    for row in rows.to_dict("records"):
        if row["defect"] == "hair_gap":
            counted = row["gap_px"] >= GAP_WIDTH and row["contour_px"] >= GAP_LENGTH
        else:
            counted = row["size_px"] >= SMALLEST[row["defect"]]
        # The table's numbers are rounded, so the nearest of this size.
        same_size = [component for component in components if component[0].sum() == row["size_px"]]
        piece = min(same_size, key=lambda found: abs(found[1] - row["y"]) + abs(found[2] - row["x"]))[0]
        pieces.append(Piece(row["defect"], piece, bool(counted)))
    return pieces


def own_and_other(planted: Sequence[Piece], kind: str, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """Pixels (bool HxW) planted as defects of this kind, and of any other."""
    own, other = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for piece in planted:
        (own if piece.kind == kind else other)[piece.where] = True
    return own, other


def match(found: Mask, planted: Sequence[Piece], kind: str) -> Tally:
    """Compare the pixels found for a kind of defect (bool HxW) with the planted pieces of a picture.

    A planted piece is found if findings cover half of it; a finding is right if half of it is planted of
    this kind, and not counted if half of it is planted of another kind, or if it is too small to count.
    """
    same = [piece for piece in planted if piece.kind == kind]
    own, other = own_and_other(planted, kind, found.shape)
    smallest = SMALLEST.get(kind, SMALLEST_GAP)
    findings = right = 0
    for finding in _pieces(found):
        size = int(finding.sum())
        if size < smallest or (finding & other).sum() >= OVERLAP * size:
            continue
        findings += 1
        right += bool((finding & own).sum() >= OVERLAP * size)
    hit = [bool((found & piece.where).sum() >= OVERLAP * piece.where.sum()) for piece in same if piece.counted]
    return Tally(len(hit), sum(hit), findings, right)


def _found(findings: Findings) -> dict[str, Mask]:
    return {
        "spots": findings.spots.where,
        "hair_gap": findings.gap.where,
        "holes": findings.holes.where,
        "extra_background": findings.extra_background.where,
    }


def _score_one(
    stem: str,
    jpg: Path,
    folds: Path,
    truth: Path,
    clean: Path,
    repaired: Set[str],
    limits: AuditLimits,
    rows: pd.DataFrame,
) -> dict[str, Any]:
    case = read_case(jpg, folds, stem)
    exact = read_mask(truth / f"{stem}.png")
    planted = planted_pieces(case.mask, exact, rows[rows["stem"] == stem])
    found = _found(inspect(case, limits))
    row: dict[str, Any] = {kind: match(where, planted, kind) for kind, where in found.items()}
    row["planted"] = len(planted)
    if stem in repaired:
        mended = read_mask(clean / "masks" / f"{stem}.jpg")
        row["before"], row["after"] = (iou(*counts(mask, exact)[:3]) for mask in (case.mask, mended))
        row["changed"] = float((mended ^ case.mask).sum() / max(1, case.mask.sum()))
    return row


def _repair_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | int | None]:
    before, after = (np.array([row[name] for row in rows]) for name in ("before", "after"))
    return {
        "repaired": len(rows),
        "iou_before": float(before.mean()) if len(rows) else None,
        "iou_after": float(after.mean()) if len(rows) else None,
        "error_ratio": float((1 - after).sum() / (1 - before).sum()) if len(rows) and before.min() < 1 else None,
        "mended": int((after > before).sum()),
        "harmed": int((after < before).sum()),
    }


def score_planted(
    jpg: Path, folds: Path, truth: Path, clean: Path, limits: AuditLimits, workers: int = 2
) -> dict[str, Any]:
    """Score audit and repair of a generated sample against what was planted.

    `jpg`, `folds` and `clean` are the stages' outputs, `truth` the sample's folder with STEM.png and truth.csv.
    Returns {"planted": {KIND: precision, recall, planted, found, findings, right}, "repair": over the
    repaired masks: iou_before, iou_after, error_ratio (1 - IoU after over before), mended and harmed
    (masks whose IoU rose or fell), "untouched": masks without a planted defect, how many of them the repair
    changed, and the largest share of a mask's pixels changed}.
    """
    table = read_table(truth / "truth.csv")
    manifest = read_table(clean / "manifest.csv").set_index("stem")
    repaired = {stem for stem, row in manifest.iterrows() if row["kept"] == 1 and row["category"] == 2}
    score = partial(
        _score_one, jpg=jpg, folds=folds, truth=truth, clean=clean, repaired=repaired, limits=limits, rows=table
    )
    rows = list(parallel_map(score, mask_stems(jpg / "masks"), workers, "check"))
    kinds = ("spots", "hair_gap", "holes", "extra_background")
    clean_rows = [row for row in rows if not row["planted"]]
    changed = [row["changed"] for row in clean_rows if row.get("changed", 0) > 0]
    return {
        "planted": {kind: sum((row[kind] for row in rows), Tally()).scores() for kind in kinds},
        "repair": _repair_scores([row for row in rows if "after" in row]),
        "untouched": {"masks": len(clean_rows), "changed": len(changed), "most_changed": max(changed, default=0.0)},
    }
