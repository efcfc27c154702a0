"""Does every GPU row of the timing table run here, and cut people out as PyTorch fp32 does?

    python -m benchmarks.gpu_check [--max-differ PERCENT] [--out results/gpu]

Run it after `dvc repro`, on a machine with an NVIDIA GPU. It measures each row as stage benchmark does (each
in a process of its own, on the test photos, timed as params.yaml says), prints a table and writes
OUT/BACKEND.json. It fails when a row breaks down, when its masks differ from PyTorch fp32's in more than
`--max-differ` percent of the pixels, or when no row of TensorRT runs. One row that this machine cannot run says why and
is no failure.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from personseg.environment import gpu
from personseg.errors import UserError, one_line_errors
from personseg.files import write_json
from personseg.orphans import die_with_parent
from stages.params import load_params

T = TypeVar("T")
Row = Mapping[str, Any]

BACKENDS = (
    "pytorch_fp32",
    "pytorch_bf16",
    "torch_compile",
    "tensorrt_fp32",
    "tensorrt_fp16",
    "tensorrt_int8",
    "report_pytorch_fp32",
)
HEADER = f"{'backend':20}{'median ms':>10}{'p95 ms':>9}{'images/s':>10}{'test IoU':>10}{'logits':>10}{'masks':>9}"
LEGEND = "logits: largest difference from PyTorch fp32; masks: share of pixels that differ from its masks"


def require_gpu() -> None:
    """Raise UserError unless PyTorch can use an NVIDIA GPU; its line says what is missing."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an old driver: the line below says it
        if torch.cuda.is_available():
            return
    found = gpu()
    if found is None:
        raise UserError(
            "no NVIDIA GPU here: this check needs one that `nvidia-smi` lists, with its driver;"
            " `dvc repro` fills the other rows without"
        )
    raise UserError(
        f"PyTorch {torch.__version__} cannot use the {found['name']} (driver {found['driver']}): it needs a build"
        f" with CUDA and a driver at least as new as CUDA {torch.version.cuda or '(this build has none)'}"
    )


def in_own_process(function: Callable[..., T], *arguments: Any) -> T:
    """Call `function` in a fresh process; what it raises is raised here, BrokenProcessPool if it dies."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=die_with_parent) as pool:
        return pool.submit(function, *arguments).result()


def measure(name: str) -> Row:
    """Measure one backend on the project in the current folder, as stage benchmark does."""
    from personseg.benchmark import benchmark_project

    row, _ = benchmark_project(Path(), name, load_params().benchmark.model_dump())
    return row


def measure_apart(name: str) -> Row:
    """Measure one backend in a process of its own.

    As in the road, no row inherits another's memory, and a fault on the GPU, after which a process cannot
    use it any more, costs one row: its status is `failed`.
    """
    try:
        return in_own_process(measure, name)
    except UserError:
        raise
    except BrokenProcessPool:
        return {"status": "failed", "reason": "its process died"}
    except Exception as error:
        text = str(error).strip().partition("\n")[0]
        return {"status": "failed", "reason": f"{type(error).__name__}: {text}"}


def cell(value: float | None, width: int, form: str) -> str:
    """Format a figure, or a dash where there is none."""
    return f"{'-' if value is None else format(value, form):>{width}}"


def line(name: str, row: Row) -> str:
    """One row of the table."""
    if row["status"] != "measured":
        return f"{name:20}  {row['status']}: {row['reason']}"
    return (
        f"{name:20}{row['p50_s'] * 1e3:10.2f}{row['p95_s'] * 1e3:9.2f}{row['images_per_s']:10.1f}"
        + cell(row["test_iou"], 10, ".4f")
        + cell(row["max_logit_diff"], 10, ".2g")
        + cell(row["mask_disagreement"], 9, ".3%")
    )


def table(rows: Mapping[str, Row]) -> str:
    """Lay the rows out as text, warnings and the device beneath."""
    warned = [f"{name}: {row['warning']}" for name, row in rows.items() if "warning" in row]
    devices = sorted({row["device"] for row in rows.values() if row["status"] == "measured"})
    return "\n".join([HEADER, *(line(name, row) for name, row in rows.items()), *warned, LEGEND, *devices])


def check(rows: Mapping[str, Row], max_differ: float) -> None:
    """Raise UserError, naming the rows, if any broke down or has masks that differ in more than `max_differ` percent.

    A row without such a figure (random weights, or unavailable) passes, but one of TensorRT's must have run.
    """
    faults = []
    for name, row in rows.items():
        if row["status"] == "failed":
            faults.append(f"{name} failed ({row['reason']})")
        elif (share := row.get("mask_disagreement")) is not None and 100 * share > max_differ:
            faults.append(f"{name}'s masks differ from PyTorch fp32's in {share:.3%} of the pixels")
    engines = [row for name, row in rows.items() if name.startswith("tensorrt")]
    if engines and all(row["status"] == "unavailable" for row in engines):
        faults.append("no row of TensorRT ran")
    if faults:
        raise UserError(f"{'; '.join(faults)}; allowed: {max_differ:g}% (--max-differ)")


def percent(text: str) -> float:
    """Parse an argument in percent."""
    value = float(text)
    if not 0 <= value <= 100:
        raise ValueError
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--max-differ", type=percent, default=0.5, help="percent of mask pixels (default 0.5)")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder for BACKEND.json")
    arguments = parser.parse_args()
    rows: dict[str, Row] = {}
    with one_line_errors():
        require_gpu()
        for name in BACKENDS:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows[name] = measure_apart(name)
            write_json(arguments.out / f"{name}.json", rows[name])
        print(table(rows))
        check(rows, arguments.max_differ)


if __name__ == "__main__":
    main()
