"""params.yaml is checked before anything runs; a fault is one line that names its key."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from personseg.errors import UserError
from stages.params import load_params

ROOT = Path(__file__).resolve().parent.parent
REMOVE = object()


def changed(folder: Path, key: str, value: Any) -> Path:
    """A copy of params.yaml with the dotted key set, or removed."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    *parents, last = key.split(".")
    section = values
    for name in parents:
        section = section[name]
    if value is REMOVE:
        del section[last]
    else:
        section[last] = value
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def message(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_params(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_params_of_the_project_are_valid() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.data.source == "sample"
    assert params.model.input_size == [320, 256]
    assert params.convert.max_reject_fraction == 0.05


@pytest.mark.parametrize("key", ["trian", "train.lerning_rate", "train.augment.hflop", "audit.limits.spot"])
def test_unknown_key(tmp_path: Path, key: str) -> None:
    assert message(changed(tmp_path, key, 1)) == f"{key}: unknown key"


def test_misspelt_key_is_named_before_the_one_it_hides(tmp_path: Path) -> None:
    changed(tmp_path, "train.epochs", REMOVE)
    values = yaml.safe_load((tmp_path / "params.yaml").read_text())
    values["train"]["epoch"] = 3
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert message(tmp_path / "params.yaml") == "train.epoch: unknown key; and 1 more"


@pytest.mark.parametrize("key", ["train", "train.epochs", "train.augment.hflip", "data.sha256"])
def test_missing_key(tmp_path: Path, key: str) -> None:
    assert message(changed(tmp_path, key, REMOVE)) == f"{key}: missing key"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("train.epochs", "many", "valid integer"),
        ("train.epochs", 2.5, "valid integer"),
        ("train.epochs", None, "valid integer"),
        ("train.learning_rate", [0.1], "valid number"),
        ("filter.repair", "perhaps", "valid boolean"),
        ("train", 3, "valid dictionary"),
        ("train.augment", None, "valid dictionary"),
        ("model.decoder_channels", 256, "valid list"),
        ("data.source", 5, "valid string"),
        ("train.epochs", True, "not be true or false"),
        ("train.augment.hflip", False, "not be true or false"),
        ("train.loss", {"focal": True}, "not be true or false"),
        ("calibrate.min_hole", [0, True], "not be true or false"),
    ],
)
def test_wrong_type(tmp_path: Path, key: str, value: Any, reason: str) -> None:
    text = message(changed(tmp_path, key, value))
    assert text.startswith(f"{key}: ")
    assert reason in text
    assert text.endswith(f"(got {value!r})")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.epochs", 0),
        ("train.batch_size", -1),
        ("train.learning_rate", 0.0),
        ("train.learning_rate", math.inf),
        ("train.learning_rate", math.nan),
        ("train.optimizer", "adamx"),
        ("train.precision", "fp8"),
        ("convert.max_reject_fraction", 1.01),
        ("convert.max_megapixels", math.inf),
        ("convert.jpeg_quality", 101),
        ("split.val_fraction", 0),
        ("split.test_fraction", 1),
        ("data.sha256", "abc"),
        ("data.name", "../up"),
        ("data.source", ""),
        ("model.name", "unet"),
        ("model.dropout", 1),
        ("benchmark.runs", 5),
        ("track.experiment", ""),
    ],
)
def test_impossible_value(tmp_path: Path, key: str, value: Any) -> None:
    text = message(changed(tmp_path, key, value))
    assert text.startswith(f"{key}: ")
    assert text.endswith(f"(got {value!r})")


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("model.input_size", [320, 250], "model.input_size.1"),
        ("model.input_size", [320], "model.input_size"),
        ("calibrate.min_hole", [0, -5], "calibrate.min_hole.1"),
        ("train.loss", {"focal": -1.0}, "train.loss.focal"),
        ("train.loss", {"focal": 0, "dice": 0}, "train.loss"),
        ("train.loss", {"hinge": 1.0}, "train.loss.hinge"),
        ("benchmark.backends", [], "benchmark.backends"),
        ("train.augment.jpeg_quality", [90, 50], "train.augment.jpeg_quality"),
        ("audit.limits.wide_gap_width", 1, "audit.limits"),
        ("audit.limits.coverage_max", 0.001, "audit.limits"),
    ],
)
def test_impossible_value_inside_a_list_or_table(tmp_path: Path, key: str, value: Any, place: str) -> None:
    assert message(changed(tmp_path, key, value)).startswith(f"{place}: ")


def test_changes_of_the_report_network_are_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, "model.name", "report_unet")
    default = path.read_text()
    path.write_text(default.replace("attention: null", "attention: scse"))
    assert message(path).startswith("model: Value error, attention is not for report_unet")
    path.write_text(default.replace("flip_average: false", "flip_average: true"))
    assert "calibrate.flip_average is not for model.name report_unet" in message(path)


def test_hints_want_a_teacher_and_an_encoder_that_takes_them(tmp_path: Path) -> None:
    path = changed(tmp_path, "teacher.hints", 1.0)
    assert message(path).startswith("teacher: Value error, hints are a teacher's")
    text = path.read_text().replace("hints: 1.0\n", "hints: 1.0\n  model: self\n").replace("\n  model: null\n", "\n")
    path.write_text(text.replace("name: concat_unet", "name: report_unet"))
    assert "teacher.hints is not for model.name report_unet" in message(path)


@pytest.mark.parametrize("text", ["train: [1", "a: b: c", "\tdata: 1", "a: 2020-13-45", "a: !!python/name:os.system"])
def test_broken_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    assert message(tmp_path / "params.yaml").startswith("not valid YAML: ")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"data: \xff\xfe")
    assert message(tmp_path / "params.yaml").startswith("not valid YAML: ")


@pytest.mark.parametrize("text", ["", "[]", "train"])
def test_yaml_that_is_no_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    assert message(tmp_path / "params.yaml").startswith("the whole file: Input should be a valid dictionary")


def test_missing_file(tmp_path: Path) -> None:
    assert message(tmp_path / "params.yaml") == "not found; run from the project's folder"


def run_source_stage(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("DVC_ROOT", None)
    command = [sys.executable, "-m", "stages.source"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_stage_says_one_line_and_exits_1(tmp_path: Path) -> None:
    changed(tmp_path, "data.sauce", "sample")
    done = run_source_stage(tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: params.yaml: data.sauce: unknown key\n"
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_stage_says_one_line_when_there_is_no_data(tmp_path: Path) -> None:
    changed(tmp_path, "data.source", "none.zip")
    done = run_source_stage(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: data.source: nothing at ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_stage_runs_with_the_params_of_the_project(tmp_path: Path) -> None:
    changed(tmp_path, "data.name", "sample")
    done = run_source_stage(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "data" / "source.json").read_text() == '{\n  "kind": "sample"\n}\n'
