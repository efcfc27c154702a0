"""A small finished road beside a real MLflow server and a real S3-style store, both of this machine."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.project import SHRUNK, clone, commit, environment, run, set_params

SECRET = "-".join(("hunter2", "of", "the", "store"))  # so that no file of the clone itself holds it
BUCKET = "people"
SMALL = SHRUNK | {
    "sample.count": 32,
    "folds.input_size": [64, 96],
    "model.encoder": "tu-tf_efficientnet_lite0",
    "model.decoder_channels": [16, 16, 8, 8, 8],
    "model.input_size": [64, 96],
    "teacher.model": None,
    "teacher.hints": 0,
    "export.calibration_images": 4,
    "benchmark.backends": ["pytorch_fp32"],
}


@dataclass
class Road:
    """A project whose road has been walked, its environment, and where the servers keep things."""

    folder: Path
    extra: dict[str, str]
    server_files: Path

    def run(self, *command: str, check: bool = True, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        return run(folder or self.folder, *command, check=check, extra=self.extra)

    def runs(self) -> list[Any]:
        """What the MLflow server holds of the experiment `personseg`."""
        import mlflow

        client = mlflow.MlflowClient(self.extra["MLFLOW_TRACKING_URI"])
        experiment = client.get_experiment_by_name("personseg")
        return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and folder of an `mlflow server` with its own database, which also keeps the files of runs."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    address = f"http://127.0.0.1:{port}"
    words = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination",
        str(folder / "kept"),
    ]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(words, cwd=folder, env=environment(), stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 300
            while not answers(f"{address}/health"):
                assert server.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()
                time.sleep(1)
            yield address, folder
        finally:
            server.terminate()
            server.wait(60)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a store that speaks S3, with the bucket `people`."""
    server_module = pytest.importorskip("moto.server", reason="no moto: pip install -r requirements-scale.txt")
    pytest.importorskip("dvc_s3", reason="no dvc-s3: pip install -r requirements-scale.txt")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    request = urllib.request.Request(f"http://{host}:{port}/{BUCKET}", method="PUT")
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.status == 200
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory, mlflow_server: tuple[str, Path]) -> Road:
    """The whole road, recorded on the server."""
    address, files = mlflow_server
    extra = {
        "MLFLOW_TRACKING_URI": address,
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": SECRET,
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    folder = clone(tmp_path_factory.mktemp("road"))
    set_params(folder, SMALL)
    made = Road(folder, extra, files)
    made.run("dvc", "repro")
    commit(folder)
    return made


def copy_of(road: Road, folder: Path) -> Road:
    """The same state in another folder, to be changed there."""
    shutil.copytree(road.folder, folder, symlinks=True)
    return Road(folder, road.extra, road.server_files)
