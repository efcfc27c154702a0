"""Kill the road anywhere and see that nothing is lost: `make torture` (hours), or `python -m tests.faults.kill --help`.

The repository is copied to a temporary folder, its params are shrunk, and the real `dvc repro` runs there: once in
peace, then killed again and again, started again each time. What counts is compared digit for digit.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from personseg.environment import environment as machine
from personseg.files import write_json
from tests.project import SHRUNK, clone, environment, run, set_params

PARAMS: dict[str, Any] = {
    **SHRUNK,
    "sample.count": 32,
    "folds.epochs": 2,
    "model.input_size": [96, 64],
    "train.epochs": 3,
    "convert.workers": 1,
    "export.calibration_images": 4,
    "benchmark.backends": ["pytorch_fp32", "onnxruntime_fp32"],
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
ORPHAN_S = 20  # a process that outlives its dvc by more is an orphan
ROAD_S = 3600  # a road that takes longer hangs
POLL_S = 0.004


@dataclass
class Outcome:
    """One fault and what came of it."""

    fault: str
    hit: str = ""  # what was being done
    survived: bool = False
    notes: list[str] = field(default_factory=list)


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
                env={**environment(), "PERSONSEG_TORTURE": str(folder), **(extra or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stage(self) -> str:
        """The stage that runs, without a benchmark's backend; nothing before the first."""
        found = re.findall(r"Running stage '(\w+)", self.text())
        return found[-1] if found else ""

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
                if process.environ().get("PERSONSEG_TORTURE") == str(self.folder):
                    found.append(process)
        return found


def half_written(folder: Path, since: float) -> str:
    """A file or folder that is being written, as a name; training state and MLflow's database once they have grown."""
    for place in (".", "data", "data/audit", "models", "metrics", "metrics/benchmark", "plots", "plots/benchmark",
                  "report", "logs/costs"):  # fmt: skip
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder / place):
                if entry.name.startswith(".") and ".tmp" in entry.name:
                    return f"{place}/{entry.name}"
    for pattern in (".resume/train/last.ckpt", ".resume/folds/*/last.ckpt", "mlflow.db*", "mlruns/*/*"):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime > since and not path.name.endswith(".lock"):
                    return path.relative_to(folder).as_posix()
    return ""


def at_moment(seconds: float) -> Callable[[Road], str | None]:
    def reached(road: Road) -> str | None:
        return road.stage() or "start" if time.time() - road.start >= seconds else None

    return reached


def at_write(stage: str) -> Callable[[Road], str | None]:
    """While `stage` writes; at the latest when it is over."""
    begun = 0.0

    def reached(road: Road) -> str | None:
        nonlocal begun
        current = road.stage()
        if current == stage:
            begun = begun or time.time() - 0.05
            if name := half_written(road.folder, begun):
                return f"{stage}: {name}"
            return None
        return f"{stage}: just over" if begun else None

    return reached


def kill_when(road: Road, reached: Callable[[Road], str | None]) -> str | None:
    """Kill `road` when `reached` says so and return what it says; None if the road ended before."""
    while road.process.poll() is None:
        if hit := reached(road):
            road.kill()
            return hit
        time.sleep(POLL_S)
    return None


