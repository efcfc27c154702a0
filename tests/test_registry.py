"""Models in MLflow's registry: what is stored, and which version the aliases mean."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from personseg import tracking
from personseg.model import build_model, save_model
from personseg.model_config import ModelConfig
from personseg.registry import BEST, NEWEST, registered_name
from personseg.segmenter import Segmenter
from personseg.tracking import track
from tests.finished import BACKENDS, PARAMS
from tests.networks import architecture
from tests.tracked import INFO, change_lock, empty_store, project, set_iou

__all__ = ["empty_store", "project"]  # fixtures
NAME = registered_name("made-up")


def aliases(root: Path) -> dict[str, str]:
    with tracking._client(root) as client:
        found = client.get_registered_model(NAME).aliases
    return {alias: str(number) for alias, number in found.items()}


def record(root: Path) -> str:
    return track(root, PARAMS, BACKENDS, INFO)[0]


def test_best_is_chosen_by_val_and_newest_by_time(project: Path) -> None:
    record(project)
    assert aliases(project) == {NEWEST: "1", BEST: "1"}
    set_iou(project, val=0.5)
    change_lock(project)
    second = record(project)
    assert aliases(project) == {NEWEST: "2", BEST: "1"}
    with tracking._client(project) as client:
        version = client.get_model_version(NAME, "2")
    assert version.run_id == second and version.description.startswith("val IoU 0.5000, test IoU 0.957")


def test_the_stored_model_segments_photos_elsewhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project / "models/person"
    shutil.rmtree(folder)
    torch.manual_seed(0)
    save_model(folder, build_model(architecture()), ModelConfig(architecture=architecture(), input_size=(64, 64)))
    photos = np.random.default_rng(0).integers(0, 256, (2, 90, 70, 3), dtype=np.uint8)
    expected = [found.mask for found in Segmenter.load(folder, "pytorch_fp32").predict(list(photos))]
    before = dict(os.environ)
    record(project)
    assert os.environ.get("MLFLOW_TRACKING_URI") == before.get("MLFLOW_TRACKING_URI")
    shutil.rmtree(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.tracking_uri(project))
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@{BEST}")
    np.testing.assert_array_equal(model.predict(photos), np.stack(expected))
    signature = model.metadata.signature
    assert signature.inputs.inputs[0].shape == (-1, -1, -1, 3) and signature.outputs.inputs[0].type.kind == "b"
    with pytest.raises(mlflow.MlflowException, match="uint8"):
        model.predict(photos.astype(np.float32))


def test_a_killed_recording_leaves_no_version(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("mlflow.MlflowClient.set_registered_model_alias", killed)
        record(project)
    run_id = record(project)
    with tracking._client(project) as client:
        versions = client.search_model_versions(f"name = '{NAME}'")
        experiment = client.get_experiment_by_name("personseg")
        assert experiment is not None
        models = client.search_logged_models([experiment.experiment_id])
    assert [version.run_id for version in versions] == [run_id] == [model.source_run_id for model in models]
