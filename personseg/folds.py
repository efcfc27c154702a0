"""Out-of-fold predictions: what a small model thinks of each photo that has never seen that photo's mask.

The photos are dealt into folds; for each fold a network is trained on all the others and predicts it. Where
such a prediction and the label differ, the label is suspect: it cannot have been learned by heart (Northcutt
et al., "Confident Learning", JAIR 2021). Near-duplicates share a fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from personseg.duplicates import duplicate_groups
from personseg.errors import UserError
from personseg.files import fresh_folder, natural_key, write_table
from personseg.memory import return_freed_memory
from personseg.model import build_model
from personseg.prediction import predict_photos
from personseg.probability import write_probability
from personseg.training import seed_everything, train_network

# What the training of a fold needs beside section `folds`: a short one-cycle on light augmentation.
TRAINING: dict[str, Any] = {
    "loss": {"focal": 1.0, "dice": 1.0},
    "focal_gamma": 2.0,
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "gradient_clip": 0,
    "schedule": "one_cycle",
    "warmup_fraction": 0.15,
    "ema_decay": 0.98,
    "precision": "auto",
    "channels_last": True,
    "accelerator": "auto",
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "augment": {
        "copy_paste": 0,
        "far_away": 0,
        "hflip": 0.5,
        "vflip": 0,
        "elastic": 0,
        "elastic_alpha": 1,
        "elastic_sigma": 1,
        "shift_scale_rotate": 0.7,
        "shift": 0.1,
        "scale": 0.2,
        "rotate": 10,
        "jpeg": 0,
        "jpeg_quality": [50, 100],
        "brightness_contrast": 0.5,
        "brightness": 0.2,
        "contrast": 0.2,
        "low_light": 0,
        "hue_saturation": 0.2,
        "hue": 12,
        "saturation": 40,
        "gray": 0.05,
        "blur": 0,
        "noise": 0,
    },
}
VAL_SHARE = 0.05  # of a fold's training photos, kept aside to choose the best epoch
DROPOUT, PROJECTION = 0.1, 16


def deal(groups: Sequence[Sequence[int]], folds: int, seed: int) -> NDArray[np.int64]:
    """Deal groups of indices into `folds` of nearly equal size; return each index's fold, from 0."""
    sizes = [0] * folds
    fold = np.zeros(sum(map(len, groups)), dtype=np.int64)
    for position in np.random.default_rng(seed).permutation(len(groups)):
        smallest = sizes.index(min(sizes))
        fold[list(groups[position])] = smallest
        sizes[smallest] += len(groups[position])
    return fold


def _predict_fold(
    folder: Path, rest: list[str], held_out: list[str], section: Mapping[str, Any], state: Path, label: str
) -> None:
    """Train on `rest` and write the probability of each photo of `held_out` into `state`, beside the checkpoints."""
    size = (section["input_size"][0], section["input_size"][1])
    architecture: dict[str, Any] = {
        "name": "concat_unet",
        "encoder": section["encoder"],
        "decoder_channels": section["decoder_channels"],
        "projection": PROJECTION,
        "dropout": DROPOUT,
        "attention": None,
    }
    keys = ("seed", "epochs", "batch_size", "learning_rate", "workers")
    training = {**TRAINING, **{key: section[key] for key in keys}, "patience": section["epochs"]}
    aside = max(1, round(VAL_SHARE * len(rest)))
    shuffled = [rest[index] for index in np.random.default_rng(section["seed"]).permutation(len(rest))]
    seed_everything(section["seed"])  # the decoder starts from random weights
    network = build_model(architecture, section["weights"])
    stems = {"val": shuffled[:aside], "train": shuffled[aside:]}
    return_freed_memory()
    network, _, _ = train_network(network, folder, stems, size, training, state)
    return_freed_memory()
    for stem, probability, placement in predict_photos(network, folder / "images", held_out, size, label, 16):
        write_probability(state / f"{stem}.png", placement.inner(probability))


def out_of_fold(folder: Path, out: Path, section: Mapping[str, Any], state: Path) -> None:
    """Write `out`/STEM.png, the out-of-fold probability of every pair, and `out`/folds.csv.

    `folder` holds images/STEM.jpg and masks/STEM.jpg, `section` the params (section `folds`), `state` a
    folder to resume from. A probability has the photo's size inside the network's input, in 8 bits.
    folds.csv: stem, fold (from 1), near_duplicates (stems, by space). UserError if there are fewer
    groups of near-duplicates than folds need.
    """
    count = section["count"]
    stems = sorted((path.stem for path in (folder / "masks").glob("*.jpg")), key=natural_key)
    photos = [folder / "images" / f"{stem}.jpg" for stem in stems]
    groups = duplicate_groups(photos, section["hash_distance"], section["workers"])
    if len(groups) < 2 * count:
        raise UserError(f"{folder}: {len(groups)} different photos are too few for {count} folds; lower folds.count")
    fold = deal(groups, count, section["seed"])
    near = [""] * len(stems)
    for members in groups:
        for member in members:
            near[member] = " ".join(stems[other] for other in members if other != member)
    with fresh_folder(out) as fresh:
        for number in range(count):
            held_out = [stem for stem, its in zip(stems, fold, strict=True) if its == number]
            rest = [stem for stem, its in zip(stems, fold, strict=True) if its != number]
            kept = state / f"fold_{number + 1}"
            done = kept / "done"
            if not done.is_file():
                kept.mkdir(exist_ok=True)
                label = f"fold {number + 1} of {count}"
                print(f"{label}: training on {len(rest)} photos", flush=True)
                _predict_fold(folder, rest, held_out, section, kept, label)
                done.touch()
            for stem in held_out:
                (fresh / f"{stem}.png").write_bytes((kept / f"{stem}.png").read_bytes())
        write_table(fresh / "folds.csv", pd.DataFrame({"stem": stems, "fold": fold + 1, "near_duplicates": near}))
