"""The figures benchmarks compare models by, and what tells one cleaning training from another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import cleaning
from benchmarks.scoring import Scores, difference, score
from personseg.images import write_image, write_mask
from personseg.metrics import boundary_iou
from tests.figures import disc


def test_pooled_iou_is_of_pixels_and_the_others_are_means_over_photos() -> None:
    large, small = disc((100, 100), (50, 50), 40), disc((100, 100), (50, 50), 10)
    empty = np.zeros_like(large)
    found = score([(large, large), (small, large), (empty, empty)]).summary()
    assert found["iou"] == (large.sum() + small.sum()) / (2 * large.sum())
    assert found["iou_imagewise"] == pytest.approx((1 + small.sum() / large.sum() + 1) / 3)
    assert found["boundary_iou"] == pytest.approx((1 + boundary_iou(small, large) + 1) / 3)


def test_differences_are_paired() -> None:
    # Photos differ far more than the two models do: only drawn together is the difference sure.
    tp = np.linspace(100, 900, 30).astype(np.int64)
    ours = Scores(np.stack([tp + 20, 0 * tp, 980 - tp], axis=1), tp / 1000 + 0.02)
    theirs = Scores(np.stack([tp, 0 * tp, 1000 - tp], axis=1), tp / 1000)
    found = difference(ours, theirs, 500, 1)
    for name in ("iou", "boundary_iou"):
        one = found[name]
        assert one["difference"] == pytest.approx(0.02) and one["ci95_low"] == pytest.approx(0.02, abs=1e-9)
        assert one["ci95_high"] == pytest.approx(0.02, abs=1e-9)
    assert difference(ours, theirs, 500, 1) == found
    swapped = Scores(theirs.counts[::-1], theirs.boundary[::-1])
    wide = difference(ours, swapped, 500, 1)["iou"]
    assert wide["ci95_low"] < 0 < wide["ci95_high"]


def test_another_mask_photo_or_param_is_another_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "JPG", tmp_path)
    for stem in "123":
        write_image(tmp_path / "images" / f"{stem}.jpg", np.full((20, 20, 3), 90, np.uint8))
        write_mask(tmp_path / "masks" / f"{stem}.jpg", disc((20, 20), (10, 10), 6))
    params = {"model": {"encoder": "a"}, "train": {"epochs": 5, "loss": {"dice": 1.0}}}

    def identity(epochs: int = 4, **changes: object) -> str:
        variant = cleaning.Variant(tmp_path, ["1"])
        return cleaning.identity(variant, ["2"], ["3"], {**params, **changes}, 1, epochs, count=8)

    first = identity()
    assert identity(train={"epochs": 9, "loss": {"dice": 1.0}}) == first, (
        "the budget's epochs decide, not those of params"
    )
    assert identity(epochs=5) != first
    assert identity(train={"epochs": 5, "loss": {"dice": 2.0}}) != first
    for name in ("masks/1.jpg", "masks/2.jpg", "images/1.jpg", "masks/3.jpg"):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(kept + b"x")
        assert identity() != first, name
        (tmp_path / name).write_bytes(kept)
    assert identity() == first


def test_a_variant_is_told_from_the_default_over_all_seeds_and_by_equal_steps() -> None:
    right, wrong = [90, 0, 10], [80, 0, 20]

    def scores(*rows: list[int]) -> Scores:
        return Scores(np.array(rows, np.int64), np.array([row[0] / 100 for row in rows]))

    runs = {
        cleaning.DEFAULT: [scores(right, right), scores(wrong, right)],
        "worse": [scores(wrong, right), scores(wrong, wrong)],
        "same": [scores(wrong, right), scores(right, right)],
    }
    found = cleaning.differences(runs)
    assert list(found) == ["worse", "same"]
    assert found["worse"]["iou"]["difference"] == pytest.approx(-0.05)
    assert found["worse"]["iou"]["ci95_low"] == pytest.approx(-0.05)
    assert found["same"]["iou"] == {"difference": 0, "ci95_low": 0, "ci95_high": 0}
    assert cleaning.length(424, {"train": {"batch_size": 8}}, 400) == (8, 424)
    assert cleaning.length(424, {"train": {"batch_size": 8}}, 1) == (1, 53)
