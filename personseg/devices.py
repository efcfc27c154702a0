"""A training on several devices: one process each, an equal part of every batch each, one line where one dies."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from personseg.errors import UserError
from personseg.ranks import launched


def count_devices(train: Mapping[str, Any]) -> int:
    """Devices of this machine that `train.devices` means: all GPUs for `auto`, and one process without any."""
    if train["devices"] != "auto":
        return int(train["devices"])
    on_gpu = train["accelerator"] in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.cuda.device_count() if on_gpu else 1


def choose_strategy(train: Mapping[str, Any]) -> str:
    """Lightning's name for how the processes start.

    On one machine they are spawned by the training itself and end with it; several machines need torchrun, which
    starts the whole stage once per device (UserError without it). DDP in either case.
    """
    if launched():
        return "ddp"
    if train["num_nodes"] > 1:
        raise UserError(
            f"train.num_nodes is {train['num_nodes']}: start the stage by torchrun on every machine, as in"
            " docs/scale.md, or set it to 1"
        )
    return "ddp_spawn" if train["strategy"] == "ddp" or count_devices(train) > 1 else "auto"


def count_processes(trainer: L.Trainer) -> int:
    """Processes of the whole training, also before they are started."""
    return int(trainer.num_nodes * trainer.num_devices)


def part_of_batch(batch_size: int, processes: int) -> int:
    """Photos of a batch that each process takes; UserError unless it is the same for all."""
    if batch_size % processes:
        raise UserError(
            f"train.batch_size: {batch_size} photos cannot be dealt evenly to {processes} devices; set it to a"
            " multiple, or train.devices to a divisor"
        )
    return batch_size // processes


def of_all(trainer: L.Trainer, mine: Tensor) -> Tensor:
    """Put the parts of a batch that all processes hold into its order again.

    `mine` is [n, ...] with the same n everywhere; the result [processes * n, ...]. Gradients reach `mine` alone.
    """
    if trainer.world_size == 1:
        return mine
    parts = [torch.empty_like(mine, memory_format=torch.contiguous_format) for _ in range(trainer.world_size)]
    torch.distributed.all_gather(parts, mine.detach().contiguous())
    parts[trainer.global_rank] = mine
    return torch.cat(parts)


def with_common_statistics(network: nn.Module, trainer: L.Trainer) -> nn.Module:
    """Let batch norm see the whole batch: a copy of `network` for several GPUs, else itself.

    PyTorch has this for GPUs alone: on CPUs each process normalises by its own part. timm's conversion keeps the
    activation inside its batch norms; PyTorch's own, which Lightning would use, drops it.
    """
    if count_processes(trainer) == 1 or isinstance(trainer.accelerator, CPUAccelerator):
        return network
    converted: nn.Module = convert_sync_batchnorm(copy.deepcopy(network))
    return converted


@contextmanager
def one_line_of_the_dead(lower: str = "train.batch_size or train.workers") -> Iterator[None]:
    """Turn the end of a spawned process into one line, with what to lower; a fault in the code keeps its traceback."""
    try:
        yield
    except ProcessExitedException as error:
        how = error.signal_name or f"exit code {error.exit_code}"
        raise UserError(
            f"training process {error.error_index} died ({how}) and the others were ended; if memory ran out, lower"
            f" {lower}; run again and it goes on after the last whole epoch"
        ) from None
    except ProcessRaisedException as error:
        last = error.msg.strip().splitlines()[-1]
        name = f"{UserError.__module__}.{UserError.__qualname__}: "
        if last.startswith(name):
            raise UserError(last.removeprefix(name)) from None
        raise
