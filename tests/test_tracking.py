"""One MLflow run per state of the pipeline, whatever happens in between. Real MLflow in temporary folders."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from personseg import tracking
from personseg.errors import UserError
from personseg.tracking import COMPLETE, FINGERPRINT, fingerprint, track
from tests.finished import BACKENDS, PARAMS, write_finished
from tests.tracked import INFO, change_lock, empty_store, project

__all__ = ["empty_store", "project"]  # fixtures


def recorded(root: Path) -> list[Any]:
    with tracking._client(root) as client:
        experiment = client.get_experiment_by_name("personseg")
        return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_a_state_is_recorded_once(project: Path) -> None:
    first, created = track(project, PARAMS, BACKENDS, INFO)
    start = time.perf_counter()
    second, created_again = track(project, PARAMS, BACKENDS, INFO)
    assert (first, created, created_again) == (second, True, False)
    assert time.perf_counter() - start < 3
    assert [run.info.run_id for run in recorded(project)] == [first]


def test_a_changed_state_is_a_second_run(project: Path) -> None:
    first, _ = track(project, PARAMS, BACKENDS, INFO)
    change_lock(project)
    second, created = track(project, PARAMS, BACKENDS, INFO)
    assert created and {run.info.run_id for run in recorded(project)} == {first, second}


def test_a_run_holds_everything(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "bold-owl")
    run_id, _ = track(project, PARAMS, BACKENDS, INFO)
    (run,) = recorded(project)
    assert run.info.run_name == "made-up · tu-tf_efficientnet_lite0 · focal · IoU 0.957 · bold-owl"
    assert run.info.status == "FINISHED"
    assert run.data.params["train.loss.focal"] == "1.0" and run.data.params["data.name"] == "made-up"
    metrics = run.data.metrics
    assert metrics["test/iou"] == 0.95731 and metrics["val/iou_final"] == 0.9601
    assert metrics["test/iou_ci95_low"] == 0.9511 and metrics["clean/kept"] == 120
    assert metrics["benchmark/p50_ms_openvino_int8"] == pytest.approx(6.01)
    assert "benchmark/p50_ms_tensorrt_fp16" not in metrics
    tags = run.data.tags
    assert tags[COMPLETE] == "true" and tags[FINGERPRINT] == fingerprint(project / "dvc.lock")
    assert tags["dvc.exp"] == "bold-owl" and "0.9573" in tags["mlflow.note.content"]

    with tracking._client(project) as client:
        curve = client.get_metric_history(run_id, "val/iou")
    assert [point.step for point in curve] == list(range(1, 15))
    (dataset,) = run.inputs.dataset_inputs
    manifests = (project / "data/jpg/manifest.csv", project / "data/clean/manifest.csv")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in manifests)).hexdigest()
    assert dataset.dataset.name == "made-up" and digest.startswith(dataset.dataset.digest)
    assert tags["dataset.sha256"] == digest

    stored = project / "mlruns" / run_id / "artifacts"
    assert (stored / "pipeline/dvc.lock").read_bytes() == (project / "dvc.lock").read_bytes()
    assert len(list((stored / "predictions").iterdir())) == tracking.OVERLAYS
    timing = json.loads((stored / "tables/timing.json").read_text())
    assert len(timing["data"]) == len(BACKENDS)
    row = dict(zip(timing["columns"], timing["data"][BACKENDS.index("openvino_int8")], strict=True))
    assert row["p50_ms"] == pytest.approx(metrics["benchmark/p50_ms_openvino_int8"]) and "p50_s" not in row
    iou = json.loads((stored / "tables/iou.json").read_text())
    assert iou["columns"][:4] == ["split", "iou", "iou_ci95_low", "iou_ci95_high"]
    assert ["test", 0.9573, 0.9511, 0.9633] in [row[:4] for row in iou["data"]]


def test_the_experiment_says_what_it_is_unless_its_user_does(project: Path) -> None:
    note = "mlflow.note.content"
    with tracking._client(project) as client:
        experiment_id = client.create_experiment("personseg", artifact_location=str(project / "mlruns"))
        client.set_experiment_tag(experiment_id, note, "mine")
    track(project, PARAMS, BACKENDS, INFO)
    track(project, PARAMS, BACKENDS, replace(INFO, experiment="another"))
    with tracking._client(project) as client:
        tags = [client.get_experiment_by_name(name).tags for name in ("personseg", "another")]
    assert [found["mlflow.experimentKind"] for found in tags] == ["custom_model_development"] * 2
    assert tags[0][note] == "mine" and "Compare" in tags[1][note]


@pytest.mark.parametrize("step", ["_log_metrics", "_log_files", "_description"])
def test_a_run_killed_half_way_is_replaced(project: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tracking, step, killed)
        track(project, PARAMS, BACKENDS, INFO)
    (half,) = recorded(project)
    assert COMPLETE not in half.data.tags
    run_id, created = track(project, PARAMS, BACKENDS, INFO)
    assert created and [run.info.run_id for run in recorded(project)] == [run_id] != [half.info.run_id]


def test_a_half_filled_run_of_another_state_goes_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tracking, "_fill", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        track(project, PARAMS, BACKENDS, INFO)
    change_lock(project)
    run_id, _ = track(project, PARAMS, BACKENDS, INFO)
    assert [run.info.run_id for run in recorded(project)] == [run_id]


def test_two_processes_at_once_make_one_run(project: Path) -> None:
    (project / "mlflow.db").unlink()  # so that both also find no database
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        jobs = [pool.apply_async(track, (project, PARAMS, BACKENDS, INFO)) for _ in range(2)]
        results = [job.get(timeout=60) for job in jobs]
    assert sorted(created for _, created in results) == [False, True]
    assert len({run_id for run_id, _ in results}) == 1 == len(recorded(project))


def test_a_run_outside_the_pipeline_is_let_be(project: Path) -> None:
    track(project, PARAMS, BACKENDS, INFO)
    with tracking._client(project) as client:
        experiment = client.get_experiment_by_name("personseg")
        assert experiment is not None
        other = client.create_run(experiment.experiment_id).info.run_id
    change_lock(project)
    track(project, PARAMS, BACKENDS, INFO)
    assert other in {run.info.run_id for run in recorded(project)}


def test_the_users_tracking_uri_is_used(project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = project.parent / "elsewhere.db"
    shutil.copy(empty_store, elsewhere)
    before = (project / "mlflow.db").read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    track(project, PARAMS, BACKENDS, INFO)
    assert len(recorded(project)) == 1
    assert (project / "mlflow.db").read_bytes() == before


def test_faults_of_the_store_are_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"MLflow at http://[*]{3}@127") as caught:
        track(project, PARAMS, BACKENDS, INFO)
    assert "secret" not in str(caught.value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (project / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match="MLflow at sqlite"):
        track(project, PARAMS, BACKENDS, INFO)


def test_a_moved_project_does_not_write_into_its_old_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    track(project, PARAMS, BACKENDS, INFO)
    moved = project.rename(project.with_name("moved"))
    monkeypatch.setenv("DVC_ROOT", str(moved))
    assert track(moved, PARAMS, BACKENDS, INFO)[1] is False
    change_lock(moved)
    with pytest.raises(UserError, match=r"track\.experiment to another name"):
        track(moved, PARAMS, BACKENDS, INFO)
    assert not project.exists()


def test_a_deleted_experiment_is_named(project: Path) -> None:
    track(project, PARAMS, BACKENDS, INFO)
    with tracking._client(project) as client:
        experiment = client.get_experiment_by_name("personseg")
        assert experiment is not None
        client.delete_experiment(experiment.experiment_id)
    with pytest.raises(UserError, match="mlflow experiments restore"):
        track(project, PARAMS, BACKENDS, INFO)


def test_fingerprint_is_of_params_and_outputs_only(tmp_path: Path) -> None:
    root = write_finished(tmp_path)
    path = root / "dvc.lock"
    original, lock = fingerprint(path), yaml.safe_load(path.read_text())
    lock["stages"]["track"] = {"cmd": "python -m stages.track", "outs": [{"path": "x", "md5": "1"}]}
    lock["stages"]["train"]["cmd"] = "another"
    path.write_text(yaml.safe_dump(lock))
    assert fingerprint(path) == original
    lock["stages"]["train"]["params"]["params.yaml"]["train"]["seed"] = 2
    path.write_text(yaml.safe_dump(lock))
    assert fingerprint(path) != original


@pytest.mark.parametrize("text", ["", "just text", "{", "a: 1"])
def test_a_damaged_lock_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(UserError, match=r"dvc\.lock"):
        fingerprint(tmp_path / "dvc.lock")
    with pytest.raises(UserError, match="not found"):
        fingerprint(tmp_path / "nowhere")
