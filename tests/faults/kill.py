"""Kill the road anywhere and see that nothing is lost: `make torture`, or `python -m tests.faults.kill --help`.

The repository is copied to a temporary folder, its params are shrunk, and the real `dvc repro` runs there: once in
peace, then killed again and again, started again each time until it ends. What counts is compared digit for digit,
and a training that had state must go on at its next epoch. A torture that is killed itself goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import yaml

from personseg.environment import environment as machine
from personseg.files import sha256_file, write_json
from tests.faults.disk import failing_stage, small_disk
from tests.faults.road import (
    PARAMS,
    POLL_S,
    STAGES,
    TORTURED,
    Outcome,
    Road,
    differences,
    half_written,
    mlflow_runs,
    results,
    saved_epochs,
    trained_anew,
)
from tests.project import ROOT, clone, set_params

Reached = Callable[[Road], str | None]  # what was being done, once the moment is there
PARTS = ("kills", "signals", "clock", "disk")
END_S = 900  # a dvc that was told to end and has not by then went on
KILLS_A_ROAD = 3  # of those at random
PLACE = Path(tempfile.gettempdir()) / f"personseg_torture_{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"


def at_write(stage: str) -> Reached:
    """While `stage` writes; at the latest when it is over."""
    begun = 0.0

    def reached(road: Road) -> str | None:
        nonlocal begun
        current = road.stage()
        if current == stage:
            begun = begun or time.time() - 0.05
            return half_written(road.folder, begun) or None
        return f"{stage} was just over" if begun else None

    return reached


def at_moment(stage: str, seconds: float, later: set[str]) -> Reached:
    """So many seconds into `stage` (empty: into the start), or when one of the `later` stages has begun."""
    begun = 0.0

    def reached(road: Road) -> str | None:
        nonlocal begun
        current = road.stage()
        if current == stage:
            begun = begun or time.monotonic()
            return "at work" if time.monotonic() - begun >= seconds else None
        return "just begun" if current in later else None

    return reached


def kill_when(
    road: Road, reached: Reached, strike: Callable[[Road], None] = Road.kill
) -> tuple[str, str, float] | None:
    """Strike `road` when `reached` says so; return stage, what it did, seconds since the start; None if it ended."""
    while road.process.poll() is None:
        if hit := reached(road):
            moment = road.stage() or "start", hit, round(time.time() - road.start, 2)
            strike(road)
            return moment
        time.sleep(POLL_S)
    return None


def fingerprint(*others: Any) -> str:
    """Hash of this machine, of all code that stages depend on, of params and `others`: a record of anything else
    is void."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    names = {name for stage in stages for name in stage.get("deps", ()) if name.startswith(("stages/", "personseg/"))}
    names |= {"dvc.yaml", "params.yaml", "stages/common.py", "stages/params.py", "personseg/errors.py"}
    digest = hashlib.sha256(json.dumps([machine(), PARAMS, *others], sort_keys=True, default=str).encode())
    for name in sorted(names):
        for path in sorted((ROOT / name).rglob("*.py")) if (ROOT / name).is_dir() else [ROOT / name]:
            digest.update(f"{path.name}:{sha256_file(path)}\n".encode())
    return digest.hexdigest()


