"""The honest table: every split scored once, with the saved threshold and post-processing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from personseg.files import fresh_folder, write_table
from personseg.images import read_image, write_image
from personseg.metrics import ThresholdCounts, bootstrap_ci, boundary_iou, counts, dice, iou
from personseg.model import load_model
from personseg.model_config import ModelConfig
from personseg.overlays import error_overlay
from personseg.postprocess import finish
from personseg.prediction import predict_pairs

COLUMNS = ["stem", "split", "iou", "dice", "boundary_iou", "tp", "fp", "fn", "tn"]


def score_split(
    model: nn.Module, config: ModelConfig, folder: Path, stems: Sequence[str], name: str
) -> tuple[pd.DataFrame, ThresholdCounts]:
    """Score each photo of one split; return a row per image (`COLUMNS`) and the counts over all thresholds."""
    rows, totals = [], ThresholdCounts()
    for stem, small, placement, mask in predict_pairs(model, config, folder, stems, f"evaluate {name}"):
        prediction = finish(small, placement, config)
        totals.update(placement.restore(small), mask)
        tp, fp, fn, tn = counts(prediction, mask)
        scores = (iou(tp, fp, fn), dice(tp, fp, fn), boundary_iou(prediction, mask))
        rows.append((stem, name, *scores, tp, fp, fn, tn))
    return pd.DataFrame(rows, columns=COLUMNS), totals


def summarise(table: pd.DataFrame, resamples: int, seed: int) -> dict[str, float | int]:
    """The row of one split: pooled IoU with its 95 % bootstrap interval, means over images of the rest."""
    per_image = table[["tp", "fp", "fn"]].to_numpy(np.int64)
    tp, fp, fn = (int(x) for x in per_image.sum(axis=0))
    low, high = bootstrap_ci(per_image, resamples, seed)
    return {
        "images": len(table),
        "iou": iou(tp, fp, fn),
        "iou_imagewise": float(table["iou"].mean()),
        "dice": float(table["dice"].mean()),
        "boundary_iou": float(table["boundary_iou"].mean()),
        "iou_ci95_low": low,
        "iou_ci95_high": high,
    }


def worst_and_spread(table: pd.DataFrame, number: int) -> list[str]:
    """Stems of the worst images and, as many again, evenly spread over the rest, worst first."""
    ordered = table.sort_values(["iou", "stem"], kind="stable")["stem"].tolist()
    worst, rest = ordered[:number], ordered[number:]
    picks = np.linspace(0, len(rest) - 1, min(number, len(rest))).round().astype(int)
    return worst + [rest[i] for i in picks]


def evaluate(
    model_folder: Path,
    folder: Path,
    stems: Mapping[str, Sequence[str]],
    out: Path,
    overlays: int,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Score all splits; write `out`/images.csv and `out`/overlays/; return the content of metrics/iou.json.

    `overlays`: how many of the worst photos of val and of test are drawn, and as many again spread over the rest.
    """
    model, config = load_model(model_folder)
    result: dict[str, Any] = {"threshold": config.threshold, "postprocess": config.postprocess.model_dump()}
    tables, protocol = [], {}
    for name, members in stems.items():
        table, totals = score_split(model, config, folder, members, name)
        result[name] = summarise(table, resamples, seed)
        protocol[name] = totals.report_protocol()
        tables.append(table)
    result["report_protocol"] = protocol
    with fresh_folder(out) as temporary:
        write_table(temporary / "images.csv", pd.concat(tables))
        (temporary / "overlays").mkdir()
        for name, table in zip(stems, tables, strict=True):
            if name != "train" and overlays:
                draw_overlays(model, config, folder, name, table, worst_and_spread(table, overlays), temporary)
    return result


def draw_overlays(
    model: nn.Module,
    config: ModelConfig,
    folder: Path,
    split: str,
    table: pd.DataFrame,
    stems: Sequence[str],
    out: Path,
) -> None:
    """Write `out`/overlays/SPLIT_RANK_STEM.jpg for `stems`, captioned with the scores of `table`."""
    scores = table.set_index("stem")
    predictions = predict_pairs(model, config, folder, stems, f"draw {split}")
    for rank, (stem, small, placement, mask) in enumerate(predictions):
        prediction = finish(small, placement, config)
        row = scores.loc[stem]
        caption = f"{split} {stem}   IoU {row['iou']:.3f}   boundary IoU {row['boundary_iou']:.3f}"
        image = error_overlay(read_image(folder / "images" / f"{stem}.jpg"), prediction, mask, caption)
        write_image(out / "overlays" / f"{split}_{rank:02d}_{stem}.jpg", image, quality=88)
