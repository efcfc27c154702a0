"""Many users of the demo page at once: each gets the answer to its own photo, or is told that the page is busy."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gradio.state_holder import SessionState

from benchmarks import demo_load
from personseg import demo
from personseg.errors import UserError
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


HEAPS = """
import ctypes, sys, threading
from personseg.memory import share_heaps
if sys.argv[1] == "shared":
    share_heaps()
held, kept = threading.Barrier(9), []
def thread():
    kept.append(bytes(5000))
    held.wait()
threads = [threading.Thread(target=thread) for _ in range(8)]
for each in threads:
    each.start()
held.wait()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_stats"), reason="glibc's alone")
@pytest.mark.parametrize(("how", "shared"), [("shared", True), ("apart", False)])
def test_threads_share_two_heaps(how: str, shared: bool) -> None:
    done = subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, text=True, check=True)
    assert (done.stderr.count("Arena ") == 2) is shared, done.stderr


def test_heaps_are_shared_before_models_start_threads(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def no_demo(_: Path) -> demo.Demo:
        called.append("model")
        raise UserError("stop")

    monkeypatch.setattr(demo, "share_heaps", lambda: called.append("heaps"))
    monkeypatch.setattr(demo, "Demo", no_demo)
    with pytest.raises(UserError, match="stop"):
        demo.serve(model, "127.0.0.1", 0, block=False)
    assert called == ["heaps", "model"]


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
