"""The report: one page that opens offline, and the same tables as Markdown."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from personseg import charts, results
from personseg.files import atomic_path, natural_key, write_table
from personseg.results import SPLITS, Results, backend_title

TEMPLATES = Path(__file__).parent / "templates"
MISSING = "–"
VARIANT_MS = "openvino_int8_p50_ms"  # a column of the table of benchmarks.ablation
CATEGORY_MEANINGS = {"1": "acceptable", "2": "quickly fixable", "3": "long to fix, left out"}
NETWORKS = {"concat_unet": "Unet, the outputs of all decoder levels joined", "report_unet": "the report's Unet"}
ENCODERS = {f"tu-tf_efficientnet_lite{size}": f"EfficientNet-Lite{size}" for size in range(5)}
ENVIRONMENT_NAMES = {
    "gpu": "GPU",
    "gpu.name": "GPU",
    "gpu.driver": "GPU driver",
    "gpu.compute_capability": "GPU compute capability",
    "cpu": "CPU",
    "cores": "CPU cores",
    "instruction_sets": "CPU instruction sets",
    "python": "Python",
}


@dataclass(frozen=True)
class Options:
    """What the report's reader sees of the data: its name, whether it was generated, how many pictures."""

    title: str
    data_name: str
    generated: bool  # the built-in sample: figures prove that the road works, not how good a model is
    worst: int  # rows in the list of the worst masks
    sheets: int  # contact sheets of defects shown
    overlays: int  # predictions shown


def number(value: Any, digits: int = 4) -> str:
    """Format with fixed digits; a dash for None, NaN and infinity."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.{digits}f}"


def significant(value: Any, digits: int = 3) -> str:
    """Format with significant digits and no exponent (0.0123, 4.56, 1230); a dash for None, NaN and infinity."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    value = float(f"{value:.{digits - 1}e}")  # rounded first: 0.9999 is 1.00, not 1.000
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def milliseconds(seconds: Any) -> str:
    """Format seconds as milliseconds with three significant digits."""
    return MISSING if seconds is None else significant(seconds * 1e3)


def percent(share: Any, digits: int = 1) -> str:
    return MISSING if share is None else f"{number(share * 100, digits)} %"


def engine(label: str, facts: Mapping[str, Any]) -> str:
    """Put what is known of an engine that did not run into words; `label` is its key in the benchmark file."""
    name = "TensorRT RTX" if label.startswith("tensorrt_rtx") else "TensorRT"
    if "not_built" in facts:
        return f"{name} engine: not built, {facts['not_built']}"
    size, seconds = significant(facts["size_bytes"] / 1e6), significant(facts["build_s"])
    return f"{name} engine for {_listed(facts['targets'])}: {size} MB, built in {seconds} s"


def _timing_row(backend: str, row: Mapping[str, Any], fastest: str | None) -> dict[str, Any]:
    title = backend_title(backend)
    if row["status"] != "measured":
        engines = dict.fromkeys(engine(label, facts) for label, facts in row.get("engine", {}).items())
        return {"title": title, "reason": row.get("reason", "no reason given"), "engines": list(engines)}
    return {
        "title": title,
        "reason": None,
        "fastest": backend == fastest,
        "iou": number(row.get("test_iou")),
        "times": [
            *(milliseconds(row.get(f"{name}_s")) for name in ("mean", "std", "p50", "p95", "p99")),
            significant(row.get("images_per_s")),
            milliseconds(row.get("end_to_end_p50_s")),
            significant(row.get("speedup"), 2),
        ],
        "differences": [significant(row.get("max_logit_diff"), 2), percent(row.get("mask_disagreement"), 3)],
        "device": row.get("device", MISSING),
        "warning": row.get("warning"),
    }


