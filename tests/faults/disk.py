"""A disk without room or without permission, and stages that must write to it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.faults.road import PARAMS, ROAD_S, Outcome, differences, results
from tests.project import environment


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
    return Outcome(fault, stage, (told or [""])[0][:60], notes=notes)
