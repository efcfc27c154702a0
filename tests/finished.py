"""A made-up finished pipeline: the files all stages leave, for tests of what comes after them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml

BACKENDS = ["report_pytorch_fp32", "pytorch_fp32", "onnxruntime_fp32", "openvino_f32", "openvino_int8", "tensorrt_fp16"]
PARAMS: dict[str, Any] = {
    "data": {"name": "made-up", "source": "sample", "sha256": None},
    "model": {"encoder": "tu-tf_efficientnet_lite0", "input_size": [320, 256]},
    "train": {"loss": {"focal": 1.0}, "epochs": 14},
    "benchmark": {"backends": BACKENDS},
    "report": {"title": "People cut out of photos", "worst": 8, "sheets": 1, "overlays": 4},
    "track": {"experiment": "personseg"},
}
MEDIANS = dict(zip(BACKENDS, (0.3665, 0.0554, 0.0285, 0.0263, 0.00601), strict=False))


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


def _csv(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


def _picture(path: Path, seed: int, size: tuple[int, int]) -> None:
    """Draw an ellipse "person" on a coloured ground; size is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), np.random.default_rng(seed).integers(90, 220, 3), np.uint8)
    cv2.ellipse(image, (size[1] // 2, size[0]), (size[1] // 4, size[0] * 3 // 4), 0, 0, 360, (80, 150, 90), -1)
    cv2.imwrite(str(path), image)


def _scores(count: int, rng: np.random.Generator) -> pd.DataFrame:
    reasons = ["", "", "", "hair gap 5 px over 90 px", "2 spots, 140 px", "1 spot, 30 px"]
    reasons.append("hair gap 9 px over 400 px; 1 hole, 60 px")
    chosen = rng.integers(0, len(reasons), count)
    quality = np.where(chosen < 3, 0.9, 0.2) + rng.random(count) / 10
    suggested = np.select([chosen < 3, chosen < 6], [1, 2], 3)
    return pd.DataFrame(
        {
            "stem": [str(n) for n in range(1, count + 1)],
            "quality": quality,
            "suggested": suggested,
            "reasons": [reasons[c] for c in chosen],
        }
    )


def _lock(backends: list[str]) -> dict[str, Any]:
    def stage(name: str, digest: str) -> dict[str, Any]:
        out = {"path": f"data/{name}", "hash": "md5", "md5": digest, "size": 1}
        return {"cmd": f"python -m stages.{name}", "params": {"params.yaml": {name: {"seed": 1}}}, "outs": [out]}

    names = ["split", "train", *(f"benchmark@{name}" for name in backends)]
    return {"schema": "2.0", "stages": {name: stage(name, f"{number:032x}") for number, name in enumerate(names)}}


def write_finished(root: Path) -> Path:
    """Fill `root` with the results of a made-up run of 160 photos and return it."""
    rng = np.random.default_rng(0)
    count, kept, split = 160, 120, {"train": 96, "val": 14, "test": 10}
    _json(root / "data/source.json", {"kind": "sample", "digest": "0" * 64})
    stems = [str(n) for n in range(1, count + 1)]
    _csv(root / "data/jpg/manifest.csv", pd.DataFrame({"stem": stems, "width": 240, "height": 320}))
    _csv(root / "data/jpg/rejected.csv", pd.DataFrame({"name": ["broken.jpg"], "reason": ["empty file"]}))
    _csv(root / "data/audit/scores.csv", _scores(count, rng))
    _picture(root / "data/audit/sheets/sheet_001.jpg", 1, (300, 600))
    _csv(root / "data/clean/manifest.csv", pd.DataFrame({"stem": stems[:kept], "category": 1, "kept": 1}))
    counts = {"category": {"1": 79, "2": 41, "3": 40}, "repaired": 41, "repair_undone": 7, "kept": kept, "reviewed": 12}
    _json(root / "metrics/filter.json", counts)
    planted = {
        "spots": {"precision": 0.975, "recall": 0.9, "planted": 40, "found": 36, "findings": 40, "right": 39},
        "holes": {"precision": None, "recall": None, "planted": 0, "found": 0, "findings": 0, "right": 0},
    }
    repair = {"repaired": 30, "iou_before": 0.95, "iou_after": 0.99125, "mended": 28, "harmed": 2}
    confusion = [[6, 1, 0], [1, 2, 1], [0, 0, 1]]
    compared = {"masks": 12, "kappa": 0.6, "kappa_1_or_not": 0.66667, "confusion": confusion}
    audit = {"reviewed_against_suggested": compared, "planted": planted, "repair": repair}
    _json(root / "metrics/audit.json", audit)
    _json(root / "metrics/split.json", split)
    for name in split:
        _csv(root / f"data/splits/{name}.csv", pd.DataFrame({"stem": stems[: split[name]]}))

    config = {
        "architecture": {"name": "concat_unet", "encoder": "tu-tf_efficientnet_lite0"},
        "input_size": [320, 256],
        "threshold": 0.45,
        "postprocess": {"min_object": 200, "min_hole": 50},
        "sha256": "ab" * 32,
    }
    _json(root / "models/person/config.json", config)
    (root / "models/person/model.safetensors").write_bytes(b"weights")
    summary = {"epochs": 14, "best_epoch": 12, "best_val_iou": 0.9601, "parameters": 4_512_345}
    _json(root / "metrics/train.json", summary)
    epochs = np.arange(1, 15)
    history = pd.DataFrame({"epoch": epochs, "lr": 0.002 * np.sin(epochs / 15 * np.pi)})
    for name, offset in (("train", 0.0), ("val", 0.004)):
        history[f"{name}_loss"] = 0.3 * np.exp(-epochs / 3) + 0.02 + offset
        history[f"{name}_iou"] = 0.965 - 0.3 * np.exp(-epochs / 3) - offset
    _csv(root / "plots/history.csv", history)

    rows = [
        {"stem": str(n), "split": name, "iou": 1 - rng.exponential(0.04), "dice": 0.97, "boundary_iou": 0.8}
        for name, images in split.items()
        for n in range(images)
    ]
    _csv(root / "data/evaluation/images.csv", pd.DataFrame(rows))
    for rank in range(1, 9):
        _picture(root / f"data/evaluation/overlays/test_{rank:02d}_{rank}.jpg", rank, (510, 720))
    score = {"iou_imagewise": 0.9560, "dice": 0.9770, "boundary_iou": 0.8123}
    score |= {"iou_ci95_low": 0.9511, "iou_ci95_high": 0.9633}
    iou: dict[str, Any] = {"threshold": 0.45, "postprocess": config["postprocess"]}
    for name, value in (("train", 0.9702), ("val", 0.9601), ("test", 0.95731)):
        iou[name] = {"images": split[name], "iou": value, **score}
    iou["report_protocol"] = {"train": 0.9711, "val": 0.9609, "test": 0.9585}
    _json(root / "metrics/iou.json", iou)

    factors = {"mean": 1.02, "std": 0.05, "p50": 1, "p95": 1.2, "p99": 1.5}
    for backend, median in MEDIANS.items():
        row = {
            "status": "measured",
            **{f"{name}_s": median * factor for name, factor in factors.items()},
            "images_per_s": 1 / median,
            "end_to_end_p50_s": median + 0.002,
            "speedup": MEDIANS["pytorch_fp32"] / median,
            "test_iou": 0.9573,
            "max_logit_diff": 0.0123,
            "mask_disagreement": 0.00021,
            "device": "8th-generation CPU, 2 threads",
        }
        _json(root / f"metrics/benchmark/{backend}.json", row)
        _csv(root / f"plots/benchmark/{backend}.csv", pd.DataFrame({"run": range(50), "seconds": median}))
    unavailable = {
        "status": "unavailable",
        "reason": "no NVIDIA GPU: the engine was built, not run",
        "engine": {"tensorrt_rtx": {"size_bytes": 9_870_000, "build_s": 0.61, "targets": ["SM80 and later"]}},
    }
    _json(root / "metrics/benchmark/tensorrt_fp16.json", unavailable)
    _json(root / "data/env.json", {"cpu": "8th-generation CPU", "gpu": None, "versions": {"torch": "2.14.1"}})
    for stage, seconds in (("train", 3600.5), ("audit", 40.25)):
        cost = {"stage": stage, "seconds": seconds, "peak_rss_bytes": int(seconds) << 20}
        _json(root / f"logs/costs/{stage}.json", cost)
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=False))
    (root / "dvc.lock").write_text(yaml.safe_dump(_lock(BACKENDS), sort_keys=False))
    return root
