"""Memory of this process: as the system counts it, and what glibc does with what is freed."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def resident_bytes(field: str) -> int | None:
    """Read this process's memory from Linux: VmRSS (now) or VmHWM (peak); None on other systems."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def _ask_glibc(function: str, *arguments: int) -> None:
    if sys.platform == "linux":
        libc: Any = ctypes.CDLL(None)
        if hasattr(libc, function):  # not in musl
            getattr(libc, function)(*arguments)


def keep_freed_memory() -> None:
    """Keep freed memory for the next step instead of handing pages back and faulting them in again."""
    _ask_glibc("mallopt", M_MMAP_MAX, 0)
    _ask_glibc("mallopt", M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Hand freed memory that was kept back to the system.

    To be called before a fork: what the parent writes over later, the child would keep a copy of.
    """
    _ask_glibc("malloc_trim", 0)


def share_heaps() -> None:
    """Let all threads share two heaps; to be called before there are threads.

    By default there are eight to a core, and each keeps pieces between what the threads still hold.
    """
    _ask_glibc("mallopt", M_ARENA_MAX, 2)
