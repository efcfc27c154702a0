"""The default on other splits: what is run, what is kept, and how test photos are put together."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import split_seeds
from benchmarks.experiments import parsed
from benchmarks.scoring import Scores
from personseg.errors import UserError
from personseg.files import write_json


def scores(tp: list[int]) -> Scores:
    counts = np.array([[value, 0, 100 - value] for value in tp], np.int64)
    return Scores(counts, counts[:, 0] / 200)


@pytest.fixture
def walked(tmp_path, monkeypatch):
    """`confirm` with experiments and models that only answer; the list of the settings they were run with."""
    monkeypatch.chdir(tmp_path)
    done = []

    def run(name, values):
        done.append((name, values))
        write_json("metrics/iou.json", {"val": {"iou": 0.9 + values["split.seed"] / 100}})

    found = {1: (["a", "b"], scores([90, 80]), scores([80, 80])), 2: (["b", "c"], scores([70, 90]), scores([60, 70]))}
    monkeypatch.setattr(split_seeds, "run_experiment", run)
    monkeypatch.setattr(split_seeds, "on_test", lambda network, sizes: found[done[-1][1]["split.seed"]])
    monkeypatch.setattr(split_seeds, "MediaPipe", lambda path: None)
    monkeypatch.setattr(split_seeds, "refuse_uncommitted", lambda: None)
    monkeypatch.setattr(split_seeds, "restore", lambda: None)
    (tmp_path / "params.yaml").write_bytes((Path(__file__).parents[1] / "params.yaml").read_bytes())
    return done


def test_a_row_per_split_and_one_of_all_photos(walked, tmp_path):
    out = tmp_path / "results/split_seeds.csv"
    split_seeds.confirm("x.zip", "mine", [1], {"train.epochs": 3}, tmp_path, out)
    table = split_seeds.confirm("x.zip", "mine", [1, 2], {"train.epochs": 3}, tmp_path, out)
    with pytest.raises(UserError, match=r"split_seeds\.csv: has rows of other params; move it away"):
        split_seeds.confirm("x.zip", "mine", [3], {"train.epochs": 4}, tmp_path, out)
    assert [name for name, _ in walked] == ["mine-split-1", "mine-split-2"], "what the table has is not run again"
    assert all(values["train.epochs"] == 3 and values["data.source"] == "x.zip" for _, values in walked)
    assert list(table["split_seed"]) == ["1", "2", "all"] and list(table["test_photos"]) == [2, 2, 4]
    assert list(table["val_iou"])[:2] == [0.91, 0.92] and np.isnan(table["val_iou"][2])
    assert list(table["test_iou"]) == pytest.approx([0.85, 0.8, 0.825])
    assert list(table["mediapipe_iou"]) == pytest.approx([0.8, 0.65, 0.725])
    assert list(table["iou_difference"]) == pytest.approx([0.05, 0.15, 0.1])
    assert (table["iou_ci95_low"] <= table["iou_difference"]).all()
    written = pd.read_csv(out, dtype={"split_seed": str})
    pd.testing.assert_frame_equal(written, table, check_exact=False, rtol=1e-5)
    photos = pd.read_csv(tmp_path / "results/split_seeds_photos.csv")
    assert list(zip(photos["split_seed"], photos["stem"], strict=True)) == [(1, "a"), (1, "b"), (2, "b"), (2, "c")]


def test_settings_as_dvc_takes_them():
    assert parsed(["train.epochs=20", "teacher.model=self", "a.b=[1, 2]"]) == {
        "train.epochs": 20,
        "teacher.model": "self",
        "a.b": [1, 2],
    }
    with pytest.raises(UserError, match="-S nonsense: write it as KEY=VALUE"):
        parsed(["nonsense"])
