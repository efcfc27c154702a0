"""A process that ends with the one that started it."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1


def die_with_parent(how: signal.Signals = signal.SIGTERM) -> None:
    """Ask Linux to send this process the signal `how` when its parent dies, so that no orphan goes on writing.

    Elsewhere nothing happens. The last word counts: processes that PyTorch spawns ask for SIGINT as they start, but
    programs in the background of a script inherit that SIGINT is ignored.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, how)


def die_with_starter() -> None:
    """Kill this process when the process that started it through multiprocessing is gone.

    For those that a fork server forks: to the system the server is their parent, and it outlives them.
    """
    starter = multiprocessing.parent_process()
    assert starter is not None, "not started by multiprocessing"

    def watch() -> None:
        starter.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="die with starter").start()