class Torture:
    """The undisturbed run, everything that is compared with it, and the record of what came of it."""

    def __init__(self, place: Path, out: Path, seed: int, until: str) -> None:
        self.place, self.out, self.seed, self.until = place, out, seed, until
        self.stages = STAGES[: STAGES.index(until) + 1] if until else STAGES
        self.outcomes: list[Outcome] = []
        self.mark = fingerprint(seed, until)
        old = self.unfinished()
        self.template = place / "template"
        self.template.mkdir()
        clone(self.template)
        set_params(self.template, PARAMS)
        self.calm = self.fresh("calm")
        road = Road(self.calm, until)
        self.timeline = road.timeline()
        if road.process.returncode != 0:
            sys.exit(f"the undisturbed run failed:\n{road.text()[-3000:]}")
        self.seconds = time.time() - road.start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_seconds = used.ru_utime + used.ru_stime
        self.expected = results(self.calm)
        self.digest = hashlib.sha256(json.dumps(self.expected, sort_keys=True).encode()).hexdigest()
        if old and old["figures_sha256"] != self.digest:
            sys.exit(f"two undisturbed runs do not agree; the first one's faults are in {out}")
        cost = f"{self.seconds:.0f} s, {self.cpu_seconds:.0f} s of processor time"
        print(f"undisturbed: {cost}, {len(self.expected)} figures", flush=True)

    def unfinished(self) -> dict[str, Any] | None:
        """The record of a torture like this one that was ended before its end; its outcomes are taken over."""
        with contextlib.suppress(OSError, ValueError):
            old = json.loads(self.out.read_text(encoding="utf-8"))
            if old["fingerprint"] == self.mark and not old["finished"]:
                self.outcomes = [Outcome(**values) for values in old["outcomes"]]
                print(f"going on from {self.out}: {len(self.outcomes)} faults are behind it", flush=True)
                return dict(old)
        return None

    def save(self, finished: bool) -> None:
        kills = [outcome for outcome in self.outcomes if outcome.fault.startswith("kill -9, ")]
        here = machine()
        write_json(
            self.out,
            {
                "machine": {key: here[key] for key in ("cpu", "cores", "gpu", "system", "python")},
                "fingerprint": self.mark,
                "seed": self.seed,
                "until": self.until or "the end",
                "finished": finished,
                "undisturbed_s": round(self.seconds, 1),
                "undisturbed_cpu_s": round(self.cpu_seconds, 1),
                "figures_compared": len(self.expected),
                "figures_sha256": self.digest,
                "roads": len({outcome.road for outcome in self.outcomes if not outcome.road.startswith("disk")}),
                "kills": len(kills),
                "kills_survived": sum(outcome.survived for outcome in kills),
                "trainings_gone_on": sum(len(outcome.saved_epochs) for outcome in self.outcomes),
                "faults": len(self.outcomes),
                "faults_survived": sum(outcome.survived for outcome in self.outcomes),
                "outcomes": [asdict(outcome) for outcome in self.outcomes],
            },
        )

    def fresh(self, name: str) -> Path:
        """The project as cloned: nothing has run in it, DVC's cache is empty."""
        shutil.rmtree(self.place / name, ignore_errors=True)
        return Path(shutil.copytree(self.template, self.place / name, symlinks=True))

    def done(self, road: str) -> bool:
        return any(outcome.road == road for outcome in self.outcomes)

    def judge(self, road: str, outcomes: list[Outcome], faults: list[str]) -> None:
        """Note what came of one road; `faults` are those of its end, which count against each of its outcomes."""
        for outcome in outcomes:
            outcome.road = road
            outcome.notes += faults
            outcome.survived = not outcome.notes
            word = "survived" if outcome.survived else "LOST"
            epochs = "".join(f" [{name}: {number} epochs]" for name, number in outcome.saved_epochs.items())
            print(
                f"{word:9} {road:10} {outcome.fault:28} {outcome.stage:10} {outcome.moment_s:6.1f} s  {outcome.hit:40}"
                f"{epochs} {'; '.join(outcome.notes)}",
                flush=True,
            )
        self.outcomes += outcomes
        self.save(finished=False)

    def strike(
        self,
        folder: Path,
        fault: str,
        reached: Reached,
        before: Outcome | None,
        how: Callable[[Road], None] = Road.kill,
    ) -> Outcome | None:
        """Start the road, strike it once; None if it ended first. Tells `before`, the outcome of the strike before
        this one, of a training that did not go on."""
        road = Road(folder, self.until)
        hit = kill_when(road, reached, how)
        code = road.wait(END_S)
        if code is None:
            road.kill()
        if before is not None:
            before.notes += trained_anew(road.text(), before.saved_epochs)
        if hit is None:
            return None
        outcome = Outcome(fault, *hit)
        outcome.notes += [f"orphan: {line}" for line in road.still_alive()]
        outcome.notes += ["dvc went on"] if code is None else []
        if "Traceback" in road.text():
            outcome.notes.append("a traceback was shown")
        outcome.saved_epochs = saved_epochs(folder)
        return outcome

    def finish(self, name: str, outcomes: list[Outcome], extra: Mapping[str, str] | None = None) -> None:
        """Run the road `name` to its end and judge all that happened on it."""
        folder = self.place / name
        road = Road(folder, self.until, extra)
        code = road.wait()
        if code is None:
            road.kill()
        if outcomes:
            outcomes[-1].notes += trained_anew(road.text(), outcomes[-1].saved_epochs)
        faults = [] if code == 0 else [f"dvc repro ended with {code}: {road.text()[-300:]}"]
        if "Traceback" in road.text():
            faults.append("a traceback was shown")
        if code == 0:
            faults += [f"differs: {figure}" for figure in differences(self.expected, results(folder))[:5]]
            runs = mlflow_runs(folder) if not self.until else [True]
            if runs != [True]:
                faults.append(f"MLflow holds {len(runs)} runs, {sum(runs)} complete")
            left = [*folder.rglob(".*.tmp*"), *folder.glob(".resume/*.trash")]
            if half := [path.name for path in left if ".dvc" not in path.parts]:
                faults.append(f"left behind: {half[:3]}")
        self.judge(name, outcomes, faults)
        shutil.rmtree(folder, ignore_errors=True)

    def road(self, name: str, plan: list[tuple[str, Reached, Callable[[Road], None]]]) -> None:
        """Strike a new road as planned, one start after the other, and let it end; nothing if that was done before."""
        if self.done(name):
            return
        folder, outcomes = self.fresh(name), list[Outcome]()
        for fault, reached, how in plan:
            outcome = self.strike(folder, fault, reached, outcomes[-1] if outcomes else None, how)
            if outcome is None:  # the road ended before the moment came
                break
            outcomes.append(outcome)
        self.finish(name, outcomes)

    def kills(self, number: int) -> None:
        """`number` kills of the whole group, as a power cut does: while each stage writes, the others at random."""
        rng = random.Random(self.seed)
        writes = [*self.stages] if number >= len(self.stages) else rng.sample(self.stages, number)
        for turn in (0, 1):
            chosen = [stage for stage in self.stages if stage in writes][turn::2]
            self.road(f"writes_{turn + 1}", [("kill -9, while it writes", at_write(s), Road.kill) for s in chosen])
        for turn in range(1, 2 * number):
            left = number - sum(outcome.fault.startswith("kill -9, ") for outcome in self.outcomes)
            shares = sorted(rng.random() for _ in range(KILLS_A_ROAD))
            if left > 0:
                plan = [("kill -9, at random", self.moment(share), Road.kill) for share in shares[:left]]
                self.road(f"random_{turn}", plan)

    def moment(self, share: float) -> Reached:
        """The moment at which so much (0 to 1) of the undisturbed run was over."""
        at = share * self.seconds
        number = max(n for n, (_, start) in enumerate(self.timeline) if start <= at)
        stage, start = self.timeline[number]
        return at_moment(stage, at - start, {name for name, _ in self.timeline[number + 1 :]} - {stage})

    def signals(self) -> None:
        """SIGTERM to dvc alone, kill -9 to dvc alone, Ctrl-C, kill -9 to a stage alone; two roads at once."""

        def to_dvc(number: int) -> Callable[[Road], None]:
            return lambda road: road.process.send_signal(number)

        def ctrl_c(road: Road) -> None:
            os.killpg(road.process.pid, signal.SIGINT)

        plan = [
            ("SIGTERM to dvc alone", at_write("folds"), to_dvc(signal.SIGTERM)),
            ("kill -9 to dvc alone", at_write("teach"), to_dvc(signal.SIGKILL)),
            ("Ctrl-C", at_write("train"), ctrl_c),
            ("kill -9 to a stage alone", at_write("export"), Road.kill_stage),
            ("kill -9 to a stage alone", at_write("track"), Road.kill_stage),
        ]
        self.road("signals", plan)
        if not self.done("two"):
            self.two_at_once(self.fresh("two"), "convert")

    def two_at_once(self, folder: Path, stage: str) -> None:
        """Start a second road when the first has come to `stage`; at least one must end well."""
        first = Road(folder, self.until)
        while first.process.poll() is None and first.stage() != stage:
            time.sleep(POLL_S)
        second = Road(folder, self.until)
        codes = first.wait(), second.wait()
        notes = [] if 0 in codes else [f"neither ended well: {codes}, {second.text()[-300:]}"]
        notes += ["a traceback was shown" for road in (first, second) if "Traceback" in road.text()]
        told = next((line for line in second.text().splitlines() if "ERROR" in line or "error:" in line), "")
        self.finish(
            "two", [Outcome("two dvc repro at once", stage, f"the second: {told[:80] or codes[1]}", notes=notes)]
        )

    def clock(self) -> None:
        """Every second process of a road believes to be a year ahead, the others a year behind."""
        if self.done("clock"):
            return
        self.fresh("clock")
        shim = self.place / "shim"
        shim.mkdir(exist_ok=True)
        (shim / "sitecustomize.py").write_text(
            "import os, time\n"
            "true, shift = time.time, (1 if os.getpid() % 2 else -1) * 365 * 86400\n"
            "time.time = lambda: true() + shift\n"
        )
        path = os.pathsep.join(filter(None, (str(shim), os.environ.get("PYTHONPATH"))))
        outcome = Outcome("a clock that jumps", "all", "a year ahead or behind, by process")
        self.finish("clock", [outcome], {"PYTHONPATH": path})

    def disk(self) -> None:
        """Every stage's own command with no byte left, then in a folder that cannot be written."""
        for fault in ("full disk", "read-only folder"):
            name = f"disk, {fault}"
            if self.done(name):
                continue
            with small_disk(self.place, self.calm) as (folder, seal):
                if folder is None:
                    print(f"{fault}: not tried, as this user may not mount a tmpfs", flush=True)
                    continue
                seal(fault)
                before = results(folder)
                self.judge(name, [failing_stage(folder, stage, fault, before) for stage in self.stages], [])


