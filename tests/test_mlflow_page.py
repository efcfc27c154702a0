"""MLflow's own pages, on runs this project recorded: what a user who compares two of them sees."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from personseg import tracking
from personseg.registry import registered_name
from personseg.tracking import track
from tests.browser import browser
from tests.finished import BACKENDS, PARAMS, write_finished
from tests.tracked import INFO, change_lock, set_iou

SHOTS = os.environ.get("PERSONSEG_SHOTS")  # a folder: screenshots are left there, to be looked at


@dataclass(frozen=True)
class Store:
    address: str
    experiment: str
    runs: list[str]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Two recorded runs, the second with a lower val IoU, behind `mlflow ui`."""
    root = write_finished(tmp_path_factory.mktemp("project") / "a project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        runs = [track(root, PARAMS, BACKENDS, INFO)[0]]
        set_iou(root, test=0.9012, val=0.9)
        change_lock(root)
        runs.append(track(root, PARAMS, BACKENDS, INFO)[0])
        with tracking._client(root) as client:
            experiment = client.get_experiment_by_name("personseg")
            assert experiment is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}"]
    server = subprocess.Popen(
        command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None and time.monotonic() < deadline, "mlflow ui does not start"
                time.sleep(0.5)
        yield Store(address, str(experiment.experiment_id), runs)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture
def page() -> Iterator[Any]:
    with browser() as chromium:
        opened = chromium.new_page(viewport={"width": 1400, "height": 1000})
        opened.set_default_timeout(60_000)
        yield opened


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.wait_for_timeout(2000)
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


def test_under_model_training_the_experiment_opens_on_its_runs(page: Any, store: Store) -> None:
    page.goto(f"{store.address}/#/experiments")
    page.get_by_text("Model training", exact=True).first.click()
    page.get_by_role("link", name="personseg", exact=True).first.click()
    for text in ("IoU 0.957", "IoU 0.901"):
        page.get_by_text(text).first.wait_for()
    shot(page, "experiment")


def test_two_runs_side_by_side(page: Any, store: Store) -> None:
    runs, experiments = quote(json.dumps(store.runs)), quote(json.dumps([store.experiment]))
    page.goto(f"{store.address}/#/compare-runs?runs={runs}&experiments={experiments}")
    page.get_by_text("Comparing 2 Runs").first.wait_for()
    for text in ("IoU 0.957", "IoU 0.901"):
        page.get_by_text(text).first.wait_for()
    shot(page, "compare")
    page.get_by_text("Show diff only").nth(1).click()  # params, metrics, tags
    page.get_by_text("test/iou", exact=True).first.wait_for()
    for value in ("0.957", "0.901"):
        page.get_by_text(re.compile(rf"^{value}\d*$")).first.wait_for()


def test_a_run_reads_well(page: Any, store: Store) -> None:
    page.goto(f"{store.address}/#/experiments/{store.experiment}/runs/{store.runs[0]}")
    page.get_by_text("masks checked").first.wait_for()  # the description
    page.get_by_text("tu-tf_efficientnet_lite0").first.wait_for()
    page.get_by_text("made-up").first.wait_for()  # the dataset
    shot(page, "run")


def test_best_and_newest_are_seen_in_the_registry(page: Any, store: Store) -> None:
    page.goto(f"{store.address}/#/models/{registered_name('made-up')}")
    for text in ("Version 1", "Version 2", "@ best", "@ newest"):
        page.get_by_text(text).first.wait_for()
    shot(page, "model")
