"""Keep what a full run leaves, without any photo: `python -m personseg.record results/NAME`."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from personseg.errors import UserError, one_line_errors
from personseg.files import fresh_folder, natural_key, read_json, read_table, write_json
from personseg.report import Options, render
from personseg.results import read_results

# What is copied, path for path, and the command that makes it.
COPIED = {
    "params.yaml": "an editor; `dvc repro` reads it",
    "dvc.lock": "`dvc repro`",
    "metrics/**/*.json": "`dvc repro`; shown by `dvc metrics show`",
    "plots/history.csv": "`dvc repro train`",
    "data/env.json": "`dvc repro env`",
    "data/audit/scores.csv": "`dvc repro audit`",
    "data/clean/manifest.csv": "`dvc repro filter`",
    "data/splits/*.csv": "`dvc repro split`",
    "data/evaluation/images.csv": "`dvc repro evaluate`",
}
TIMINGS = "plots/benchmark/*.csv"
TIMINGS_LIMIT = 200_000  # bytes: more raw timings than this stay out, the summary in metrics/ remains
MADE = {
    "report.md": "`python -m personseg.record`",
    "report.html": "`python -m personseg.record`: report/report.html without its pictures",
    "costs.json": "`python -m personseg.record`, from logs/costs/",
    "README.md": "`python -m personseg.record`",
}
# What other commands leave beside a record.
ELSEWHERE = {
    "ablation.csv": "`python -m benchmarks.ablation`",
    "cleaning.csv": "`OMP_NUM_THREADS=1 python -m benchmarks.cleaning`",
    "cleaning.json": "the same",
    "flip_average.json": "`dvc exp run` with `-S calibrate.flip_average=true` beside the params here, then"
    " `python -m benchmarks.peers --mediapipe selfie_segmentation.tflite --out results/picsart/flip_average.json`",
    "folder.json": "`python -m benchmarks.folder data/raw/unlabelled`",
    "folder_int8.json": "the same with `--runtime openvino_int8`",
    "further.csv": "`python -m benchmarks.ablation --plan benchmarks/further.yaml --out results/picsart/further.csv`",
    "from_nothing.json": "`python -m benchmarks.from_nothing`",
    "ratios.csv": "`python -m benchmarks.scaling --batches 1 --threads 2 --rounds 15 --seconds 6 --backends"
    " pytorch_fp32 openvino_bf16 openvino_int8 report_pytorch_fp32 --mediapipe selfie_segmentation.tflite`",
    "ratios_resnet34.csv": "the same, of the `resnet34 taught with hints` of students.csv",
    "robustness.csv": "`python -m benchmarks.robustness --limit 54 --mediapipe selfie_segmentation.tflite`",
    "robustness_nobody_far_away.csv": "the same, of the `nobody far away` of further.csv",
    "scaling.csv": "`python -m benchmarks.scaling --seconds 2 --mediapipe selfie_segmentation.tflite`",
    "review": "people, see its own README; `python -m benchmarks.review_agreement`",
    "self_taught.json": "`make picsart` with and without a teacher, on the data and by the params that it names",
    "whole_resolution.json": "`dvc exp run` with `-S model.decoder_channels=[128,64,32,16,16]` beside the params here",
    "students.csv": "`python -m benchmarks.ablation --plan benchmarks/students.yaml`",
    "structure.csv": "`python -m benchmarks.structure`",
    "split_seeds.csv": "`make confirm`",
    "split_seeds_photos.csv": "`make confirm`",
    "training_cost.json": "`python -m benchmarks.training_cost`",
}
KEPT = {"metrics/peers.json": "`python -m benchmarks.peers`"}  # inside folders that are replaced
OWNED = {pattern.split("/")[0] for pattern in (*COPIED, *MADE)}  # top-level names; all others are left alone


def costs(folder: str | Path) -> dict[str, Any]:
    """Gather what each stage cost when it last ran: seconds, peak memory in bytes, and their sum and maximum."""
    rows = [read_json(path) for path in sorted(Path(folder).glob("*.json"), key=lambda path: natural_key(path.stem))]
    if not rows:
        raise UserError(f"{folder}: no costs of stages (*.json); run `dvc repro` first")
    return {
        "stages": {row["stage"]: {key: row[key] for key in ("seconds", "peak_rss_bytes")} for row in rows},
        "total_seconds": round(sum(row["seconds"] for row in rows), 2),
        "peak_rss_bytes": max(row["peak_rss_bytes"] for row in rows),
    }


def _copy(root: Path, pattern: str, folder: Path) -> None:
    paths = [path for path in root.glob(pattern) if path.is_file()]
    if not paths:
        raise UserError(f"{root / pattern}: not found; run `dvc repro` to make it")
    for path in paths:
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Content only: DVC's cache links are read-only and may be links.
        shutil.copyfile(path, target)


def _read_params(path: Path) -> Mapping[str, Any]:
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the project's folder") from None
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None


def _hide_folder(paths: list[Path], source: str) -> None:
    """Shorten an absolute data source to its last part: others have no use for the folders of this machine."""
    if Path(source).is_absolute():
        for path in paths:
            path.write_text(path.read_text(encoding="utf-8").replace(source, Path(source).name), encoding="utf-8")


def _render(root: Path, folder: Path, params: Mapping[str, Any]) -> None:
    try:
        data, section, backends = params["data"], params["report"], params["benchmark"]["backends"]
        options = Options(section["title"], data["name"], data["source"] == "sample", section["worst"], 0, 0)
    except (KeyError, TypeError) as error:
        raise UserError(f"{root / 'params.yaml'}: {error} is missing; restore it from git") from None
    found, ablation = read_results(root, backends), folder / "ablation.csv"
    table = read_table(ablation) if ablation.is_file() else None
    if table is not None and "val_iou" not in table:
        raise UserError(f"{ablation.name}: no table of benchmarks.ablation; move it away or make it anew")
    render(found, options, folder / "report.html", folder / "report.md", photos=False, ablation=table)


def _readme(folder: Path, name: str, others: list[Path], timings: bool) -> str:
    made = {**COPIED, **({TIMINGS: "`dvc repro`"} if timings else {}), **MADE}
    rows = [f"| `{path}` | {command} |" for path, command in made.items()]
    rows += [f"| `{path}` | {command} |" for path, command in KEPT.items() if (folder / path).is_file()]
    for path in others:
        rows.append(f"| `{path.name}` | {ELSEWHERE.get(path.name, 'not by this command; kept as it was')} |")
    table = "\n".join(rows)
    return f"""# {name}

