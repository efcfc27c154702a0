"""Findings are matched with what was planted by the stated rule, and scored so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from personseg.audit import audit
from personseg.files import write_table
from personseg.filtering import filter_masks
from personseg.images import Mask, write_image, write_mask
from personseg.planted import Piece, Tally, _repair_scores, match, planted_pieces, score_planted
from personseg.sample.defects import COLUMNS
from tests.figures import LIMITS, disc, person, write_folds

SHAPE = (100, 100)
NOTHING = np.zeros(SHAPE, dtype=bool)


def spot(x: int, radius: int = 5) -> Mask:
    return disc(SHAPE, (x, 50), radius)


@pytest.mark.parametrize(
    ("found", "planted", "expected"),
    [
        (spot(20), [Piece("spots", spot(20), True)], Tally(1, 1, 1, 1)),
        (NOTHING, [Piece("spots", spot(20), True)], Tally(1, 0, 0, 0)),
        (spot(60), [Piece("spots", spot(20), True)], Tally(1, 0, 1, 0)),
        (spot(20, 3), [Piece("spots", spot(20, 8), True)], Tally(1, 0, 1, 1)),
        (spot(20, 9), [Piece("spots", spot(20), True)], Tally(1, 1, 1, 0)),
        (spot(60), [Piece("holes", spot(60), True)], Tally(0, 0, 0, 0)),
        (spot(60, 1), [Piece("spots", spot(20), True)], Tally(1, 0, 0, 0)),
        (spot(20), [Piece("spots", spot(20), False)], Tally(0, 0, 1, 1)),
    ],
    ids=["hit", "miss", "false", "covers too little", "mostly false", "another kind", "speck", "too small to count"],
)
def test_match(found: Mask, planted: list[Piece], expected: Tally) -> None:
    assert match(found, planted, "spots") == expected


def test_scores_of_nothing_are_none() -> None:
    assert Tally().scores()["precision"] is None
    assert (Tally(4, 3, 6, 3) + Tally(0, 0, 2, 1)).scores() == {
        "precision": 0.5, "recall": 0.75, "planted": 4, "found": 3, "findings": 8, "right": 4,
    }  # fmt: skip


def test_rows_of_truth_are_found_in_the_masks_difference() -> None:
    truth = disc(SHAPE, (50, 50), 30)
    mask = (truth | disc(SHAPE, (8, 8), 4)) & ~disc(SHAPE, (50, 50), 3)
    areas = {name: int(each.sum()) for name, each in (("spots", mask & ~truth), ("holes", truth & ~mask))}
    # The table gives centres to six digits: 49.9996 may stand there as 50, and 49.4996 as 49.5.
    rows = pd.DataFrame(
        [("1", "spots", areas["spots"], None, None, 8.5, 8), ("1", "holes", areas["holes"], None, None, 50, 49.5)],
        columns=COLUMNS,
    )
    pieces = planted_pieces(mask, truth, rows)
    assert [(piece.kind, int(piece.where.sum()), piece.counted) for piece in pieces] == [
        ("spots", areas["spots"], True),
        ("holes", areas["holes"], True),
    ]


def test_pieces_of_one_size_are_told_apart_by_their_place() -> None:
    truth = disc(SHAPE, (50, 50), 20)
    mask = truth | disc(SHAPE, (10, 10), 4) | disc(SHAPE, (90, 90), 4)
    size = int(disc(SHAPE, (10, 10), 4).sum())
    rows = pd.DataFrame([("1", "spots", size, None, None, 90.4, 89.6)], columns=COLUMNS)
    (piece,) = planted_pieces(mask, truth, rows)
    assert piece.where[90, 90] and not piece.where[10, 10]


def test_a_sample_without_room_for_better_has_no_ratio() -> None:
    rows = [{"before": 1.0, "after": 0.99}]
    assert _repair_scores(rows)["error_ratio"] is None and _repair_scores([])["error_ratio"] is None
    assert _repair_scores([{"before": 0.9, "after": 0.95}])["error_ratio"] == pytest.approx(0.5)


def test_a_whole_sample(tmp_path: Path) -> None:
    image, truth = person()
    spotted = truth | disc(truth.shape, (25, 60), 9)
    jpg, exact = tmp_path / "jpg", tmp_path / "truth"
    masks = {"1": truth, "2": spotted, "3": truth}
    for stem, each in masks.items():
        write_image(jpg / "images" / f"{stem}.jpg", image)
        write_mask(jpg / "masks" / f"{stem}.jpg", each)
        write_mask(exact / f"{stem}.png", truth)
    y, x = (float(axis.mean()) for axis in np.nonzero(spotted & ~truth))
    row = ("2", "spots", int((spotted & ~truth).sum()), None, None, x, y)
    write_table(exact / "truth.csv", pd.DataFrame([row], columns=COLUMNS))
    write_folds(tmp_path / "folds", dict.fromkeys(masks, truth))
    audit(jpg, tmp_path / "folds", tmp_path / "scores.csv", tmp_path / "sheets", LIMITS, 1, 0)
    filter_masks(jpg, tmp_path / "folds", tmp_path / "scores.csv", None, tmp_path / "clean", LIMITS, workers=1)
    result = score_planted(jpg, tmp_path / "folds", exact, tmp_path / "clean", LIMITS, 1)
    assert result["planted"]["spots"] == {
        "precision": 1.0, "recall": 1.0, "planted": 1, "found": 1, "findings": 1, "right": 1,
    }  # fmt: skip
    assert result["planted"]["hair_gap"]["findings"] == 0
    repair = result["repair"]
    assert (repair["repaired"], repair["mended"], repair["harmed"]) == (1, 1, 0)
    assert repair["iou_before"] < repair["iou_after"] == 1
    assert repair["error_ratio"] == 0
    assert result["untouched"] == {"masks": 2, "changed": 0, "most_changed": 0.0}