@contextlib.contextmanager
def own_place(place: Path) -> Iterator[Path]:
    """An empty folder for one harness at a time; what a killed one left, processes too, is cleared."""
    with place.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"error: {place}: another torture of this project is running")
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(TORTURED, "").startswith(str(place)):
                    process.kill()
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            yield place.resolve()
        finally:
            shutil.rmtree(place, ignore_errors=True)


def told(record: Mapping[str, Any]) -> str:
    """The sentence of docs/reliability.md that tells a record's figures."""
    end = "" if record["finished"] else ", in a run that is not at its end"
    return (
        f"{record['kills_survived']} of {record['kills']} kills of the whole road were survived, each followed by a"
        f" road that ended with the same {record['figures_compared']} figures; {record['trainings_gone_on']} trainings"
        f" had state when a fault came, and went on at their next epoch; of all {record['faults']} faults"
        f" {record['faults_survived']} were survived{end}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kill", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=25, help="how many; 16 of them while each stage writes")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--until", choices=STAGES, default="", help="try a shorter road, to this stage")
    parser.add_argument("--out", type=Path, default=Path("results/torture.json"))
    arguments = parser.parse_args()
    with own_place(PLACE) as place:
        torture = Torture(place, arguments.out.resolve(), arguments.seed, arguments.until)
        for part in arguments.parts:
            torture.kills(arguments.kills) if part == "kills" else getattr(torture, part)()
        torture.save(finished=True)
    survived = sum(outcome.survived for outcome in torture.outcomes)
    print(told(json.loads(torture.out.read_text(encoding="utf-8"))), f"Written to {arguments.out}")
    sys.exit(0 if survived == len(torture.outcomes) else 1)


if __name__ == "__main__":
    main()
