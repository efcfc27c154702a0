"""One run of the road in a copy of the project: started, watched, killed, and what it left, compared."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from stages.common import WRITTEN
from tests.project import SHRUNK, environment, run

# Every stage works, a teacher is trained, nothing is large: what is tried is the road, not the network.
PARAMS: dict[str, Any] = {
    **SHRUNK,
    "sample.count": 32,
    "convert.workers": 1,
    "folds.epochs": 2,
    "folds.workers": 1,
    "audit.workers": 1,
    "filter.workers": 1,
    "split.workers": 1,
    "model.encoder": "tu-tf_efficientnet_lite0",
    "model.input_size": [64, 64],
    "teacher.workers": 1,
    "teacher.epochs": 2,
    "train.epochs": 3,
    "train.workers": 1,
    "export.calibration_images": 4,
    "export.threads": 1,
    "benchmark.backends": ["pytorch_fp32", "onnxruntime_fp32"],
    "benchmark.threads": 1,
}
STAGES = (
    *("source", "fetch", "convert", "folds", "audit", "filter", "check", "split", "teach", "train", "calibrate"),
    *("evaluate", "export", "benchmark", "report", "track"),
)
TIMED = re.compile(r"(_s|_bytes|runs|per_s|warning|versions|settings|device|threads|build_s)$")
ENGINE = re.compile(r"engine|tensorrt")  # TensorRT's builder does not promise the same bytes
COMPARED = (
    *("data/jpg/manifest.csv", "data/folds/folds.csv", "data/audit/scores.csv", "data/clean/manifest.csv"),
    *("data/splits/train.csv", "data/splits/val.csv", "data/splits/test.csv", "plots/history.csv"),
    *("data/evaluation/images.csv", "models/person/config.json"),
)
TRAININGS = ("folds", "teach", "train")  # stages that keep state under .resume/
STARTED = re.compile(r"Running stage '(\w+)")
ORPHAN_S = 60  # a process that outlives its dvc by more is an orphan
ROAD_S = 4 * 3600  # a road that takes longer hangs
POLL_S = 0.004
TORTURED = "PERSONSEG_TORTURE"  # the variable that marks processes of a road


@dataclass
class Outcome:
    """One fault and what came of it."""

    fault: str
    stage: str = ""  # the one that ran
    hit: str = ""  # what it was writing, or doing
    moment_s: float = 0.0  # seconds since the start of that dvc repro
    survived: bool = False
    notes: list[str] = field(default_factory=list)  # why not
    saved_epochs: dict[str, int] = field(default_factory=dict)  # that the trainings then had behind them
    road: str = ""


def figures(values: Any, name: str = "") -> dict[str, Any]:
    """Everything in a metrics file that is not a timing, by dotted name."""
    if isinstance(values, Mapping):
        found: dict[str, Any] = {}
        for key, value in values.items():
            if not TIMED.search(str(key)) and not ENGINE.search(str(key)):
                found |= figures(value, f"{name}.{key}")
        return found
    return {name: values}


def results(folder: Path) -> dict[str, Any]:
    """All that an undisturbed run must agree on: metrics but for timings, tables, the model, by name."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "metrics").rglob("*.json")):
        found |= figures(json.loads(path.read_text(encoding="utf-8")), path.relative_to(folder).as_posix())
    for name in COMPARED:
        if (folder / name).is_file():  # a road may be cut short on purpose
            found[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return found


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*one, *other}) if one.get(name, "missing") != other.get(name, "missing")]


def mlflow_runs(folder: Path) -> list[bool]:
    """Whether each run in the project's store is complete."""
    code = (
        "import mlflow, sys\nclient = mlflow.MlflowClient(sys.argv[1])\n"
        "found = client.get_experiment_by_name('personseg')\n"
        "runs = client.search_runs([found.experiment_id]) if found else []\n"
        "print(*(run.data.tags.get('pipeline.complete') == 'true' for run in runs))\n"
    )
    text = run(folder, sys.executable, "-c", code, f"sqlite:///{folder}/mlflow.db").stdout.split()
    return [word == "True" for word in text if word in ("True", "False")]