The last full run on this data: what it measured, and no photo. `report.html` is the page to start with.

| file | made by |
|---|---|
{table}

Costs are those of each stage's last run on the machine that `data/env.json` describes. Where the data source
was an absolute path, `params.yaml` and `dvc.lock` here keep its last part only.
"""


def record(root: str | Path, target: str | Path) -> None:
    """Copy the results under `root` (the project's folder) into `target`, replacing an earlier record.

    Files in `target` that a record does not consist of are kept. No picture is ever copied, and the
    report is rendered anew without any. UserError names what is missing; `target` is then as before.
    """
    root, target = Path(root), Path(target)
    with fresh_folder(target) as folder:
        others = sorted(path for path in target.glob("*") if path.name not in OWNED)
        for path in others:
            if path.is_dir():
                shutil.copytree(path, folder / path.name)
            else:
                shutil.copy2(path, folder / path.name)
        for pattern in COPIED:
            _copy(root, pattern, folder)
        for name in KEPT:
            if (target / name).is_file() and not (folder / name).exists():
                shutil.copy2(target / name, folder / name)
        timings = list(root.glob(TIMINGS))
        small = 0 < sum(path.stat().st_size for path in timings) < TIMINGS_LIMIT
        if small:
            _copy(root, TIMINGS, folder)
        write_json(folder / "costs.json", costs(root / "logs/costs"))
        params = _read_params(root / "params.yaml")
        _render(root, folder, params)
        _hide_folder([folder / "params.yaml", folder / "dvc.lock"], str(params["data"]["source"]))
        (folder / "README.md").write_text(_readme(folder, target.name, others, small), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m personseg.record", description=__doc__)
    parser.add_argument("target", type=Path, help="folder to write, e.g. results/picsart")
    with one_line_errors():
        record(Path(), parser.parse_args().target)


if __name__ == "__main__":
    main()