class Torture:
    """The undisturbed run, and everything that is compared with it."""

    def __init__(self, place: Path, seed: int, until: str = "") -> None:
        self.place, self.rng, self.outcomes, self.until = place, random.Random(seed), list[Outcome](), until
        self.stages = STAGES[: STAGES.index(until) + 1] if until else STAGES
        self.template = place / "template"
        self.template.mkdir()
        clone(self.template)
        set_params(self.template, PARAMS)
        self.calm, self.numbers = self.fresh("calm"), 0
        road = Road(self.calm, until)
        if road.wait() != 0:
            sys.exit(f"the undisturbed run failed:\n{road.text()[-3000:]}")
        self.seconds = time.time() - road.start
        self.expected = results(self.calm)
        print(f"undisturbed: {self.seconds:.0f} s, {len(self.expected)} figures", flush=True)

    def fresh(self, name: str) -> Path:
        """The project as cloned: nothing has run in it, DVC's cache is empty."""
        return Path(shutil.copytree(self.template, self.place / name, symlinks=True))

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        word = "survived" if outcome.survived else "LOST"
        print(f"{word:9} {outcome.fault:28} {outcome.hit:60} {'; '.join(outcome.notes)}", flush=True)

    def finish(self, folder: Path, outcomes: list[Outcome], extra: Mapping[str, str] | None = None) -> None:
        """Run the road to its end and judge all that happened on it."""
        road = Road(folder, self.until, extra)
        code = road.wait()
        if code is None:
            road.kill()
        faults = [] if code == 0 else [f"dvc repro ended with {code}: {road.text()[-300:]}"]
        if "Traceback" in road.text():
            faults.append("a traceback was shown")
        if code == 0:
            faults += [f"differs: {name}" for name in differences(self.expected, results(folder))[:5]]
            runs = mlflow_runs(folder) if not self.until else [True]
            if runs != [True]:
                faults.append(f"MLflow holds {len(runs)} runs, {sum(runs)} complete")
            if half := [path.name for path in folder.rglob(".*.tmp*") if ".dvc" not in path.parts]:
                faults.append(f"left behind: {half[:3]}")
        for outcome in outcomes:
            outcome.notes += faults
            outcome.survived = not outcome.notes
            self.add(outcome)
        shutil.rmtree(folder, ignore_errors=True)

    def kills(self, number: int) -> None:
        """`number` kills of the whole group: while each stage writes, the others at random moments."""
        writes = list(self.stages)
        if number < len(writes) + 2:
            chosen = set(self.rng.sample(writes, number // 2))
            writes = [stage for stage in writes if stage in chosen]
        self.road_with_kills("while writing", [(f"kill -9, {stage} writes", at_write(stage)) for stage in writes])
        left = number - len(writes)
        while left > 0:
            moments = [self.rng.uniform(1, self.seconds / 2) for _ in range(min(left, 5))]
            plan = [(f"kill -9 after {seconds:.1f} s", at_moment(seconds)) for seconds in moments]
            left -= self.road_with_kills("at random", plan)

    def road_with_kills(self, title: str, plan: list[tuple[str, Callable[[Road], str | None]]]) -> int:
        """Kill a new road as planned, one start after the other, and let it end; the number of kills that hit."""
        self.numbers += 1
        folder, outcomes = self.fresh(f"road{self.numbers}"), list[Outcome]()
        print(f"road {self.numbers}: kills {title}", flush=True)
        had_state: set[str] = set()
        for fault, reached in plan:
            road = Road(folder, self.until)
            hit = kill_when(road, reached)
            notes = self.resumed(road, had_state)
            if hit is None:
                if road.process.returncode != 0:
                    notes.append(f"dvc repro ended with {road.process.returncode}: {road.text()[-300:]}")
                else:
                    break  # the road ended before the moment came
            notes += [f"orphan: {line}" for line in road.still_alive()]
            outcomes.append(Outcome(fault, hit or "", notes=notes))
            had_state = {name for name in ("train", "folds") if any((folder / ".resume" / name).rglob("last.ckpt"))}
        self.finish(folder, outcomes)
        return len(outcomes)

    def resumed(self, road: Road, had_state: set[str]) -> list[str]:
        """A training that had state before this start and was reached must go on from it."""
        text = road.text()
        for stage in had_state:
            began = f"Running stage '{stage}'" in text
            trained = re.search(r"epoch +\d+ ", text.partition(f"Running stage '{stage}'")[2]) is not None
            if began and trained and "going on from" not in text:
                return [f"{stage} began anew instead of going on"]
        return []

    def signals(self) -> None:
        """SIGTERM to dvc alone, Ctrl-C, and two roads at once, on one road."""
        self.numbers += 1
        folder, outcomes = self.fresh(f"road{self.numbers}"), list[Outcome]()
        for fault, number, group in (("SIGTERM to dvc alone", signal.SIGTERM, False), ("kill -9 to dvc alone",
                signal.SIGKILL, False), ("Ctrl-C", signal.SIGINT, True)):  # fmt: skip
            road = Road(folder, self.until)
            while road.process.poll() is None and not (
                road.stage() in ("folds", "train") and half_written(folder, road.start)
            ):
                time.sleep(POLL_S)
            hit = road.stage()
            if road.process.poll() is None:
                os.killpg(road.process.pid, number) if group else road.process.send_signal(number)
            if road.wait(60) is None:
                outcomes.append(Outcome(fault, hit, notes=["dvc went on"]))
                road.kill()
            else:
                notes = [f"orphan: {line}" for line in road.still_alive()]
                if "Traceback" in road.text():
                    notes.append("a traceback was shown")
                outcomes.append(Outcome(fault, hit, notes=notes))
        first = Road(folder, self.until)
        while first.process.poll() is None and not first.stage():
            time.sleep(POLL_S)
        second = Road(folder, self.until)
        codes = first.wait(), second.wait()
        notes = [] if 0 in codes else [f"neither ended well: {codes}, {second.text()[-300:]}"]
        for road in (first, second):
            if "Traceback" in road.text():
                notes.append("a traceback was shown")
        told = next((line for line in second.text().splitlines() if "ERROR" in line or "error:" in line), "")
        outcomes.append(Outcome("two dvc repro at once", f"the second: {told[:80] or codes[1]}", notes=notes))
        self.finish(folder, outcomes)

    def clock(self) -> None:
        """Every second process of a road believes to be a year ahead, the others a year behind."""
        self.numbers += 1
        folder, shim = self.fresh(f"road{self.numbers}"), self.place / "shim"
        shim.mkdir(exist_ok=True)
        (shim / "sitecustomize.py").write_text(
            "import os, time\n"
            "true, shift = time.time, (1 if os.getpid() % 2 else -1) * 365 * 86400\n"
            "time.time = lambda: true() + shift\n"
        )
        path = os.pathsep.join(filter(None, (str(shim), os.environ.get("PYTHONPATH"))))
        self.finish(folder, [Outcome("a clock that jumps", "a year ahead or behind")], {"PYTHONPATH": path})

    def disk(self) -> None:
        """Every stage's own command with no byte left, then in a folder that cannot be written."""
        for fault in ("full disk", "read-only folder"):
            with small_disk(self.place, self.calm) as (folder, seal):
                if folder is None:
                    self.add(Outcome(fault, "not tried: this user may not mount a tmpfs", survived=True))
                    return
                seal(fault)
                before = results(folder)
                for stage in self.stages:
                    self.add(failing_stage(folder, stage, fault, before))


@contextlib.contextmanager
def small_disk(place: Path, project: Path) -> Iterator[tuple[Path | None, Callable[[str], None]]]:
    """A copy of a finished project on a tmpfs, and a function that fills it or makes it read-only."""
    mount = place / "disk"
    mount.mkdir(exist_ok=True)
    skipped = (".dvc", "mlruns", ".git")
    size = sum(p.stat().st_size + 4096 for p in project.rglob("*") if p.is_file() and p.parts[-2] not in skipped)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size + 2**25}", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if done.returncode != 0:
        yield None, lambda fault: None
        return

    def seal(fault: str) -> None:
        if fault == "read-only folder":
            subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
            return
        with contextlib.suppress(OSError), (mount / "filler").open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(2**16))
        with contextlib.suppress(OSError), (mount / "filler2").open("wb", buffering=0) as stream:
            while True:
                stream.write(b"x")

    try:
        folder = Path(shutil.copytree(project, mount / "project", ignore=shutil.ignore_patterns("cache", ".git")))
        yield folder, seal
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False)


