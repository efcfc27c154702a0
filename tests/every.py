"""Run every test file of some folders in a process of its own, two at a time: `python -m tests.every [FOLDER ...]`.

Of tests/ and tests/faults/ if none is named (`make test`). A file's output is printed whole when it ends, so two do not
mix. The road goes first: it takes longest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

FOLDERS = (Path("tests"), Path("tests/faults"))
FIRST = "test_pipeline.py"
AT_ONCE = 2
# Threads of two processes on two cores wait for one another in loops that keep the cores busy: six times slower.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
SHARED = "PERSONSEG_TESTS_SHARED"  # a folder for what several files need and the first of them makes


def run(path: Path, shared: str) -> tuple[Path, float, subprocess.CompletedProcess[str]]:
    start = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-rs", str(path)]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **ONE_THREAD, SHARED: shared},
    )
    return path, time.monotonic() - start, done


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]] or FOLDERS
    files = [path for folder in folders for path in sorted(folder.glob("test_*.py"))]
    files.sort(key=lambda path: path.name != FIRST)
    failed = []
    with tempfile.TemporaryDirectory() as shared, ThreadPoolExecutor(AT_ONCE) as pool:
        for count, future in enumerate(as_completed([pool.submit(run, path, shared) for path in files]), 1):
            path, seconds, done = future.result()
            print(f"[{count} of {len(files)}] {path}, {seconds:.0f} s\n{done.stdout}", flush=True)
            if done.returncode:
                failed.append(str(path))
    if failed:
        sys.exit(f"failed: {' '.join(sorted(failed))}")


if __name__ == "__main__":
    main()
