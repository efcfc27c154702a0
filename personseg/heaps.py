"""How a server of many threads keeps its memory together."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

M_ARENA_MAX = -8  # of glibc's malloc.h


def share_heaps() -> None:
    """Let all threads share two of glibc's heaps; to be called before there are threads.

    By default there are eight to a core, and each keeps pieces between what the threads still hold.
    """
    if sys.platform == "linux":
        libc: Any = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # not in musl
            libc.mallopt(M_ARENA_MAX, 2)