def failing_stage(folder: Path, stage: str, fault: str, before: Mapping[str, Any]) -> Outcome:
    """Run a stage that cannot write: one line, and all that was there still is."""
    backend = ["--backend", PARAMS["benchmark.backends"][0]] if stage == "benchmark" else []
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}", *backend],
        cwd=folder,
        env={**environment(), "DVC_ROOT": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=ROAD_S,
    )
    told = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
    notes = [] if done.returncode else ["it ended well"]
    if len(told) != 1:
        notes.append(f"{len(told)} lines of error: {done.stderr[-200:]}")
    if "Traceback" in done.stdout + done.stderr:
        notes.append("a traceback was shown")
    notes += [f"differs: {name}" for name in differences(before, results(folder))[:3]]
    return Outcome(f"{fault}, {stage}", (told or [""])[0][:60], not notes, notes)


PARTS = ("kills", "signals", "clock", "disk")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kill", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=25, help="how many; 16 of them while each stage writes")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--until", choices=STAGES, default="", help="try a shorter road, to this stage")
    parser.add_argument("--out", type=Path, default=Path("results/torture.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="personseg_torture_", ignore_cleanup_errors=True) as folder:
        torture = Torture(Path(folder).resolve(), arguments.seed, arguments.until)
        if "kills" in arguments.parts:
            torture.kills(arguments.kills)
        for part in ("signals", "clock", "disk"):
            if part in arguments.parts:
                getattr(torture, part)()
    survived = sum(outcome.survived for outcome in torture.outcomes)
    kills = [outcome for outcome in torture.outcomes if re.match("kill -9(,| after)", outcome.fault)]
    here = machine()
    write_json(
        arguments.out,
        {
            "machine": {key: here[key] for key in ("cpu", "cores", "gpu", "system", "python")},
            "seed": arguments.seed,
            "until": arguments.until or "the end",
            "undisturbed_s": round(torture.seconds, 1),
            "figures_compared": len(torture.expected),
            "kills": len(kills),
            "kills_survived": sum(outcome.survived for outcome in kills),
            "faults": len(torture.outcomes),
            "faults_survived": survived,
            "outcomes": [asdict(outcome) for outcome in torture.outcomes],
        },
    )
    print(f"{survived} of {len(torture.outcomes)} survived, written to {arguments.out}")
    sys.exit(0 if survived == len(torture.outcomes) else 1)


if __name__ == "__main__":
    main()
