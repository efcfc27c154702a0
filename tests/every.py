"""Run every test file of some folders in a process of its own, two at a time: `python -m tests.every [FOLDER ...]`.

Of tests/ and tests/faults/ if none is named (`make test`). A file's output is printed whole when it ends, so two do not
mix. The road goes first: it takes longest. The processes are forked from this one, which has imported the libraries:
each file alone would take ten seconds and more for that.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.warm import import_libraries

FOLDERS = (Path("tests"), Path("tests/faults"))
FIRST = "test_pipeline.py"
AT_ONCE = 2
# Threads of two processes on two cores wait for one another in loops that keep the cores busy: six times slower.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
SHARED = "PERSONSEG_TESTS_SHARED"  # a folder for what several files need and the first of them makes


class Run(NamedTuple):
    path: Path
    start: float
    output: Path


def begin(path: Path, output: Path) -> int:
    """Start pytest for one file, its output into another; return the id of its process."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    status = 70
    try:
        with output.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        import pytest

        status = int(pytest.main(["-rs", str(path)]))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(files: list[Path], place: Path) -> list[Path]:
    """Run all `files`, their outputs in the folder `place` until they are printed; return those that failed."""
    waiting, running, failed = list(files), dict[int, Run](), list[Path]()
    for count in range(1, len(files) + 1):
        while waiting and len(running) < AT_ONCE:
            path, output = waiting.pop(0), place / f"{len(waiting)}.txt"
            running[begin(path, output)] = Run(path, time.monotonic(), output)
        pid, status = os.wait()
        done = running.pop(pid)
        seconds = time.monotonic() - done.start
        text = done.output.read_text(encoding="utf-8", errors="replace")
        print(f"[{count} of {len(files)}] {done.path}, {seconds:.0f} s\n{text}", flush=True)
        if status:
            failed.append(done.path)
    return failed


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]] or FOLDERS
    files = [path for folder in folders for path in sorted(folder.glob("test_*.py"))]
    files.sort(key=lambda path: path.name != FIRST)
    with tempfile.TemporaryDirectory() as shared, tempfile.TemporaryDirectory() as place:
        os.environ |= {**ONE_THREAD, SHARED: shared}  # before the libraries are imported
        import_libraries()
        failed = run(files, Path(place))
    if failed:
        sys.exit(f"failed: {' '.join(sorted(map(str, failed)))}")


if __name__ == "__main__":
    main()
