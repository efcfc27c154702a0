"""What holds when a process is killed, in seconds; `make torture` does it to the whole road.

The harness's own judgement is tested here too: a harness that cannot find a loss proves nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from personseg.files import sweep
from tests.faults import road

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def start(code: str, folder: Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    """The code as a process in `folder`; killed at the end, also if what is asserted meanwhile fails."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


WRITER = """
import itertools
from pathlib import Path
from personseg.files import fresh_folder, write_json, sweep
sweep(".")
print("ready, left:", len(list(Path().glob(".*.tmp*"))), flush=True)
for number in itertools.count():
    write_json("figures.json", {"number": number, "filler": ["x"] * 20000})
    with fresh_folder("pairs") as folder:
        for name in range(20):
            (folder / str(name)).write_text(str(number) * 1000)
"""


def test_a_killed_writer_leaves_whole_files_and_the_next_one_clears_up(tmp_path: Path) -> None:
    rng, left = random.Random(3), 0
    for _ in range(8):
        with start(WRITER, tmp_path) as process:
            # Said by the writer itself, which goes on at once: the start clears what the last one left.
            assert process.stdout is not None and process.stdout.readline() == "ready, left: 0\n"
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
        left += len(list(tmp_path.glob(".*.tmp*")))
        if (tmp_path / "figures.json").exists():
            assert len(json.loads((tmp_path / "figures.json").read_text())["filler"]) == 20000
        if (tmp_path / "pairs").exists():
            # Deleting the old folder is no write: it may be cut short, but nothing in it may.
            assert len({path.read_text() for path in (tmp_path / "pairs").iterdir()}) <= 1
    assert left, "no kill came in time to leave anything: the test shows nothing"


def test_sweep_takes_only_what_the_dead_left(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    dead, alive = gone.pid, os.getpid()
    for name in (
        f".a.{dead}.tmp.json",
        f".a.{alive}.tmp.json",
        f".pairs.{dead}.tmp/1.jpg",
        ".tmp",
        "a.tmp",
        ".b.tmp.x",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".a.{alive}.tmp.json", ".b.tmp.x", ".tmp", "a.tmp"]
    sweep(tmp_path / "none")


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; from personseg.orphans import die_with_parent; "
    "die_with_parent(); print('on', flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_dies_with_dvc(number: int, tmp_path: Path) -> None:
    with start(PARENT, tmp_path) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(number)
        parent.stdout.close()
        child.wait(10)


WRITES = {
    "a JSON file": "from personseg.files import write_json; write_json('out.json', ['x'] * 9000)",
    "a table": "import pandas as pd; from personseg.files import write_table;"
    "write_table('out.csv', pd.DataFrame({'stem': ['x' * 50] * 900}))",
    "a mask": "import numpy as np; from personseg.images import write_mask;"
    "write_mask('out.png', np.random.default_rng(0).random((400, 400)) < 0.5)",
    "a model": "from torch import nn; from personseg.model import save_model; from personseg.model_config import *;"
    "save_model('out', nn.Linear(99, 99), ModelConfig(architecture={}, input_size=(32, 32)))",
    "pairs": "from pathlib import Path; from personseg.convert import convert; convert(Path('raw'), Path('out'), 95,"
    " 10**6, 0, 1)",
}


@pytest.mark.parametrize("what", WRITES)
def test_a_full_disk_is_an_oserror_and_the_old_files_stay(what: str, tmp_path: Path) -> None:
    """Every stage makes one line of an OSError; here a file may not grow beyond 300 bytes."""
    from tests.faults import corpus

    corpus.good_pairs(tmp_path / "raw")
    code = f"try:\n    {WRITES[what]}\nexcept OSError as error:\n    print('refused', error)"

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))

    before = {path.name for path in tmp_path.iterdir()}
    with start(code, tmp_path, preexec_fn=no_room) as process:
        out, err = process.communicate(timeout=120)
    assert out.startswith("refused") and "Traceback" not in err, err
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda values: values["metrics/iou.json"]["test"].update(iou=0.91230000001), ["metrics/iou.json.test.iou"]),
        (lambda values: values["metrics/iou.json"].pop("test"), ["metrics/iou.json.test.iou"]),
        (lambda values: values["metrics/benchmark/a.json"].update(p50_s=9, peak_memory_bytes=1, runs=3), []),
        (lambda values: values["metrics/benchmark/a.json"].update(test_iou=0.5), ["metrics/benchmark/a.json.test_iou"]),
    ],
)
def test_the_harness_sees_a_digit_and_not_a_timing(
    change: Callable[[dict[str, dict[str, object]]], object], names: list[str], tmp_path: Path
) -> None:
    found = []
    for altered in (False, True):
        values = {
            "metrics/iou.json": {"threshold": 0.5, "test": {"iou": 0.9123}},
            "metrics/benchmark/a.json": {"p50_s": 1.0, "test_iou": 0.9, "peak_memory_bytes": 5, "runs": 20},
        }
        if altered:
            change(values)  # type: ignore[arg-type]
        folder = tmp_path / str(altered)
        for name, content in values.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(content))
        for name in road.COMPARED:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("x")
        found.append(road.results(folder))
    assert road.differences(*found) == names
    (tmp_path / "True/plots/history.csv").write_text("y")
    assert "plots/history.csv" in road.differences(found[0], road.results(tmp_path / "True"))


def test_the_harness_finds_what_is_half_written(tmp_path: Path) -> None:
    assert road.half_written(tmp_path, 0) == ""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/.jpg.12.tmp").mkdir()
    assert road.half_written(tmp_path, 0) == "data/.jpg.12.tmp"
    (tmp_path / "data/.jpg.12.tmp").rename(tmp_path / "data/jpg")
    (tmp_path / ".resume/train").mkdir(parents=True)
    (tmp_path / ".resume/train/last.ckpt").touch()
    assert road.half_written(tmp_path, time.time() + 60) == ""
    assert road.half_written(tmp_path, time.time() - 60) == ".resume/train/last.ckpt"


def test_every_stage_of_the_road_is_tortured() -> None:
    import yaml

    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(road.STAGES) == set(stages) - {"env"}
