"""What a finished pipeline left behind, for the report and for MLflow, and the original report's figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from personseg.errors import UserError
from personseg.files import read_json, read_table

SPLITS = ("train", "val", "test")

# The report this project implements: its tables and counts.
ORIGINAL_IOU = {"train": 0.95586, "val": 0.94976, "test": 0.9453}
ORIGINAL_TIMINGS_S = {"PyTorch": (0.02462, 0.04144), "TensorRT": (0.01762, 0.00011)}  # mean, std
ORIGINAL_DEVICE = "RTX 2080, Core i5-6400"
ORIGINAL_CATEGORIES = {"1": 762, "2": 407, "3": 322}
ORIGINAL_REPAIRED = 289
ORIGINAL_KEPT = 1051
ORIGINAL_SPLIT = {"train": 900, "val": 100, "test": 51}

REPORT_BACKEND = "report_pytorch_fp32"  # the report's own network, timed on this machine
BACKEND_TITLES = {
    REPORT_BACKEND: "PyTorch fp32, the report's network",
    "pytorch_fp32": "PyTorch fp32",
    "pytorch_bf16": "PyTorch bf16",
    "torch_compile": "torch.compile",
    "onnxruntime_fp32": "ONNX Runtime fp32",
    "onnxruntime_fp16": "ONNX Runtime fp16",
    "openvino_f32": "OpenVINO f32",
    "openvino_bf16": "OpenVINO bf16",
    "openvino_f16": "OpenVINO f16",
    "openvino_int8": "OpenVINO int8",
    "tensorrt_fp32": "TensorRT fp32",
    "tensorrt_fp16": "TensorRT fp16",
    "tensorrt_int8": "TensorRT int8",
}


@dataclass(frozen=True)
class Results:
    """The pipeline's metrics and tables; `root` is the folder they were read from."""

    root: Path
    mask_counts: Mapping[str, Any]  # metrics/filter.json
    audit: Mapping[str, Any]  # metrics/audit.json
    split: Mapping[str, int]
    train: Mapping[str, Any]
    iou: Mapping[str, Any]
    config: Mapping[str, Any]  # models/person/config.json
    history: pd.DataFrame  # one row per epoch
    images: pd.DataFrame  # one row per evaluated photo
    scores: pd.DataFrame  # one row per audited mask
    rejected: int
    benchmark: Mapping[str, Mapping[str, Any]]  # by backend, in the order asked for
    environment: Mapping[str, Any]

    @property
    def pairs(self) -> int:
        """Photos with a mask that were audited."""
        return len(self.scores)

    @property
    def measured(self) -> dict[str, Mapping[str, Any]]:
        """The backends that ran, the report's own network included."""
        return {name: row for name, row in self.benchmark.items() if row["status"] == "measured"}

    def fastest(self) -> str | None:
        """Name of the backend with the shortest median, the report's own network aside."""
        ours = {name: row["p50_s"] for name, row in self.measured.items() if name != REPORT_BACKEND}
        return min(ours, key=lambda name: (ours[name], name)) if ours else None


def backend_title(name: str) -> str:
    return BACKEND_TITLES.get(name, name)


def _object(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a JSON object; delete it and run `dvc repro`")
    return values


def _optional_json(path: Path) -> dict[str, Any]:
    return _object(path) if path.exists() else {}


def _benchmark(folder: Path, backend: str) -> Mapping[str, Any]:
    path = folder / f"{backend}.json"
    if path.exists():
        return _object(path)
    return {"status": "unavailable", "reason": f"not run yet; `dvc repro benchmark@{backend}` measures it"}


def read_results(root: str | Path, backends: Sequence[str]) -> Results:
    """Read the results under `root` (the project's folder).

    `backends` are the rows of the timing table, in order. UserError if a file that every run writes is
    missing or damaged; audit.json, rejected.csv, env.json and the benchmark files may be missing.
    """
    root = Path(root)
    metrics, rejected = root / "metrics", root / "data/jpg/rejected.csv"
    return Results(
        root=root,
        mask_counts=_object(metrics / "filter.json"),
        audit=_optional_json(metrics / "audit.json"),
        split=_object(metrics / "split.json"),
        train=_object(metrics / "train.json"),
        iou=_object(metrics / "iou.json"),
        config=_object(root / "models/person/config.json"),
        history=read_table(root / "plots/history.csv"),
        images=read_table(root / "data/evaluation/images.csv"),
        scores=read_table(root / "data/audit/scores.csv"),
        rejected=len(read_table(rejected)) if rejected.exists() else 0,
        benchmark={name: _benchmark(metrics / "benchmark", name) for name in backends},
        environment=_optional_json(root / "data/env.json"),
    )


def defect_counts(scores: pd.DataFrame) -> dict[str, int]:
    """Count masks by kind of defect, most frequent first.

    The kind is the reason's words without figures: `3 spots, 140 px` and `1 spot, 30 px` are both `spot`.
    """
    kinds: Counter[str] = Counter()
    for reasons in scores["reasons"].dropna():
        found = (re.sub(r"^[\d\s]+", "", reason.strip()) for reason in str(reasons).split(";"))
        kinds.update({re.split(r"\s*[\d,]", reason)[0].removesuffix("s") for reason in found if reason})
    return dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys: {"a": {"b": 1}} becomes {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
