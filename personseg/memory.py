"""Memory of this process: as the system counts it, and given back to it."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any


def resident_bytes(field: str) -> int | None:
    """Read this process's memory from Linux: VmRSS (now) or VmHWM (peak); None on other systems."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def return_freed_memory() -> None:
    """Hand freed memory back to the system, where glibc keeps it (see `cpu.keep_freed_memory`).

    To be called before a fork: what the parent writes over later, the child would keep a copy of.
    """
    if sys.platform == "linux":
        libc: Any = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # not in musl
            libc.malloc_trim(0)
