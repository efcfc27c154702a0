"""The report's counts, the same lists for the same seed, and no near-duplicate on two sides."""

from __future__ import annotations

from itertools import chain, combinations
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personseg import duplicates
from personseg.duplicates import group, near_duplicates
from personseg.errors import UserError
from personseg.files import natural_key, write_table
from personseg.images import RGB, write_image
from personseg.splits import NAMES, read_split
from personseg.splitting import assign, split
from stages.params import load_params

PARAMS = load_params(Path(__file__).resolve().parent.parent / "params.yaml").split


def write_manifest(clean: Path, stems: list[str], dropped: list[str] | None = None) -> Path:
    dropped = dropped or []
    table = pd.DataFrame({"stem": stems + dropped, "kept": [1] * len(stems) + [0] * len(dropped)})
    write_table(clean / "manifest.csv", table)
    return clean


@pytest.fixture
def random_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes drawn from the stem instead of a photo."""

    def from_stem(photo: str) -> int:
        return int(np.random.default_rng(list(Path(photo).stem.encode())).integers(2**64, dtype=np.uint64))

    monkeypatch.setattr(duplicates, "perceptual_hash", from_stem)


@pytest.mark.usefixtures("random_hashes")
def test_the_reports_counts(tmp_path: Path) -> None:
    stems = [str(number) for number in range(1, 1052)]
    clean = write_manifest(tmp_path / "clean", stems, dropped=["2000", "2001"])
    fractions = (PARAMS.val_fraction, PARAMS.test_fraction)
    counts = split(clean, tmp_path / "out", *fractions, PARAMS.hash_distance, PARAMS.seed, 1)
    assert {name: counts[name] for name in NAMES} == {"train": 900, "val": 100, "test": 51}
    sides = read_split(tmp_path / "out")
    assert {name: len(sides[name]) for name in NAMES} == {"train": 900, "val": 100, "test": 51}
    assert sorted(chain.from_iterable(sides.values()), key=natural_key) == stems
    for side in sides.values():
        assert side == sorted(side, key=natural_key)


@pytest.mark.usefixtures("random_hashes")
def test_a_seed_gives_the_same_lists(tmp_path: Path) -> None:
    stems = [f"{number:04d}" for number in range(200)]
    clean = write_manifest(tmp_path / "clean", stems)
    shuffled = write_manifest(tmp_path / "shuffled", stems[::-1])

    def lists(source: Path, seed: int) -> dict[str, bytes]:
        split(source, tmp_path / "out", 0.1, 0.1, 4, seed, 1)
        return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    first = lists(clean, 1)
    assert set(first) == {"train.csv", "val.csv", "test.csv"}
    assert lists(clean, 1) == first
    assert lists(shuffled, 1) == first, "the manifest's order does not matter"
    assert lists(clean, 2) != first


@pytest.mark.usefixtures("random_hashes")
def test_a_pair_less_moves_only_the_borders(tmp_path: Path) -> None:
    stems = [f"{number:04d}" for number in range(400)]

    def sides(kept: list[str]) -> dict[str, str]:
        split(write_manifest(tmp_path / "clean", kept), tmp_path / "out", 0.1, 0.05, 4, 1, 1)
        return {stem: name for name, members in read_split(tmp_path / "out").items() for stem in members}

    whole = sides(stems)
    assert sorted(whole.values()).count("test") == 20
    for dropped in ("0003", "0111", "0398"):
        less = sides([stem for stem in stems if stem != dropped])
        moved = {stem: (whole[stem], less[stem]) for stem in less if less[stem] != whole[stem]}
        # Another group may come up from the list behind, one from train to val and one from val to test.
        assert set(moved.values()) <= {("val", "test"), ("train", "val")}
        assert len(moved) <= 2


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data(), count=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
def test_groups_never_straddle(data: st.DataObject, count: int, seed: int) -> None:
    item = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(item, item), max_size=count))
    val, test = data.draw(st.integers(0, count)), data.draw(st.integers(0, count))
    groups = group(count, pairs)
    assert sorted(chain.from_iterable(groups)) == list(range(count))
    stems = [str(number) for number in range(count)]
    sides = assign(groups, stems, val, test, seed)
    assert sorted(chain.from_iterable(sides.values())) == list(range(count))
    side_of = {item: name for name in NAMES for item in sides[name]}
    assert all(side_of[a] == side_of[b] for a, b in pairs)
    assert len(sides["val"]) <= val
    assert len(sides["test"]) <= test
    if all(a == b for a, b in pairs):
        assert len(sides["test"]) == test
        assert len(sides["val"]) == min(val, count - test)
    assert assign(groups, stems, val, test, seed) == sides


def test_groups_are_chains_and_nothing_more() -> None:
    assert group(7, [(0, 3), (3, 5), (6, 2)]) == [[0, 3, 5], [1], [2, 6], [4]]
    assert group(3, []) == [[0], [1], [2]]


HASH = st.integers(0, 2**64 - 1)
FLIPS = st.lists(st.integers(0, 63), max_size=12, unique=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(hashes=st.lists(st.tuples(HASH, st.lists(FLIPS, max_size=3)), max_size=12), distance=st.integers(0, 32))
def test_near_duplicates_equal_brute_force(hashes: list[tuple[int, list[list[int]]]], distance: int) -> None:
    values = []
    for value, copies in hashes:  # each with copies a few bits away, or hardly a pair would be near
        values += [value, *(value ^ sum(1 << bit for bit in bits) for bits in copies)]
    near = [(a, b) for a, b in combinations(range(len(values)), 2) if (values[a] ^ values[b]).bit_count() <= distance]
    assert near_duplicates(values, distance) == near


def test_near_duplicates_at_the_limit() -> None:
    rng = np.random.default_rng(0)
    for distance in (0, 1, 4, 10, 32):
        for _ in range(50):
            bits = rng.permutation(64)[: distance + 1].tolist()
            value = int(rng.integers(2**64, dtype=np.uint64))
            at = value ^ sum(1 << bit for bit in bits[:distance])
            beyond = value ^ sum(1 << bit for bit in bits)
            assert near_duplicates([value, at], distance) == [(0, 1)]
            assert near_duplicates([value, beyond], distance) == []


def scene(seed: int) -> RGB:
    """A smooth random photo of 160x120 px with some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 5, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (120, 160), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 4, (160, 120, 3))
    return np.clip(smooth, 0, 255).astype(np.uint8)