class Road:
    """One `dvc repro` in `folder`, in a process group of its own; its output goes to a file."""

    def __init__(self, folder: Path, until: str = "", extra: Mapping[str, str] | None = None) -> None:
        self.folder, self.log = folder, Path(tempfile.mkstemp(suffix=".log", dir=folder.parent)[1])
        self.start = time.time()
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                ["dvc", "repro", *filter(None, [until])],
                cwd=folder,
                env={**environment(), TORTURED: str(folder), **(extra or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stage(self) -> str:
        """The stage that runs, without a benchmark's backend; nothing before the first."""
        found = STARTED.findall(self.text())
        return found[-1] if found else ""

    def timeline(self) -> list[tuple[str, float]]:
        """Wait for the end; stages in order, first the start without a name, each with its second since the start."""
        found = [("", 0.0)]
        while self.process.poll() is None:
            if (stage := self.stage()) != found[-1][0]:
                found.append((stage, time.time() - self.start))
            time.sleep(0.05)
        return found

    def wait(self, seconds: float = ROAD_S) -> int | None:
        """The exit code, None if it still runs after `seconds`."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Kill the whole group at once, as a power cut does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_stage(self) -> None:
        """Kill the stage alone, as the system does when memory runs out, and let dvc say so."""
        for member in self.members():
            with contextlib.suppress(psutil.Error):
                if any(word.startswith("stages.") for word in member.cmdline()):
                    member.kill()

    def still_alive(self, seconds: float = ORPHAN_S) -> list[str]:
        """Processes of this road that live `seconds` from now, by command line; they are ended then."""
        end = time.monotonic() + seconds
        while members := self.members():
            if time.monotonic() > end:
                lines = [" ".join(member.cmdline())[:120] for member in members]
                for member in members:
                    with contextlib.suppress(psutil.Error):
                        member.kill()
                return lines
            time.sleep(0.1)
        return []

    def members(self) -> list[psutil.Process]:
        """Running processes that were started by this harness for this folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get(TORTURED) == str(self.folder):
                    found.append(process)
        return found


def half_written(folder: Path, since: float) -> str:
    """A file or folder that is being written, as a name; training state and MLflow's database once they have grown."""
    for place in WRITTEN:
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder / place):
                if entry.name.startswith(".") and ".tmp" in entry.name:
                    return f"{place}/{entry.name}"
    for pattern in (".resume/t*/last.ckpt", ".resume/folds/*/last.ckpt", "mlflow.db*", "mlruns/*/*"):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime > since and not path.name.endswith(".lock"):
                    return path.relative_to(folder).as_posix()
    return ""


def saved_epochs(folder: Path) -> dict[str, int]:
    """How many epochs each training with state in `folder` has behind it, by its folder under .resume/."""
    import torch  # takes seconds

    found = {}
    for path in sorted(path for stage in TRAININGS for path in (folder / ".resume" / stage).rglob("last.ckpt")):
        name = path.parent.relative_to(folder / ".resume").as_posix()
        found[name] = int(torch.load(path, map_location="cpu", weights_only=True)["epoch"]) + 1
    return found


def trained_anew(text: str, saved: Mapping[str, int]) -> list[str]:
    """Which trainings with state the road of this output began again instead of going on, in words."""
    faults = []
    for name, epochs in saved.items():
        stage, _, fold = name.partition("/fold_")
        part = text.partition(f"Running stage '{stage}'")[2].partition("Running stage '")[0]
        if fold:
            part = part.partition(f"fold {fold} of ")[2].partition(f"fold {int(fold) + 1} of ")[0]
        first = re.search(r"epoch +(\d+) +train", part)
        if first and int(first[1]) != epochs + 1:
            faults.append(f"{name} had {epochs} epochs and went on at epoch {first[1]}")
    return faults
