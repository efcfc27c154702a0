"""A copy of this project in a repository of its own, with the real params.yaml shrunk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SHRUNK: dict[str, Any] = {
    "sample.count": 30,
    "sample.defect_fraction": 0.3,
    "folds.count": 2,
    "folds.epochs": 1,
    "folds.batch_size": 4,
    "folds.decoder_channels": [16, 16, 8, 8, 8],
    "folds.input_size": [64, 64],
    "split.val_fraction": 0.2,
    "split.test_fraction": 0.2,
    "model.encoder": "tu-tf_efficientnet_lite0",  # two thirds of the layers to export and quantise
    "model.decoder_channels": [32, 16, 16, 8],
    "model.input_size": [160, 128],
    "teacher.model": "self",
    "teacher.epochs": 1,
    "teacher.hints": 0.1,
    "train.epochs": 1,
    "train.batch_size": 4,
    "train.learning_rate": 0.002,
    "evaluate.overlays": 2,
    "evaluate.bootstrap": 100,
    "export.calibration_images": 8,
    "export.max_iou_drop": 1,  # falling back to float has a test of its own
    "benchmark.runs": 20,
    "benchmark.max_seconds": 1,
    "benchmark.backends": ["pytorch_fp32", "onnxruntime_fp32", "openvino_int8", "tensorrt_fp32"],
    "audit.worst": 6,
}


def environment() -> dict[str, str]:
    """This process's environment, with this Python's programs first and nothing of another project's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "MLFLOW_"))}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept


def run(
    folder: Path, *command: str, check: bool = True, extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, `extra` added to its environment; AssertionError with the end of its output if `check`
    and it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment(), **(extra or {})},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def set_params(folder: Path, changes: Mapping[str, Any]) -> None:
    """Set dotted keys of `folder`/params.yaml; AssertionError for one that is not there."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = params
        for section in sections:
            place = place[section]
        assert last in place
        place[last] = value
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def commit(folder: Path) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "as it is")


def clone(folder: Path) -> Path:
    """Copy what git would give a newcomer (and files not yet committed) into an own repository."""
    listed = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file() and not name.startswith(("results/", "metrics/", "dvc.lock")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    run(folder, "git", "init", "-q")
    for key, value in {"user.name": "t", "user.email": "t@example.com"}.items():
        run(folder, "git", "config", key, value)
    commit(folder)
    return folder
