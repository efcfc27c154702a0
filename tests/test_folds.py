"""Each photo is predicted by a network that never saw it or its near-duplicates, and a kill loses one fold at most."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personseg import folds
from personseg.errors import UserError
from personseg.files import read_table
from personseg.folds import Fold, deal, out_of_fold
from personseg.images import write_image, write_mask
from personseg.probability import read_probability, write_probability
from tests.figures import person
from tests.project import ROOT

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
    "at_once": 1,
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

    def fake(fold: Fold, folder: Path, section: object) -> None:
        seen.append((set(fold.rest), set(fold.held_out)))
        for stem in fold.held_out:
            write_probability(fold.kept / f"{stem}.png", np.zeros((4, 4), np.float32))
        (fold.kept / "done").touch()

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


def test_folds_side_by_side_go_on_to_the_same_digits(
    jpg: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    section = SECTION | {"count": 2, "at_once": 2}
    (tmp_path / "state").mkdir()
    out_of_fold(jpg, tmp_path / "folds", section, tmp_path / "state")
    first = {path.name: path.read_bytes() for path in (tmp_path / "folds").iterdir()}
    assert len(first) == 10
    assert read_probability(tmp_path / "folds/0.png", (320, 240)).shape == (320, 240)
    said = capfd.readouterr().out
    assert "fold 1 of 2: epoch   1" in said and "fold 2 of 2: epoch   1" in said
    # What was finished is not done again; what is left is done as it would have been.
    (tmp_path / "state/fold_2/done").unlink()
    out_of_fold(jpg, tmp_path / "folds", section, tmp_path / "state")
    said = capfd.readouterr().out
    assert "fold 2 of 2: going on" in said and "fold 1 of 2" not in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "folds").iterdir()} == first
    with pytest.raises(UserError, match="too few for 5 folds"):
        out_of_fold(jpg, tmp_path / "folds", SECTION | {"count": 5}, tmp_path / "state")


@pytest.mark.parametrize(
    ("wanted", "count", "cores", "at_once"),
    [
        *(("auto", 3, 1, 1), ("auto", 3, 2, 3), ("auto", 4, 2, 2), ("auto", 5, 2, 2), ("auto", 5, 8, 5)),
        *((1, 3, 2, 1), (2, 3, 2, 2), (4, 3, 8, 3)),
    ],
)
def test_as_many_folds_at_once_as_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, wanted: int | str, count: int, cores: int, at_once: int
) -> None:
    monkeypatch.setattr(folds, "usable_cores", lambda: cores)
    assert folds.folds_at_once(wanted, count) == at_once


class Endless(list[str]):
    """Photos of a fold that are never counted to the end; the process is killed meanwhile if a file says so."""

    def __init__(self, kept: Path, all_kept: list[Path]) -> None:
        super().__init__()
        self.kept, self.all_kept = kept, all_kept

    def __len__(self) -> int:
        (self.kept / "pid").write_text(str(os.getpid()), encoding="utf-8")
        while True:
            if (self.kept / "dies").exists() and all((kept / "pid").exists() for kept in self.all_kept):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.05)


def waiting_folds(state: Path) -> list[Fold]:
    all_kept = [state / "1", state / "2"]
    for kept in all_kept:
        kept.mkdir(exist_ok=True)
    return [Fold(number, Endless(kept, all_kept), [], kept) for number, kept in enumerate(all_kept, 1)]


def are_gone(made: list[Fold]) -> bool:
    def is_gone(pid: str) -> bool:
        try:
            # A zombie is dead too, whoever forgets to ask for it.
            return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    deadline = time.monotonic() + 20
    pids = [(fold.kept / "pid").read_text(encoding="utf-8") for fold in made]
    while not all(map(is_gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return all(map(is_gone, pids))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_fold_that_dies_ends_the_others_with_one_line(tmp_path: Path) -> None:
    made = waiting_folds(tmp_path)
    (made[1].kept / "dies").touch()
    with pytest.raises(UserError, match=r"process 1 died \(SIGKILL\).*lower folds\.batch_size; run again"):
        folds._predict_side_by_side(made, tmp_path, SECTION, 1)
    assert are_gone(made)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_folds_end_with_the_stage(tmp_path: Path) -> None:
    stages = {}
    # Side by side, as starting takes longest. Programs in the background of a script inherit that SIGINT is ignored.
    for how, handler in ((signal.SIGKILL, "SIG_IGN"), (signal.SIGINT, "default_int_handler")):
        state = tmp_path / how.name
        state.mkdir()
        program = (
            f"import signal; signal.signal(signal.SIGINT, signal.{handler});"
            "from pathlib import Path; from personseg import folds; from tests import test_folds as t;"
            "import multiprocessing as m; m.set_forkserver_preload(['tests.test_folds']);"
            f"state = Path({str(state)!r}); folds._predict_side_by_side(t.waiting_folds(state), state, t.SECTION, 1)"
        )
        stage = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.DEVNULL)
        stages[how] = (stage, waiting_folds(state))
    for how, (stage, made) in stages.items():
        while not all((fold.kept / "pid").is_file() and (fold.kept / "pid").stat().st_size for fold in made):
            assert stage.poll() is None
            time.sleep(0.05)
        stage.send_signal(how)
        stage.wait(20)
        assert are_gone(made)
