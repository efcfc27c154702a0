"""What cleaning buys: the same training on raw, sorted and repaired masks, tested on the same good ones.

    python -m benchmarks.cleaning [--steps 400] [--seeds 1 2] [--out results/picsart]

Run it where `dvc repro filter` has run, with a reviewed list. Test and val photos are drawn from category 1 of that
list; neither they nor their near-duplicates are trained on by any variant. Every variant trains the network of
section model at a smaller size for the same number of steps, in epochs as long as category 1 has photos, and the best
epoch is chosen on val. Finished trainings are kept in `.resume/cleaning`, each under a hash of its masks and params,
and not repeated. Writes `cleaning.csv`, one row per variant and seed, and `cleaning.json`, how far each variant is from
the default over all seeds, with paired 95 % intervals.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.scoring import Scores, difference, score
from personseg.errors import UserError, one_line_errors
from personseg.files import natural_key, read_json, read_table, write_json, write_table
from personseg.filtering import UNDONE
from personseg.images import read_mask
from personseg.model import build_model
from personseg.prediction import predict_photos
from personseg.training import seed_everything, train_network
from stages.params import load_params

SIZE = (256, 192)
ENCODER = "tu-tf_efficientnet_lite0"
VAL, TEST = 60, 200
DEFAULT = "1 + repaired 2"  # what the road trains on
RESAMPLES = 2000
JPG, CLEAN = Path("data/jpg"), Path("data/clean")


@dataclass(frozen=True)
class Variant:
    """What a training sees: photos and masks of `folder`, these stems, drawn by these weights (None: evenly)."""

    folder: Path
    stems: list[str]
    weights: list[float] | None = None


def hold_out(manifest: pd.DataFrame, scores: pd.DataFrame) -> tuple[list[str], list[str], set[str]]:
    """Draw val and test from category 1; return them and all stems that no variant may train on."""
    good = sorted(manifest.index[(manifest["category"] == 1) & (manifest["kept"] == 1)], key=natural_key)
    if len(good) < 2 * (VAL + TEST):
        raise UserError(f"{CLEAN}/manifest.csv: {len(good)} masks of category 1; needs {2 * (VAL + TEST)}")
    chosen = [good[index] for index in np.random.default_rng(0).permutation(len(good))[: VAL + TEST]]
    near = scores.loc[chosen, "near_duplicates"].fillna("").str.split().explode().dropna()
    return chosen[:VAL], chosen[VAL:], {*chosen, *near}


def variants(manifest: pd.DataFrame, scores: pd.DataFrame, held_out: set[str]) -> dict[str, Variant]:
    """The ways to use the masks."""
    rest = [stem for stem in sorted(manifest.index, key=natural_key) if stem not in held_out]
    category, kept = scores["category"], manifest["kept"] == 1
    good = [stem for stem in rest if category[stem] == 1]
    fixable = [stem for stem in rest if category[stem] == 2]
    repaired = good + [stem for stem in fixable if kept[stem]]
    quality = scores["quality"]
    return {
        "raw masks": Variant(JPG, rest),
        "category 1": Variant(JPG, good),
        "1 + unrepaired 2": Variant(JPG, good + fixable),
        DEFAULT: Variant(CLEAN, repaired),
        "raw masks weighted by quality": Variant(JPG, rest, quality[rest].tolist()),
        "1 + repaired 2, weighted by quality": Variant(CLEAN, repaired, quality[repaired].tolist()),
    }


def score_network(network: Any, stems: list[str]) -> Scores:
    """Score each of `stems` against its raw mask, at threshold 0.5."""
    photos = predict_photos(network.eval(), JPG / "images", stems, SIZE, "test", 16)
    return score(
        (placement.restore(probability) > 0.5, read_mask(JPG / "masks" / f"{stem}.jpg"))
        for stem, probability, placement in photos
    )


def length(photos: int, params: Mapping[str, Any], steps: int) -> tuple[int, int]:
    """Epochs of `photos` nearest to `steps` steps of the params' batch size, and the steps these are."""
    per_epoch = photos // params["train"]["batch_size"]
    epochs = max(1, round(steps / per_epoch))
    return epochs, epochs * per_epoch


