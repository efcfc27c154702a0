"""What each choice is worth: every variant of benchmarks/variants.yaml as a `dvc exp run`, in one table.

    python -m benchmarks.ablation --data picsart_hack_online_data.zip --name picsart [--seeds 1 2] [--only NAME ...]
    python -m benchmarks.ablation --plan benchmarks/report_recipe.yaml --data ... --name picsart
    python -m benchmarks.ablation --times

Each run is an experiment of DVC (`dvc exp show`) and a run in MLflow. A variant and seed that the table has already
is not run again, and refused if its params were others; a killed run goes on where its training was. Needs
params.yaml, dvc.lock and metrics/ without uncommitted changes, and puts them back after each run; data/ and models/
stay the last run's until `dvc checkout`. A row whose training came out of DVC's cache has no minutes. Test is scored
once per variant, after the choice of epoch, threshold and post-processing on val; rows of the same `split` are of the
same photos. What a variant shows is written by hand, in variants.yaml, once its row is there. Milliseconds come
last and of all variants at once: --times times the networks of the table's variants in turns, in int8 and untrained, as
benchmarks.structure does, on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks.experiments import (
    digest,
    refuse_other_params,
    refuse_uncommitted,
    restore,
    run_experiment,
    short_hash,
    slug,
    source,
)
from personseg.errors import UserError, one_line_errors
from personseg.files import read_json, read_table, write_table
from personseg.report import VARIANT_MS
from stages.common import COSTS
from stages.params import load_params

VARIANTS = Path(__file__).with_name("variants.yaml")
COST = COSTS / "train.json"


def overrides(variant: Mapping[str, Any], shared: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """All keys a run sets: the shared ones, the variant's own over them, and the training seed."""
    return {**shared, **variant, "train.seed": seed}


def split_digest(folder: Path) -> str:
    """Name which photos are train, val and test: the splits of another audit, or of another machine's, are others."""
    lists = b"".join((folder / f"{split}.csv").read_bytes() for split in ("train", "val", "test"))
    return short_hash(lists)


def row_of_run(variant: str, seed: int, experiment: str) -> dict[str, Any]:
    """The table's row, from the metrics the run left."""
    scores, training = read_json(Path("metrics/iou.json")), read_json(Path("metrics/train.json"))
    test, val = scores["test"], scores["val"]
    return {
        "variant": variant,
        "seed": seed,
        "experiment": experiment,
        "split": split_digest(Path("data/splits")),
        "test_iou": test["iou"],
        "test_iou_ci95_low": test["iou_ci95_low"],
        "test_iou_ci95_high": test["iou_ci95_high"],
        "test_iou_imagewise": test["iou_imagewise"],
        "test_boundary_iou": test["boundary_iou"],
        "val_iou": val["iou"],
        "val_boundary_iou": val["boundary_iou"],
        "training_minutes": read_json(COST)["seconds"] / 60 if COST.is_file() else None,
        "parameters": training["parameters"],
    }


def ablate(
    data: str, name: str, seeds: list[int], only: list[str] | None, out: Path, plan_file: Path = VARIANTS
) -> pd.DataFrame:
    """Run what the table at `out` lacks of the plan and add it, row by row."""
    plan = yaml.safe_load(plan_file.read_text(encoding="utf-8"))
    variants = plan["variants"]
    names = list(variants) if only is None else only
    if unknown := sorted(set(names) - set(variants)):
        raise UserError(f"{plan_file.name}: no variant {unknown[0]!r}; it has {', '.join(variants)}")
    refuse_uncommitted()
    table = read_table(out) if out.is_file() else pd.DataFrame(columns=["variant", "seed"])
    for seed in seeds:
        for variant in names:
            shared = {"data.name": name, "data.source": data, **plan["shared"]}
            values = overrides(variants[variant], shared, seed)
            params, known = digest(values, but="train.seed"), table[table["variant"] == variant]
            refuse_other_params(known, params, out)
            if (known["seed"] == seed).any():
                continue
            experiment = slug(name, variant, seed)
            print(f"{variant}, seed {seed}", flush=True)
            COST.unlink(missing_ok=True)  # another training's
            try:
                run_experiment(experiment, values)
                row = {**row_of_run(variant, seed, experiment), "params": params}
            finally:
                restore()
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
            write_table(out, table)
    shows = table["variant"].map(plan["shows"])
    table["shows"] = shows.fillna(table["shows"]) if "shows" in table else shows
    write_table(out, table)
    return table


def architecture(default: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The network of a run with `values` (keys written flat); `default` is that of params.yaml."""
    own = ("model.", "calibrate.flip_average")
    return {**default, **{key.partition(".")[2]: value for key, value in values.items() if key.startswith(own)}}


def add_times(out: Path, plan_file: Path = VARIANTS) -> pd.DataFrame:
    """Time the networks of the variants of the table at `out`, each kind once, in turns; the table with them."""
    from benchmarks.structure import side_by_side  # PyTorch takes seconds

    plan, params, table = yaml.safe_load(plan_file.read_text(encoding="utf-8")), load_params(), read_table(out)
    if unknown := sorted(set(table["variant"]) - set(plan["variants"])):
        raise UserError(f"{plan_file.name}: no variant {unknown[0]!r}; name the plan of {out.name} with --plan")
    default, sections = params.network(), {}
    for name, rows in table.groupby("variant", sort=False):
        values = overrides(plan["variants"][name], plan["shared"], 1)
        refuse_other_params(rows, digest(values, but="train.seed"), out)
        sections[name] = architecture(default, values)
    kinds = {name: json.dumps({**section, "weights": None}) for name, section in sections.items()}
    found = side_by_side({kinds[name]: section for name, section in sections.items()}, params.benchmark)
    table[VARIANT_MS] = [1e3 * found[kinds[name]]["p50_s"] for name in table["variant"]]
    write_table(out, table)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", help="as data.source in params.yaml")
    what.add_argument("--times", action="store_true", help="run nothing, time the networks of the table's variants")
    parser.add_argument("--name", default="picsart")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--plan", type=Path, default=VARIANTS, help="default: benchmarks/variants.yaml")
    parser.add_argument("--only", nargs="+", help="names of variants in the plan")
    parser.add_argument("--out", type=Path, default=Path("results/picsart/ablation.csv"))
    arguments = parser.parse_args()
    with one_line_errors():
        if arguments.times:
            table = add_times(arguments.out, arguments.plan)
        else:
            data = source(arguments.data)
            table = ablate(data, arguments.name, arguments.seeds, arguments.only, arguments.out, arguments.plan)
    columns = ["variant", "seed", "test_iou", "test_boundary_iou", "val_iou", "training_minutes", VARIANT_MS]
    print(table.reindex(columns=columns).to_string(index=False))


if __name__ == "__main__":
    main()
