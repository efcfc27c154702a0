"""The default on other splits of the same photos, beside MediaPipe on the same test photos.

    make confirm DATA=picsart_hack_online_data.zip MEDIAPIPE=selfie_segmentation.tflite

For each `split.seed` the road is walked as an experiment of DVC with the settings of `make picsart` (but few rows of
the benchmark), and the finished model scored on that split's test photos, as is MediaPipe, both with a threshold and
sizes of small objects and holes from val. A seed that the table has already is not run again, and
a table of other params is refused. Writes results/NAME/split_seeds.csv, a row per seed and one of all test photos
together, with paired bootstrap intervals of the difference, and beside it split_seeds_photos.csv, a row per seed and
photo. A photo that is in two test lists counts twice, each time for another model. Needs params.yaml, dvc.lock and
metrics/ without uncommitted changes, as benchmarks.ablation, and puts them back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.experiments import (
    digest,
    parsed,
    refuse_other_params,
    refuse_uncommitted,
    restore,
    road_parser,
    run_experiment,
    slug,
    source,
)
from benchmarks.peers import on_test
from benchmarks.scoring import Scores, difference
from personseg.errors import UserError, one_line_errors
from personseg.files import read_json, read_table, write_table
from personseg.mediapipe import MediaPipe
from stages.params import load_params

FEW_ROWS = {"benchmark.backends": ["pytorch_fp32", "openvino_f32"], "benchmark.max_seconds": 5}
COUNTS = ("tp", "fp", "fn")


def rows_of(seed: int, stems: list[str], ours: Scores, theirs: Scores) -> pd.DataFrame:
    """One row per test photo: counts and boundary IoU of both models."""
    table = pd.DataFrame({"split_seed": seed, "stem": stems})
    for name, scores in (("ours", ours), ("mediapipe", theirs)):
        table[[f"{name}_{count}" for count in COUNTS]] = scores.counts
        table[f"{name}_boundary"] = scores.boundary
    return table


def scores_of(photos: pd.DataFrame, name: str) -> Scores:
    """What `rows_of` wrote of one model."""
    counts = photos[[f"{name}_{count}" for count in COUNTS]].to_numpy(np.int64)
    return Scores(counts, photos[f"{name}_boundary"].to_numpy(np.float64))


def summary(photos: pd.DataFrame, val_iou: dict[int, float], resamples: int, seed: int) -> pd.DataFrame:
    """A row per split seed and one of all together, which has no val IoU."""
    groups = [(str(number), photos[photos["split_seed"] == number]) for number in sorted(val_iou)] + [("all", photos)]
    rows = []
    for name, members in groups:
        ours, theirs = scores_of(members, "ours"), scores_of(members, "mediapipe")
        row: dict[str, Any] = {"split_seed": name, "test_photos": len(members)}
        row["val_iou"] = val_iou[int(name)] if name != "all" else None
        row |= {f"test_{key}": value for key, value in ours.summary().items()}
        row |= {f"mediapipe_{key}": value for key, value in theirs.summary().items()}
        for key, values in difference(ours, theirs, resamples, seed).items():
            row |= {f"{key}_{part}": value for part, value in values.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def confirm(data: str, name: str, seeds: list[int], values: dict[str, Any], mediapipe: Path, out: Path) -> pd.DataFrame:
    """Run the seeds that the table at `out` lacks; the table."""
    network, project = MediaPipe(mediapipe), load_params()
    evaluate = project.evaluate
    refuse_uncommitted()
    photos_csv = out.with_name(f"{out.stem}_photos.csv")
    photos = read_table(photos_csv) if photos_csv.is_file() else pd.DataFrame()
    val_iou, params = {}, digest(values, but="split.seed")
    if len(photos):
        table = read_table(out)
        refuse_other_params(table, params, out)
        val_iou = {int(row["split_seed"]): row["val_iou"] for _, row in table[table["split_seed"] != "all"].iterrows()}
    for seed in [seed for seed in seeds if seed not in val_iou]:
        settings = {**values, **FEW_ROWS, "data.name": name, "data.source": data, "split.seed": seed}
        try:
            run_experiment(slug(name, "split", seed), settings)
            photos = pd.concat([photos, rows_of(seed, *on_test(network, project.calibrate))], ignore_index=True)
            val_iou[seed] = read_json(Path("metrics/iou.json"))["val"]["iou"]
        finally:
            restore()
        table = summary(photos, val_iou, evaluate.bootstrap, evaluate.seed).assign(params=params)
        write_table(photos_csv, photos)
        write_table(out, table)
    if not val_iou:
        raise UserError("no split seeds given")
    return summary(photos, val_iou, evaluate.bootstrap, evaluate.seed).assign(params=params)


def main() -> None:
    parser = road_parser(__doc__)
    parser.add_argument("--mediapipe", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    out = arguments.out or Path("results") / arguments.name / "split_seeds.csv"
    with one_line_errors():
        values = parsed(arguments.settings)
        table = confirm(source(arguments.data), arguments.name, arguments.seeds, values, arguments.mediapipe, out)
    print(table.round(4).T.to_string(header=False))


if __name__ == "__main__":
    main()