def train(
    variant: Variant, val: list[str], params: Mapping[str, Any], seed: int, epochs: int, count: int, state: Path
) -> Any:
    """Train for `epochs` of `count` photos each."""
    section = params["model"]
    training = {**params["train"], "seed": seed, "epochs": epochs, "patience": epochs}
    architecture = {name: value for name, value in section.items() if name not in ("weights", "input_size")}
    architecture |= {"encoder": ENCODER}
    seed_everything(seed)
    network = build_model(architecture, section["weights"])
    # Val masks are of category 1, the same in both folders.
    stems = {"train": variant.stems, "val": val}
    network, _, _ = train_network(network, variant.folder, stems, SIZE, training, state, variant.weights, count=count)
    return network


def identity(
    variant: Variant, val: list[str], test: list[str], params: Mapping[str, Any], seed: int, epochs: int, count: int
) -> str:
    """Hash what decides a training and its scores but the code: photos, masks, weights, params, length."""
    training = {name: value for name, value in params["train"].items() if name not in ("epochs", "patience", "seed")}
    values = [variant.stems, val, test, variant.weights, params["model"], training, seed, epochs, count]
    digest = hashlib.sha256(json.dumps(values).encode())
    files = [(variant.folder, stem) for stem in (*variant.stems, *val)] + [(JPG, stem) for stem in test]
    for folder, stem in files:
        for name in ("images", "masks"):
            digest.update((folder / name / f"{stem}.jpg").read_bytes())
    return digest.hexdigest()[:16]


def measure(steps: int, seeds: list[int], out: Path) -> pd.DataFrame:
    """Train and score every variant; finished ones are read from `.resume/cleaning`."""
    params = load_params().model_dump()
    manifest = read_table(CLEAN / "manifest.csv").set_index("stem")
    audited = read_table("data/audit/scores.csv").set_index("stem")
    # The filter calls a mask that it could not repair category 3; here it is still what the reviewer said.
    audited["category"] = manifest["category"].where(manifest["repair"] != UNDONE, 2)
    val, test, held_out = hold_out(manifest, audited)
    ways = variants(manifest, audited, held_out)
    # An epoch is as long for all, so all are validated as often.
    count = min(len(variant.stems) for variant in ways.values())
    epochs, actual = length(count, params, steps)
    rows, scores = [], {name: list[Scores]() for name in ways}
    for seed in seeds:
        for name, variant in ways.items():
            state = Path(".resume/cleaning") / identity(variant, val, test, params, seed, epochs, count)
            done = state / "scores.json"
            if not done.is_file():
                state.mkdir(parents=True, exist_ok=True)
                print(f"{name}, seed {seed}: {len(variant.stems)} photos", flush=True)
                network = train(variant, val, params, seed, epochs, count, state)
                found = score_network(network, test)
                write_json(done, {"counts": found.counts.tolist(), "boundary": found.boundary.tolist()})
            kept = read_json(done)
            found = Scores(np.array(kept["counts"], np.int64), np.array(kept["boundary"]))
            scores[name].append(found)
            summary = {f"test_{key}": value for key, value in found.summary().items()}
            rows.append({"variant": name, "seed": seed, "photos": len(variant.stems), "steps": actual, **summary})
            write_table(out / "cleaning.csv", pd.DataFrame(rows))
    write_json(out / "cleaning.json", differences(scores))
    return pd.DataFrame(rows)


def differences(scores: Mapping[str, list[Scores]]) -> dict[str, Any]:
    """IoU and boundary IoU of each variant less those of the default, see `scoring.difference`.

    A photo counts once, with the pixels and the mean boundary IoU of all seeds.
    """
    over_seeds = {
        name: Scores(sum(each.counts for each in runs), np.mean([each.boundary for each in runs], axis=0))  # type: ignore[arg-type]
        for name, runs in scores.items()
    }
    default = over_seeds.pop(DEFAULT)
    return {name: difference(each, default, RESAMPLES, 1) for name, each in over_seeds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("results/picsart"))
    arguments = parser.parse_args()
    with one_line_errors():
        table = measure(arguments.steps, arguments.seeds, arguments.out)
    print(table.drop(columns=["seed", "steps"]).groupby("variant", sort=False).agg(["mean", "min", "max"]).to_string())


if __name__ == "__main__":
    main()