def test_copies_of_a_photo_land_on_one_side(tmp_path: Path) -> None:
    images = tmp_path / "clean" / "images"
    stems = []
    for number in range(30):
        photo = scene(number)
        write_image(images / f"{number}.jpg", photo)
        stems.append(str(number))
        if number < 10:
            write_image(images / f"{number}_again.jpg", photo, quality=50)
            write_image(images / f"{number}_small.jpg", np.asarray(cv2.resize(photo, (114, 152)), np.uint8))
            stems += [f"{number}_again", f"{number}_small"]
    clean = write_manifest(tmp_path / "clean", stems)
    for seed in range(5):
        counts = split(clean, tmp_path / "out", 0.3, 0.3, PARAMS.hash_distance, seed, 1)
        assert counts["near_duplicates"] == 20, "two beside the first in each of ten groups, and no strangers"
        sides = read_split(tmp_path / "out")
        side_of = {stem: name for name in NAMES for stem in sides[name]}
        assert sorted(side_of) == sorted(stems)
        for number in range(10):
            assert len({side_of[f"{number}{suffix}"] for suffix in ("", "_again", "_small")}) == 1
        assert {side_of[str(number)] for number in range(10)} != {"train"}, "copies must be dealt to all sides"


@pytest.mark.usefixtures("random_hashes")
@pytest.mark.parametrize(
    ("count", "val", "test"), [(0, 0.1, 0.1), (2, 0.1, 0.1), (10, 0.01, 0.2), (10, 0.2, 0.01), (10, 0.5, 0.5)]
)
def test_too_few_pairs(count: int, val: float, test: float, tmp_path: Path) -> None:
    clean = write_manifest(tmp_path / "clean", [str(number) for number in range(count)], dropped=["99"])
    with pytest.raises(UserError, match=rf"split: {count} kept pairs cannot give train, val and test"):
        split(clean, tmp_path / "out", val, test, 4, 1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


def test_groups_too_large_for_three_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "perceptual_hash", lambda photo: 0)
    clean = write_manifest(tmp_path / "clean", [str(number) for number in range(20)])
    with pytest.raises(UserError, match="split: "):
        split(clean, tmp_path / "out", 0.2, 0.2, 4, 1, 1)
