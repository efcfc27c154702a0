"""Memory of a command and all processes it starts, while it runs."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

EVERY = 0.5  # seconds between two looks


@dataclass
class Watched:
    """Seconds a command took, and the peak of its processes' memory in bytes, what they share counted once (PSS)."""

    seconds: float = 0.0
    peak_bytes: int = 0


def tree_bytes(process: psutil.Process) -> int:
    """Proportional set size of a process and its descendants now; resident size where the system has none."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            memory = each.memory_full_info()
        except psutil.Error:
            continue  # it has ended
        total += getattr(memory, "pss", memory.rss)
    return total


@contextmanager
def watched(pid: int) -> Iterator[Watched]:
    """Look at the process `pid` and its descendants while the block runs."""
    seen, ended, start = Watched(), threading.Event(), time.perf_counter()

    def look() -> None:
        try:
            process = psutil.Process(pid)
            while not ended.wait(EVERY):
                seen.peak_bytes = max(seen.peak_bytes, tree_bytes(process))
        except psutil.NoSuchProcess:
            pass

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        seen.seconds = time.perf_counter() - start
        ended.set()
        thread.join()


def run_watched(command: Sequence[str]) -> tuple[int, str, Watched]:
    """Run a command to its end; its exit code, what it said last on stderr, and what `watched` saw."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with watched(process.pid) as seen:
        said = process.communicate()[1]
    return process.returncode, said.strip()[-500:], seen
