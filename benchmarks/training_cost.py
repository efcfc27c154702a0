"""What an image costs to train on: this project's recipe beside the original report's, in one run.

    python -m benchmarks.training_cost [--rounds N] [--threads N] [--out results/picsart/training_cost.json]

A step is forward, loss, backward and optimiser. Ours is what params.yaml says (architecture, input size,
batch, loss, optimiser, precision, memory format); the report's is its own network in float32 at 320x320,
batch 4, focal loss, SGD. The two take turns, so that a busy machine slows both alike. Random pixels: the
cost does not depend on them. The goal is a ratio of at most 1/20, both with PyTorch's own handling of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from personseg.cpu import float32_depthwise
from personseg.environment import cpu_model
from personseg.errors import one_line_errors
from personseg.files import write_json
from personseg.losses import WeightedLoss
from personseg.memory import keep_freed_memory
from personseg.model import build_model, report_unet
from personseg.training import build_optimizer, choose_precision
from stages.params import load_params

REPORT_BATCH, REPORT_SIZE = 4, (320, 320)
OUR_STEPS = 4  # a round times so many of our steps to one of the report's, which is far longer
GOAL = 1 / 20


def make_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: nn.Module,
    batch: int,
    size: tuple[int, int],
    dtype: torch.dtype | None,
    channels_last: bool,
    device: torch.device,
) -> Callable[[], float]:
    """Return a function that trains one step and returns its seconds per image; `dtype` None: no autocast."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model.train().to(device, memory_format=memory_format)  # type: ignore[call-overload]
    images = torch.randint(0, 256, (batch, 3, *size), device=device).float().contiguous(memory_format=memory_format)
    target = torch.randint(0, 2, (batch, 1, *size), device=device).float()

    def synchronise() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def step() -> float:
        synchronise()
        start = time.perf_counter()
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            logits = model(images)
        optimizer.zero_grad()
        loss(logits, target).backward()
        optimizer.step()
        synchronise()
        return (time.perf_counter() - start) / batch

    return step


def our_step(device: torch.device) -> tuple[Callable[[], float], dict[str, Any]]:
    """Return our training step, and what it is, as params.yaml says."""
    params = load_params()
    precision = choose_precision(params.train.precision)
    architecture = params.model.model_dump(exclude={"weights", "input_size"})
    size = (params.model.input_size[0], params.model.input_size[1])
    train = params.train.model_dump()
    model = build_model(architecture).to(device)
    loss = WeightedLoss(train["loss"], train["focal_gamma"])
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    facts = {
        "network": f"{params.model.name}, {params.model.encoder}",
        "precision": precision,
        "channels_last": params.train.channels_last,
        "batch": params.train.batch_size,
        "size": list(size),
    }
    optimizer = build_optimizer(model, train)
    step = make_step(model, optimizer, loss, params.train.batch_size, size, dtype, params.train.channels_last, device)

    def timed() -> float:
        # As in training.
        with float32_depthwise(model) if device.type == "cpu" else contextlib.nullcontext():
            return step()

    return timed, facts


def report_step(device: torch.device) -> tuple[Callable[[], float], dict[str, Any]]:
    """Return the original report's training step, and what it is."""
    model = report_unet().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    loss = WeightedLoss({"focal": 1.0}, 2.0)
    facts = {
        "network": "report_unet, resnet34",
        "precision": "32-true",
        "channels_last": False,
        "batch": REPORT_BATCH,
        "size": list(REPORT_SIZE),
    }
    return make_step(model, optimizer, loss, REPORT_BATCH, REPORT_SIZE, None, False, device), facts


def summary(facts: dict[str, Any], seconds: list[float]) -> dict[str, Any]:
    """Add median, fastest and slowest seconds per image to `facts`."""
    return {
        **facts,
        "seconds_per_image": statistics.median(seconds),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "steps": len(seconds),
    }


def measure(rounds: int, threads: int) -> dict[str, Any]:
    """Compare with PyTorch's own handling of memory; on a CPU also with freed memory kept, as in our training."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    # fp32 is to mean fp32 on a GPU too.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    (ours, our_facts), (report, report_facts) = our_step(device), report_step(device)
    result = compare(ours, our_facts, report, report_facts, rounds)
    if device.type == "cpu":
        keep_freed_memory()  # as our training does; it helps the report's network even more
        result["freed_memory_kept"] = compare(ours, our_facts, report, report_facts, rounds)
    return {
        **result,
        "goal": GOAL,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else cpu_model(),
        "threads": threads,
        "torch": torch.__version__,
    }


def compare(
    ours: Callable[[], float],
    our_facts: dict[str, Any],
    report: Callable[[], float],
    report_facts: dict[str, Any],
    rounds: int,
) -> dict[str, Any]:
    """Time both in turns for `rounds` rounds after one step of warm-up each."""
    ours(), report()
    our_seconds: list[float] = []
    report_seconds: list[float] = []
    for _ in tqdm(range(rounds), desc="rounds", mininterval=1.0):
        our_seconds += [ours() for _ in range(OUR_STEPS)]
        report_seconds.append(report())
    result = {"ours": summary(our_facts, our_seconds), "report": summary(report_facts, report_seconds)}
    return {**result, "ratio": result["ours"]["seconds_per_image"] / result["report"]["seconds_per_image"]}


def table(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [f"{'':8}{'s/image':>9}  {'network':38}{'precision':12}{'batch':>5}  size"]
    for name in ("ours", "report"):
        row = result[name]
        size = "x".join(map(str, row["size"]))
        lines.append(
            f"{name:8}{row['seconds_per_image']:9.4f}  {row['network']:38}{row['precision']:12}{row['batch']:5}  {size}"
        )
    ratio = result["ratio"]
    verdict = "reached" if ratio <= GOAL else "MISSED"
    lines.append(f"ratio {ratio:.4f}, 1/{1 / ratio:.1f}; goal 1/20: {verdict}")
    if kept := result.get("freed_memory_kept"):
        ours, report = (kept[name]["seconds_per_image"] for name in ("ours", "report"))
        lines.append(f"with freed memory kept, for both: {ours:.4f} and {report:.4f}, 1/{report / ours:.1f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("results/picsart/training_cost.json"))
    arguments = parser.parse_args()
    with one_line_errors():
        result = measure(arguments.rounds, arguments.threads)
    print(table(result))
    write_json(arguments.out, result)


if __name__ == "__main__":
    main()
