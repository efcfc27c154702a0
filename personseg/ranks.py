"""Which process of a training this one is, where torchrun started it; without PyTorch, which takes seconds."""

from __future__ import annotations

import os

# Keys of section `train` that say where it runs and not what comes out.
PLACEMENT = ("devices", "num_nodes", "strategy")


def launched() -> bool:
    """Whether torchrun started this process; its others run the same stage at the same time."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first() -> bool:
    """Whether this process is the one that writes; the others only train along."""
    return not launched() or os.environ.get("RANK", "0") == "0"
