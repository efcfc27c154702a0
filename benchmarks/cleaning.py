"""What cleaning buys: the same training on raw, sorted and repaired masks, tested on the same good ones.

    python -m benchmarks.cleaning [--steps 500] [--seeds 1 2] [--out results/picsart/cleaning.csv]

Run it where `dvc repro filter` has run, with a reviewed list. Test and val photos are drawn from category 1 of that
list; neither they nor their near-duplicates are trained on by any variant. Every variant trains the network of
section model at a smaller size for about the same number of steps, in whole epochs; the best epoch is chosen
on val. Finished trainings are kept in `.resume/cleaning`, each under a hash of its masks and params, and not repeated.
Writes one row per variant and seed.
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

from benchmarks.scoring import score
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
    """The five ways to use the masks."""
    rest = [stem for stem in sorted(manifest.index, key=natural_key) if stem not in held_out]
    category, kept = scores["category"], manifest["kept"] == 1
    good = [stem for stem in rest if category[stem] == 1]
    fixable = [stem for stem in rest if category[stem] == 2]
    return {
        "raw masks": Variant(JPG, rest),
        "category 1": Variant(JPG, good),
        "1 + unrepaired 2": Variant(JPG, good + fixable),
        "1 + repaired 2": Variant(CLEAN, good + [stem for stem in fixable if kept[stem]]),
        "raw masks weighted by quality": Variant(JPG, rest, scores.loc[rest, "quality"].tolist()),
    }


def score_network(network: Any, stems: list[str]) -> dict[str, float]:
    """IoU over all pixels, mean per photo, and mean boundary IoU on the raw masks of `stems`, at threshold 0.5."""
    photos = predict_photos(network.eval(), JPG / "images", stems, SIZE, "test", 16)
    found = score(
        (placement.restore(probability) > 0.5, read_mask(JPG / "masks" / f"{stem}.jpg"))
        for stem, probability, placement in photos
    )
    return {f"test_{name}": value for name, value in found.summary().items()}


def length(variant: Variant, params: Mapping[str, Any], steps: int) -> tuple[int, int]:
    """Whole epochs nearest to `steps` steps of the params' batch size, and the steps these are."""
    per_epoch = len(variant.stems) // params["train"]["batch_size"]
    epochs = max(1, round(steps / per_epoch))
    return epochs, epochs * per_epoch


def train(variant: Variant, val: list[str], params: Mapping[str, Any], seed: int, steps: int, state: Path) -> Any:
    """Train for about `steps` steps, see `length`."""
    section = params["model"]
    epochs, _ = length(variant, params, steps)
    training = {**params["train"], "seed": seed, "epochs": epochs, "patience": epochs}
    architecture = {name: value for name, value in section.items() if name not in ("weights", "input_size")}
    architecture |= {"encoder": ENCODER}
    seed_everything(seed)
    network = build_model(architecture, section["weights"])
    # Val masks are of category 1, the same in both folders.
    stems = {"train": variant.stems, "val": val}
    network, _, _ = train_network(network, variant.folder, stems, SIZE, training, state, variant.weights)
    return network


def identity(
    variant: Variant, val: list[str], test: list[str], params: Mapping[str, Any], seed: int, steps: int
) -> str:
    """Hash what decides a training and its scores but the code: photos, masks, weights, params."""
    training = {name: value for name, value in params["train"].items() if name not in ("epochs", "patience", "seed")}
    values = [variant.stems, val, test, variant.weights, params["model"], training, seed, steps]
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
    scores = read_table("data/audit/scores.csv").set_index("stem")
    # The filter calls a mask that it could not repair category 3; here it is still what the reviewer said.
    scores["category"] = manifest["category"].where(manifest["repair"] != UNDONE, 2)
    val, test, held_out = hold_out(manifest, scores)
    rows = []
    for seed in seeds:
        for name, variant in variants(manifest, scores, held_out).items():
            state = Path(".resume/cleaning") / identity(variant, val, test, params, seed, steps)
            done = state / "row.json"
            if not done.is_file():
                state.mkdir(parents=True, exist_ok=True)
                print(f"{name}, seed {seed}: {len(variant.stems)} photos", flush=True)
                network = train(variant, val, params, seed, steps, state)
                row = {
                    "variant": name,
                    "seed": seed,
                    "photos": len(variant.stems),
                    "steps": length(variant, params, steps)[1],
                    **score_network(network, test),
                }
                write_json(done, row)
            rows.append(dict(read_json(done)))
            write_table(out, pd.DataFrame(rows))
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("results/picsart/cleaning.csv"))
    arguments = parser.parse_args()
    with one_line_errors():
        table = measure(arguments.steps, arguments.seeds, arguments.out)
    print(table.drop(columns=["seed", "steps"]).groupby("variant", sort=False).agg(["mean", "min", "max"]).to_string())


if __name__ == "__main__":
    main()
