"""Out-of-fold predictions: what a small model thinks of each photo that has never seen that photo's mask.

The photos are dealt into folds; for each fold a network is trained on all the others and predicts it. Where
such a prediction and the label differ, the label is suspect: it cannot have been learned by heart (Northcutt
et al., "Confident Learning", JAIR 2021). Near-duplicates share a fold.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.multiprocessing.spawn import start_processes

from personseg.devices import one_line_of_the_dead
from personseg.duplicates import duplicate_groups
from personseg.environment import usable_cores
from personseg.errors import UserError
from personseg.files import fresh_folder, natural_key, write_table
from personseg.memory import return_freed_memory
from personseg.model import build_model
from personseg.orphans import die_with_starter
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


@dataclass(frozen=True)
class Fold:
    """A fold's number (from 1), the photos it learns from and those it predicts, and the folder of its state."""

    number: int
    rest: list[str]
    held_out: list[str]
    kept: Path

    def is_done(self) -> bool:
        return (self.kept / "done").is_file()


def folds_at_once(wanted: int | str, count: int) -> int:
    """How many of `count` folds to train side by side, if `wanted` is `auto`.

    On a GPU one; on a CPU as many as it has cores, or one more if that is all of them. Two threads of one small network
    wait for one another most of the time: on two cores three trainings with a thread each do 1.4 times the work of one
    with two. Each process holds a gigabyte.
    """
    if wanted != "auto":
        return min(int(wanted), count)
    if torch.cuda.is_available():
        return 1
    cores = usable_cores()
    return count if count <= cores + 1 else cores


def _predict_fold(fold: Fold, folder: Path, section: Mapping[str, Any], alone: bool = True) -> None:
    """Train on the fold's rest and write the probability of each photo held out beside the checkpoints.

    Not `alone`, it leaves the cores to the other folds: no process loads its photos.
    """
    size = (section["input_size"][0], section["input_size"][1])
    architecture: dict[str, Any] = {
        "name": "concat_unet",
        "encoder": section["encoder"],
        "decoder_channels": section["decoder_channels"],
        "projection": PROJECTION,
        "dropout": DROPOUT,
        "attention": None,
    }
    fold.kept.mkdir(exist_ok=True)
    label = f"fold {fold.number} of {section['count']}"
    print(f"{label}: training on {len(fold.rest)} photos", flush=True)
    keys = ("seed", "epochs", "batch_size", "learning_rate")
    training = {**TRAINING, **{key: section[key] for key in keys}, "patience": section["epochs"]}
    training["workers"] = section["workers"] if alone else 0
    aside = max(1, round(VAL_SHARE * len(fold.rest)))
    shuffled = [fold.rest[index] for index in np.random.default_rng(section["seed"]).permutation(len(fold.rest))]
    seed_everything(section["seed"])  # the decoder starts from random weights
    network = build_model(architecture, section["weights"])
    stems = {"val": shuffled[:aside], "train": shuffled[aside:]}
    return_freed_memory()
    network, _, _ = train_network(network, folder, stems, size, training, fold.kept, label="" if alone else label)
    return_freed_memory()
    for stem, probability, placement in predict_photos(network, folder / "images", fold.held_out, size, label, 16):
        write_probability(fold.kept / f"{stem}.png", placement.inner(probability))
    (fold.kept / "done").touch()


def _predict_one_of(index: int, folds: Sequence[Fold], folder: Path, section: Mapping[str, Any], threads: int) -> None:
    die_with_starter()
    torch.set_num_threads(threads)
    _predict_fold(folds[index], folder, section, alone=False)


def _predict_side_by_side(folds: Sequence[Fold], folder: Path, section: Mapping[str, Any], threads: int) -> None:
    """Each fold in a process of its own, which ends with this one; UserError if one dies."""
    with one_line_of_the_dead("folds.batch_size"):
        started = start_processes(
            _predict_one_of, (folds, folder, section, threads), len(folds), join=False, start_method="forkserver"
        )
        assert started is not None
        try:
            while not started.join():
                pass
        finally:
            for process in started.processes:
                process.terminate()


def out_of_fold(folder: Path, out: Path, section: Mapping[str, Any], state: Path) -> None:
    """Write `out`/STEM.png, the out-of-fold probability of every pair, and `out`/folds.csv.

    `folder` holds images/STEM.jpg and masks/STEM.jpg, `section` the params (section `folds`), `state` a
    folder to resume from. A probability has the photo's size inside the network's input, in 8 bits.
    folds.csv: stem, fold (from 1), near_duplicates (stems, by space). UserError if there are fewer
    groups of near-duplicates than folds need.
    """
    count = section["count"]
    at_once = folds_at_once(section["at_once"], count)
    if at_once > 1:  # PyTorch and Lightning are imported once for all processes, before the first of them starts
        multiprocessing.set_forkserver_preload([__name__])
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
    folds = [
        Fold(
            number + 1,
            rest=[stem for stem, its in zip(stems, fold, strict=True) if its != number],
            held_out=[stem for stem, its in zip(stems, fold, strict=True) if its == number],
            kept=state / f"fold_{number + 1}",
        )
        for number in range(count)
    ]
    todo = [each for each in folds if not each.is_done()]
    if at_once == 1:
        for each in todo:
            _predict_fold(each, folder, section)
    else:
        # Of all folds, not of those left: with other threads an interrupted stage would end with other digits.
        threads = max(1, torch.get_num_threads() // at_once)
        for begin in range(0, len(todo), at_once):
            _predict_side_by_side(todo[begin : begin + at_once], folder, section, threads)
    with fresh_folder(out) as fresh:
        for each in folds:
            for stem in each.held_out:
                (fresh / f"{stem}.png").write_bytes((each.kept / f"{stem}.png").read_bytes())
        write_table(fresh / "folds.csv", pd.DataFrame({"stem": stems, "fold": fold + 1, "near_duplicates": near}))
