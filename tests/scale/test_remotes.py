"""A remote MLflow server and an S3-style remote of DVC, by configuration alone."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from personseg.tracking import COMPLETE
from tests.project import commit
from tests.scale.conftest import BUCKET, SECRET, Road

ALWAYS = {"stages.source", "stages.env", "stages.track"}  # they look at what is outside


@pytest.fixture(scope="module")
def pushed(road: Road, s3: str) -> Road:
    """The road with its outputs in the store, set up as docs/scale.md says."""
    road.run("dvc", "remote", "add", "--default", "store", f"s3://{BUCKET}/personseg")
    road.run("dvc", "remote", "modify", "store", "endpointurl", s3)
    commit(road.folder)
    road.run("dvc", "push")
    return road


def holding(folder: Path, word: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and word in path.read_bytes()]


def test_the_server_holds_the_run_with_its_files_and_its_model(road: Road, tmp_path: Path) -> None:
    import mlflow

    (run,) = [run for run in road.runs() if "dvc.exp" not in run.data.tags]
    assert run.data.tags[COMPLETE] == "true" and run.info.status == "FINISHED"
    assert not (road.folder / "mlflow.db").exists() and not (road.folder / "mlruns").exists()
    address = road.extra["MLFLOW_TRACKING_URI"]
    page = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="report/report.html", dst_path=str(tmp_path), tracking_uri=address
    )
    assert Path(page).read_bytes() == (road.folder / "report/report.html").read_bytes()
    version = mlflow.MlflowClient(address).get_model_version_by_alias("personseg-sample", "newest")
    assert version.run_id in {each.info.run_id for each in road.runs()}


def test_a_fresh_clone_pulls_and_has_nothing_left_to_do(pushed: Road, tmp_path: Path) -> None:
    before = {run.info.run_id for run in pushed.runs()}
    fresh = tmp_path / "fresh"
    pushed.run("git", "clone", "-q", str(pushed.folder), str(fresh), folder=tmp_path)
    assert not (fresh / "models").exists()
    pushed.run("dvc", "pull", folder=fresh)
    for name in ("models/person/model.safetensors", "plots/history.csv", "data/clean/manifest.csv"):
        assert (fresh / name).read_bytes() == (pushed.folder / name).read_bytes(), name
    lock = (fresh / "dvc.lock").read_bytes()
    done = pushed.run("dvc", "repro", folder=fresh)
    assert set(re.findall(r"> python -m (stages\.\w+)", done.stdout)) == ALWAYS, done.stdout
    assert "this state is recorded already" in done.stdout
    assert (fresh / "dvc.lock").read_bytes() == lock
    assert pushed.run("git", "status", "--porcelain", folder=fresh).stdout == ""
    assert {run.info.run_id for run in pushed.runs()} == before


def test_the_store_holds_what_was_made(pushed: Road, s3: str) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=s3, aws_access_key_id="me", aws_secret_access_key="x", region_name="a-b-1")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    names = {item["Key"] for page in pages for item in page.get("Contents", [])}
    digest = hashlib.md5((pushed.folder / "plots/history.csv").read_bytes(), usedforsecurity=False).hexdigest()
    assert f"personseg/files/md5/{digest[:2]}/{digest[2:]}" in names


def test_no_password_is_kept_or_told(pushed: Road) -> None:
    assert holding(pushed.folder, SECRET.encode()) == []
    assert holding(pushed.server_files, SECRET.encode()) == []


def test_a_server_that_is_not_there_is_one_line_without_the_password(road: Road) -> None:
    gone = {
        **road.extra,
        "MLFLOW_TRACKING_URI": f"http://me:{SECRET}@127.0.0.1:9",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    done = Road(road.folder, gone, road.server_files).run("python", "-m", "stages.track", check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and len(lines) == 1 and "set MLFLOW_TRACKING_URI right" in lines[0]
    assert SECRET not in done.stdout + done.stderr
