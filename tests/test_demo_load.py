"""Many users of the demo page at once: each gets the answer to its own photo, or is told that the page is busy."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path

import pytest
import torch
from gradio.state_holder import SessionState

from benchmarks import demo_load
from personseg import demo
from personseg.model import build_model, save_model
from personseg.model_config import ModelConfig
from tests.networks import architecture


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "person"
    torch.manual_seed(0)
    save_model(folder, build_model(architecture()), ModelConfig(architecture=architecture(), input_size=(96, 96)))
    return folder


def test_eight_users_of_a_server_each_get_their_own(model: Path) -> None:
    found = demo_load.measure(model, 8, 3)
    assert found["errors"] == {}
    assert found["photos"] >= 8 and found["downloads"] >= 8 and found["busy"] == 0
    assert found["p50_s"] <= found["p95_s"] <= found["max_s"]
    assert 0 < found["idle_bytes"] <= found["peak_bytes"]


def test_who_comes_to_a_full_queue_is_told_so_and_nobody_gets_an_error(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "WAITING", 2)
    tally = asyncio.run(demo_load.crowd(demo.serve(model, "127.0.0.1", 0, block=False).rstrip("/"), 12, 2))
    assert tally.busy and tally.seconds and not tally.errors


def test_visits_are_forgotten(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SESSIONS", 3)
    gc.collect()
    before = sum(isinstance(each, SessionState) for each in gc.get_objects())
    address = demo.serve(model, "127.0.0.1", 0, block=False).rstrip("/")
    tally = asyncio.run(demo_load.crowd(address, 6, 0.1))
    gc.collect()
    kept = sum(isinstance(each, SessionState) for each in gc.get_objects()) - before
    assert tally.downloads == 6 and 0 < kept <= 4  # three, and one that came in


def test_an_answer_to_another_photo_is_an_error(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_load, "photo", lambda number: (PHOTO(number)[0], "1 x 1 px"))
    tally = asyncio.run(demo_load.crowd(demo.serve(model, "127.0.0.1", 0, block=False).rstrip("/"), 1, 0.1))
    assert not tally.seconds and "asked for a photo of 1 x 1 px" in next(iter(tally.errors))


PHOTO = demo_load.photo


def test_the_figures_are_of_a_crowd_that_met_no_error_and_the_page_tells_them() -> None:
    found = json.loads(Path("results/demo_load.json").read_text(encoding="utf-8"))
    assert found["clients"] == 64 and found["seconds"] >= 180
    assert found["errors"] == {} and found["photos"] > found["clients"]
    page = " ".join(Path("docs/reliability.md").read_text(encoding="utf-8").split())
    assert demo_load.told(found) in page and f"load {found['load_before']}" in page