def _timing(found: Results) -> dict[str, Any]:
    fastest = found.fastest()
    original = [
        (name, number(mean * 1e3, 2), number(std * 1e3, 2), significant(1 / mean))
        for name, (mean, std) in results.ORIGINAL_TIMINGS_S.items()
    ]
    rows = [_timing_row(name, row, fastest) for name, row in found.benchmark.items()]
    summary: dict[str, Any] = {"fastest": None, "speedup": None}
    if fastest is not None:
        best = found.measured[fastest]
        summary["fastest"] = backend_title(fastest)
        summary["fastest_ms"] = milliseconds(best["p50_s"])
        summary["fastest_iou"] = number(best.get("test_iou"))
        summary["device"] = best.get("device", MISSING)
        theirs = found.measured.get(results.REPORT_BACKEND)
        if theirs is not None:
            summary["speedup"] = significant(best["speedup"] / theirs["speedup"], 2)
            summary["report_ms"] = milliseconds(theirs["p50_s"])
    return {
        "original": original,
        "rows": rows,
        "original_device": results.ORIGINAL_DEVICE,
        "unavailable": sum(row["reason"] is not None for row in rows),
        "engines": any(row.get("engines") for row in rows),
        **summary,
    }


def _accuracy(found: Results) -> dict[str, Any]:
    iou = found.iou
    protocol = iou.get("report_protocol", {})
    compared = []
    for split in SPLITS:
        original, ours, here = results.ORIGINAL_IOU[split], protocol.get(split), iou.get(split, {})
        compared.append(
            {
                "split": split,
                "original": str(original),
                "protocol": number(ours, 5),
                "difference": MISSING if ours is None else f"{ours - original:+.5f}",
                "honest": number(here.get("iou"), 5),
                "low": number(here.get("iou_ci95_low")),
                "high": number(here.get("iou_ci95_high")),
            }
        )
    details = [
        {
            "split": split,
            "cells": [
                str(iou[split]["images"]),
                number(iou[split].get("iou")),
                f"{number(iou[split].get('iou_ci95_low'))}–{number(iou[split].get('iou_ci95_high'))}",
                *(number(iou[split].get(key)) for key in ("iou_imagewise", "dice", "boundary_iou")),
            ],
        }
        for split in SPLITS
        if split in iou
    ]
    processing = iou.get("postprocess", {})
    test = iou.get("test", {}).get("iou")
    return {
        "compared": compared,
        "details": details,
        "threshold": f"{iou['threshold']:g}",
        "min_object": processing.get("min_object", 0),
        "min_hole": processing.get("min_hole", 0),
        "test": number(test),
        "test_above": test is not None and test > results.ORIGINAL_IOU["test"],
    }


def _masks(found: Results, options: Options) -> dict[str, Any]:
    counts, undone = found.mask_counts, found.mask_counts.get("repair_undone", 0)
    # filter counts a mask whose repair was undone as 3; the report's 407 are all that was sorted into 2.
    category = Counter(counts["category"]) + Counter({"2": undone}) - Counter({"3": undone})
    original, repaired = results.ORIGINAL_CATEGORIES, counts["repaired"]
    rows = [(f"category {key}: {meaning}", category[key], original[key]) for key, meaning in CATEGORY_MEANINGS.items()]
    rows[2:2] = [
        ("of category 2, repaired", repaired, results.ORIGINAL_REPAIRED),
        ("of category 2, not repaired, left out", category["2"] - repaired, original["2"] - results.ORIGINAL_REPAIRED),
    ]
    rows.append(("kept for training and scoring", counts["kept"], results.ORIGINAL_KEPT))
    worst = found.scores.sort_values(["quality", "stem"], kind="stable").head(options.worst)
    return {
        "rows": rows,
        "kept": counts["kept"],
        "repaired": repaired,
        "undone": undone,
        "reviewed": counts.get("reviewed"),
        "defects": results.defect_counts(found.scores),
        "agreement": _agreement(found.audit.get("reviewed_against_suggested")),
        "planted": _planted(found.audit),
        "worst": [
            {
                "stem": row["stem"],
                "quality": number(row["quality"], 2),
                "category": row["suggested"],
                "reasons": row["reasons"] if isinstance(row["reasons"], str) else MISSING,
            }
            for row in worst.to_dict("records")
        ],
    }


