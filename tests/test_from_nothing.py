"""From nothing to a model: a clone of what is committed, timed to the finished model, scored afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import from_nothing
from benchmarks.ablation import VARIANTS
from personseg.errors import UserError
from personseg.files import write_json
from stages.params import Params


def test_the_road_is_walked_in_a_clone_and_scored_outside_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    clock = iter([100.0, 700.0])
    code = 0
    git = subprocess.run

    def run(command: list[str], cwd: str | None = None, **options: Any) -> Any:
        if command[0] == "git":
            return git(command, cwd=cwd, **options)
        asked.append(command)
        assert cwd is not None and Path(cwd).resolve() != Path.cwd()
        write_json(Path(cwd, "metrics/iou.json"), {"val": {"iou": 0.9}, "test": {"iou": 0.8}, "train": {"iou": 1}})
        return subprocess.CompletedProcess(command, code)

    def experiment(name: str, values: Any, *targets: str, folder: str) -> None:
        assert Path(folder, "dvc.yaml").is_file() and not Path(folder, "data/raw").exists(), "a clone, nothing made yet"
        asked.append((values["data.source"], values["train.epochs"], values["model.encoder"], targets))
        write_json(Path(folder, "logs/costs/train.json"), {"stage": "train", "seconds": 300.5, "peak_rss_bytes": 1})

    monkeypatch.setattr(from_nothing.subprocess, "run", run)
    monkeypatch.setattr(from_nothing.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(from_nothing, "run_experiment", experiment)
    params = {**from_nothing.QUICK, "train.epochs": 3}
    found = from_nothing.walk("photos.zip", "mine", params)
    assert asked == [("photos.zip", 3, "tu-tf_efficientnet_lite0", ("calibrate",)), ["dvc", "repro", "evaluate"]]
    assert found["minutes"] == 10 and found["stage_seconds"] == {"train": 300.5}
    assert found["val"] == {"iou": 0.9} and found["test"] == {"iou": 0.8} and found["params"] == params

    clock, code = iter([0.0, 1.0]), 1
    with pytest.raises(UserError, match="could not be scored"):
        from_nothing.walk("photos.zip", "mine", params)


def test_the_quick_params_are_params() -> None:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    for key, value in from_nothing.QUICK.items():
        *path, name = key.split(".")
        section = params
        for part in path:
            section = section[part]
        assert name in section, key
        section[name] = value
    assert Params.model_validate(params).train.epochs == from_nothing.QUICK["train.epochs"]
    variants = yaml.safe_load(VARIANTS.read_text(encoding="utf-8"))["variants"]
    augmentation = {key: value for key, value in from_nothing.QUICK.items() if key.startswith("train.augment.")}
    assert augmentation == variants["the report's augmentation only"], "as docs/experiments.md says"
