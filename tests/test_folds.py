"""Each photo is predicted by a network that never saw it or its near-duplicates, and a kill loses one fold at most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personseg import folds
from personseg.errors import UserError
from personseg.files import read_table
from personseg.folds import deal, out_of_fold
from personseg.images import write_image, write_mask
from personseg.probability import read_probability, write_probability
from tests.figures import person

SECTION: dict[str, Any] = {
    "seed": 1,
    "count": 3,
    "epochs": 1,
    "batch_size": 4,
    "learning_rate": 0.001,
    "encoder": "tu-tf_efficientnet_lite0",
    "weights": "none",
    "decoder_channels": [16, 16, 8, 8, 8],
    "input_size": [64, 64],
    "hash_distance": 4,
    "workers": 1,
}


@given(st.lists(st.integers(1, 4), min_size=6, max_size=40), st.integers(2, 5), st.integers(0, 9))
def test_groups_stay_together_and_folds_are_even(sizes: list[int], count: int, seed: int) -> None:
    ends = np.cumsum(sizes)
    groups = [list(range(end - size, end)) for end, size in zip(ends, sizes, strict=True)]
    fold = deal(groups, count, seed)
    assert all(len({int(fold[member]) for member in members}) == 1 for members in groups)
    filled = np.bincount(fold, minlength=count)
    assert filled.max() - filled.min() <= max(sizes)
    np.testing.assert_array_equal(fold, deal(groups, count, seed))


def test_probability_survives_the_disk_within_a_level(tmp_path: Path) -> None:
    probability = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    write_probability(tmp_path / "a.png", probability)
    assert np.abs(read_probability(tmp_path / "a.png", (20, 30)) - probability).max() <= 0.5 / 255 + 1e-6
    larger = read_probability(tmp_path / "a.png", (40, 60))
    assert larger.shape == (40, 60)
    assert 0 <= larger.min() <= larger.max() <= 1
    with pytest.raises(UserError, match=r"b\.png: missing or not readable"):
        read_probability(tmp_path / "b.png", (2, 2))


@pytest.fixture(scope="module")
def jpg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jpg")
    _, mask = person()
    for number in range(9):
        stem = str(number)
        noise = np.random.default_rng(max(1, number)).integers(0, 255, (8, 6, 3), dtype=np.uint8)
        write_image(folder / "images" / f"{stem}.jpg", np.kron(noise, np.ones((40, 40, 1), np.uint8)))
        write_mask(folder / "masks" / f"{stem}.jpg", mask)
    return folder


def test_no_photo_is_predicted_by_a_network_that_saw_it(
    jpg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[str], set[str]]] = []

    def fake(folder: Path, rest: list[str], held_out: list[str], section: object, out: Path, label: str) -> None:
        seen.append((set(rest), set(held_out)))
        for stem in held_out:
            write_probability(out / f"{stem}.png", np.zeros((4, 4), np.float32))

    monkeypatch.setattr(folds, "_predict_fold", fake)
    (tmp_path / "state").mkdir()
    out_of_fold(jpg, tmp_path / "folds", SECTION, tmp_path / "state")
    everything = {str(number) for number in range(9)}
    assert len(seen) == 3
    for rest, held_out in seen:
        assert rest | held_out == everything
        assert not rest & held_out
        assert ("0" in rest) == ("1" in rest), "0 and 1 are the same photo"
    table = read_table(tmp_path / "folds/folds.csv")
    assert list(table["stem"]) == sorted(everything)
    assert list(table["near_duplicates"].fillna(""))[:3] == ["1", "0", ""]
    # What was finished is not done again.
    out_of_fold(jpg, tmp_path / "folds", SECTION, tmp_path / "state")
    assert len(seen) == 3


def test_trains_and_predicts_every_photo(jpg: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    out_of_fold(jpg, tmp_path / "folds", SECTION, tmp_path / "state")
    for number in range(9):
        probability = read_probability(tmp_path / "folds" / f"{number}.png", (320, 240))
        assert probability.shape == (320, 240)
    with pytest.raises(UserError, match="too few for 5 folds"):
        out_of_fold(jpg, tmp_path / "folds", SECTION | {"count": 5}, tmp_path / "state")