def _agreement(compared: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Confusion of the reviewed list (rows) with the audit's suggestions, and Cohen's kappa of 1 against not 1."""
    if not compared:
        return None
    rows = list(zip(("1", "2", "3"), compared["confusion"], strict=True))
    return {"rows": rows, "kappa": number(compared["kappa_1_or_not"], 2), "masks": compared["masks"]}


def _planted(audit: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the audit found of the defects planted in a generated sample, and what the repair did."""
    if "planted" not in audit:
        return None
    rows = [
        (kind.replace("_", " "), scores["planted"], *(_share(scores[key]) for key in ("precision", "recall")))
        for kind, scores in audit["planted"].items()
    ]
    repair = audit["repair"]
    return {
        "rows": rows,
        "repaired": repair["repaired"],
        "harmed": repair["harmed"],
        "before": _share(repair["iou_before"], 4),
        "after": _share(repair["iou_after"], 4),
    }


def _share(value: float | None, digits: int = 2) -> str:
    return MISSING if value is None else number(value, digits)


def _training(found: Results) -> list[tuple[str, str]]:
    architecture = found.config.get("architecture", {})
    return [
        ("network", _named(NETWORKS, str(architecture.get("name", MISSING)))),
        ("encoder", _named(ENCODERS, str(architecture.get("encoder", MISSING)))),
        ("parameters", f"{found.train['parameters']:,}"),
        ("photos are fitted to", " × ".join(str(side) for side in found.config["input_size"]) + " px, height × width"),
        ("epochs", f"{found.train['epochs']}, weights of epoch {found.train['best_epoch']} kept"),
        ("best val IoU while training", number(found.train["best_val_iou"])),
    ]


def _named(names: Mapping[str, str], key: str) -> str:
    """Name what `key` stands for, and the key, as params.yaml is to hold it."""
    return f"{names[key]} ({key})" if key in names else key


def _inline_jpeg(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _pictures(paths: Iterable[Path], captions: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"source": _inline_jpeg(path), "caption": captions.get(path.name, path.stem)} for path in paths]


def chosen_overlays(folder: Path, count: int) -> list[Path]:
    """Choose `count` test overlays (SPLIT_RANK_STEM.jpg): half the worst, half spread over the others.

    Ranks are as evaluate writes them: the first half are the worst photos, the second a spread over the rest.
    Without test overlays those of val are taken.
    """
    paths = list(folder.glob("test_*.jpg")) or list(folder.glob("val_*.jpg"))
    paths.sort(key=lambda path: natural_key(path.stem))
    if len(paths) <= count:
        return paths
    worst, others = paths[: count // 2], paths[max(len(paths) // 2, count // 2) :]
    wanted = count - len(worst)
    step = max(1, len(others) / max(1, wanted))
    return worst + [others[int(index * step)] for index in range(min(wanted, len(others)))]


def _overlay_captions(paths: Sequence[Path], images: pd.DataFrame) -> dict[str, str]:
    score = {(row["split"], row["stem"]): row["iou"] for row in images.to_dict("records")}
    captions = {}
    for path in paths:
        split, _, stem = path.stem.split("_", 2)
        captions[path.name] = f"{split} photo {stem}, IoU {number(score.get((split, stem)), 3)}"
    return captions


def _photos(found: Results, options: Options) -> dict[str, Any]:
    sheets = sorted((found.root / "data/audit/sheets").glob("*.jpg"), key=lambda path: natural_key(path.stem))
    overlays = chosen_overlays(found.root / "data/evaluation/overlays", options.overlays)
    return {
        "sheets": _pictures(sheets[: options.sheets], {}),
        "overlays": _pictures(overlays, _overlay_captions(overlays, found.images)),
    }


def runtime_points(found: Results) -> list[charts.Point]:
    """This run's model on each runtime: median ms and test IoU."""
    return [
        charts.Point(backend_title(name), row["p50_s"] * 1e3, row["test_iou"])
        for name, row in found.measured.items()
        if row.get("test_iou") is not None
    ]


def variant_points(ablation: pd.DataFrame | None) -> list[charts.Point]:
    """The variants of benchmarks.ablation whose network was timed: median ms in int8 and val IoU, means over seeds."""
    if ablation is None or VARIANT_MS not in ablation:
        return []
    means = ablation.groupby("variant", sort=False)[[VARIANT_MS, "val_iou"]].mean().dropna()
    return [charts.Point(str(name), row[VARIANT_MS], row["val_iou"]) for name, row in means.iterrows()]


def _front(points: Sequence[charts.Point]) -> list[tuple[str, str, str]]:
    return [(name, significant(ms), number(iou)) for name, ms, iou in charts.pareto_front(points)]


def _charts(found: Results, ablation: pd.DataFrame | None) -> dict[str, Markup]:
    best = int(found.train["best_epoch"])
    drawn = {
        "loss": charts.learning_curve(found.history, "loss", "loss", best),
        "iou": charts.learning_curve(found.history, "iou", "IoU", best),
        "distribution": charts.iou_distribution(found.images),
    }
    if found.measured:
        drawn["latency"] = charts.latency(found.measured)
    if points := runtime_points(found):
        drawn["runtimes"] = charts.latency_against_iou(points, "test IoU")
    if points := variant_points(ablation):
        drawn["variants"] = charts.latency_against_iou(points, "val IoU")
    return {name: Markup(svg) for name, svg in drawn.items()}


def _environment(found: Results) -> list[tuple[str, str]]:
    flat = results.flatten(found.environment)
    return [
        (ENVIRONMENT_NAMES.get(key, key.removeprefix("versions.")), _listed(value))
        for key, value in flat.items()
        if value not in (None, "")
    ]


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _ablation(table: pd.DataFrame | None) -> dict[str, Any] | None:
    """The table of benchmarks.ablation, the best on val first, as val is what a choice may be made by."""
    if table is None:
        return None
    ordered = table.sort_values("val_iou", ascending=False, kind="stable")
    known = ordered.astype(object).where(ordered.notna(), None)
    rows = [
        {
            "name": row["variant"],
            "shows": row.get("shows") or "",
            "cells": [
                str(row["seed"]),
                number(row["val_iou"]),
                number(row["test_iou"]),
                f"{number(row['test_iou_ci95_low'])}–{number(row['test_iou_ci95_high'])}",
                number(row["test_iou_imagewise"]),
                number(row["test_boundary_iou"]),
                number(row["training_minutes"], 1),
                number(row["parameters"] / 1e6, 1),
                number(row.get(VARIANT_MS), 1),
            ],
        }
        for row in known.to_dict("records")
    ]
    return {"rows": rows, "tried": table["variant"].nunique(), "trainings": len(table)}


def content(found: Results, options: Options, photos: bool, ablation: pd.DataFrame | None = None) -> dict[str, Any]:
    """Everything both templates show, formatted; charts and pictures as markup and data URIs."""
    split = [(name, found.split[name], results.ORIGINAL_SPLIT[name]) for name in SPLITS]
    encoder = found.config.get("architecture", {}).get("encoder", "unknown encoder")
    return {
        "options": options,
        "photos": photos,
        "pairs": found.pairs,
        "rejected": found.rejected,
        "masks": _masks(found, options),
        "split": split,
        "accuracy": _accuracy(found),
        "timing": _timing(found),
        "ablation": _ablation(ablation),
        "fronts": {"runtimes": _front(runtime_points(found)), "variants": _front(variant_points(ablation))},
        "training": _training(found),
        "encoder": ENCODERS.get(encoder, encoder),
        "environment": _environment(found),
    }


def _escape_cell(value: Any) -> str:
    """Keep a value on one line of a Markdown table."""
    return " ".join(str(value).replace("|", "\\|").split())


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is None or not name.endswith(".md.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _escape_cell
    return environment


def render(
    found: Results,
    options: Options,
    out_html: str | Path,
    out_md: str | Path,
    photos: bool = True,
    ablation: pd.DataFrame | None = None,
) -> None:
    """Write the page and its Markdown twin; the same results give the same bytes.

    photos: False leaves out every picture made from a photo (defect sheets, predictions), so that the
    page may be published where the photos may not. `ablation`: the table of benchmarks.ablation, if there is one.
    """
    values = content(found, options, photos, ablation)
    templates = _templates()
    pictures = _photos(found, options) if photos else {"sheets": [], "overlays": []}
    html = templates.get_template("report.html.jinja").render(
        values, charts=_charts(found, ablation), pictures=pictures
    )
    markdown = templates.get_template("report.md.jinja").render(values)
    for path, text in ((Path(out_html), html), (Path(out_md), markdown)):
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def write_plot_tables(found: Results, latency_csv: str | Path, distribution_csv: str | Path) -> None:
    """Write what `dvc plots` draws: median ms per backend, and in % how many photos of val and test reach which IoU."""
    rows = [(backend_title(name), row["p50_s"] * 1e3) for name, row in found.measured.items()]
    write_table(latency_csv, pd.DataFrame(rows, columns=["runtime", "p50_ms"]))
    share = charts.iou_histogram(found.images).pivot(index="iou", columns="split", values="share") * 100
    write_table(distribution_csv, share.reset_index())
