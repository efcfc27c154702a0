"""A made-up finished pipeline beside an MLflow database of its own, for tests of what is recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from personseg import tracking
from personseg.tracking import RunInfo
from tests.finished import write_finished

INFO = RunInfo("personseg", "made-up", "tu-tf_efficientnet_lite0", "focal")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database MLflow has just set up: that takes seconds, so it is done once and copied."""
    root = tmp_path_factory.mktemp("store")
    with tracking._client(root) as client:
        client.search_experiments()
    return root / "mlflow.db"


@pytest.fixture
def project(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_finished(tmp_path / "a project")
    shutil.copy(empty_store, root / "mlflow.db")
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root


def change_lock(root: Path) -> None:
    """As after another training."""
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    lock["stages"]["train"]["outs"][0]["md5"] = "f" * 32
    (root / "dvc.lock").write_text(yaml.safe_dump(lock))


def set_iou(root: Path, **scores: float) -> None:
    """Replace the IoU of some splits."""
    path = root / "metrics/iou.json"
    found = json.loads(path.read_text())
    for split, value in scores.items():
        found[split]["iou"] = value
    path.write_text(json.dumps(found))
