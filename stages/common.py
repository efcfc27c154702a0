"""What every stage script does around its own work."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from personseg.errors import UserError
from personseg.files import sweep, write_json
from personseg.memory import resident_bytes
from personseg.model_config import NAMED_WEIGHTS
from personseg.orphans import die_with_parent
from personseg.ranks import is_first
from personseg.sources import resolve
from stages.params import Params, load_params

__all__ = ["Params", "network_params", "run", "teacher_train_params"]

COSTS = Path("logs/costs")
# Folders that stages write files and folders into, each whole or not at all.
WRITTEN = (
    *(".", "data", "data/audit", "models", "metrics", "metrics/benchmark", "plots", "plots/benchmark", "report"),
    *("logs", COSTS),
)


def network_params(params: Params) -> dict[str, Any]:
    """Section model, a path of weights made absolute."""
    weights = params.model.weights
    return {**params.model.model_dump(), "weights": weights if weights in NAMED_WEIGHTS else resolve(weights)}


def teacher_train_params(params: Params) -> dict[str, Any]:
    """Section train for a teacher that stage teach trains itself: for epochs of its own, on one machine."""
    return {**params.train.model_dump(), "epochs": params.teacher.epochs, "num_nodes": 1}


def own_peak_bytes() -> int:
    """Resident peak of this process; on Linux not from getrusage, whose figure survives exec and so would be dvc's."""
    return resident_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class PeakMemory(threading.Thread):
    """Watches the memory of this process with all below it; `peak` is the largest sum seen, in bytes.

    The sum is of proportional set sizes (pages that n processes share count 1/n in each) where the system
    tells them, else of resident set sizes.
    """

    def __init__(self, interval_s: float = 1.0) -> None:
        super().__init__(daemon=True)
        self.interval_s = interval_s
        self.peak = 0
        self.start()

    def run(self) -> None:
        process = psutil.Process()
        while True:
            # Alone, the system keeps the peak by itself: a stage that times something is left in peace.
            if children := process.children(recursive=True):
                total = 0
                for member in [process, *children]:
                    with contextlib.suppress(psutil.Error):
                        total += getattr(member.memory_full_info(), "pss", 0) or member.memory_info().rss
                self.peak = max(self.peak, total)
            time.sleep(self.interval_s)

    def bytes(self) -> int:
        """Return the peak so far; never less than the resident peak of this process alone."""
        return max(self.peak, own_peak_bytes())


def run(main: Callable[[Params], None]) -> None:
    """Check params.yaml, do `main`, record seconds and memory; a user's error is one line and exit code 1.

    Of the processes that torchrun starts, only the first clears up and records.
    """
    die_with_parent()  # dvc
    memory = PeakMemory()
    name = "-".join([Path(sys.argv[0]).stem, *(word for word in sys.argv[1:] if not word.startswith("-"))])
    start = time.perf_counter()
    try:
        for folder in WRITTEN if is_first() else ():
            sweep(folder)
        for trash in Path(".resume").glob("*.trash"):  # state of a finished training, killed while it was deleted
            shutil.rmtree(trash, ignore_errors=True)
        main(load_params())
        if not is_first():
            return
        cost = {"stage": name, "seconds": round(time.perf_counter() - start, 2), "peak_rss_bytes": memory.bytes()}
        write_json(COSTS / f"{name}.json", cost)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("error: interrupted; run `dvc repro` to go on", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        # A full disk or a folder without permission: the file and the reason, not a traceback.
        if os.environ.get("PERSONSEG_DEBUG"):
            raise
        print(f"error: {UserError(f'{error.filename or name}: {error.strerror or error}')}", file=sys.stderr)
        sys.exit(1)
