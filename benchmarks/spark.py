"""Masks by Spark beside `personseg predict` on the same photos: photos a second, and whether the masks are the same.

    python -m benchmarks.spark PHOTOS [--copies N] [--side PIXELS] [--master local[2]] [--runtime auto]
        [--model models/person] [--out results/spark.json]

Each is a command of its own, from start to exit: `personseg predict FOLDER --as rle` before and after Spark, so that a
drift of the machine hits both alike. `start_s` is what the command takes for a few photos only, and `photos_per_s`
counts the others by the time left: what is to be expected of a folder so large that the start does not matter.
`whole_ratio` compares the commands as they are, start included. With --copies every photo is linked N times, to have
enough of them; with --side it is enlarged first, so that its longer side is that of a phone's photo, say.
`listed_per_s` is how quickly the folder is listed. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq

from benchmarks.process_tree import run_watched
from personseg.environment import cpu_model, usable_cores
from personseg.errors import UserError, one_line_errors
from personseg.files import write_json
from personseg.images import write_image
from personseg.inputs import find_photos
from personseg.segmenter import read_photo
from personseg.spark import list_photos

GOALS = {"ratio": 0.8}  # of Spark's photos a second to those of `personseg predict`
FEW = 2  # photos by which the start is measured


def link(photos: Sequence[Path], folder: Path, copies: int) -> None:
    """Fill a new folder with `copies` of each photo: hard links, or copies where those cannot be."""
    folder.mkdir()
    for number in range(copies):
        for photo in photos:
            copy = folder / f"{number:04d}_{photo.name}"
            try:
                os.link(photo.resolve(), copy)
            except OSError:
                shutil.copy(photo, copy)


def enlarge(photos: Sequence[Path], folder: Path, side: int) -> list[Path]:
    """Write the photos to a new folder as JPEG with a longer side of `side` px; return their paths."""
    made = []
    for photo in photos:
        image = read_photo(photo)
        scale = side / max(image.shape[:2])
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        made.append(folder / f"{photo.stem}.jpg")
        write_image(made[-1], np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8), 90)
    return made


def listing_rate(folder: Path) -> float:
    """Photos a second that `personseg.spark` finds in a folder, their sizes included."""
    start = time.perf_counter()
    found = list_photos(str(folder), False, str(folder.parent / "none"))
    return len(found) / (time.perf_counter() - start)


def timed(command: Sequence[str]) -> dict[str, float]:
    """Seconds and peak bytes of a command; UserError if it fails."""
    code, said, seen = run_watched([sys.executable, "-m", *command])
    if code != 0:
        raise UserError(f"{' '.join(command)}: {said}")
    return {"seconds": seen.seconds, "peak_bytes": seen.peak_bytes}


def rate(whole: dict[str, float], start: dict[str, float], photos: int) -> dict[str, float]:
    """Photos a second with and without the start."""
    return {
        **whole,
        "start_s": start["seconds"],
        "photos_per_s": (photos - FEW) / max(whole["seconds"] - start["seconds"], 1e-9),
        "whole_photos_per_s": photos / whole["seconds"],
    }


def differing(submission: Path, parquet: Path) -> int:
    """Number of photos whose run-length codes differ, or that only one of the two has."""
    csv.field_size_limit(sys.maxsize)
    with submission.open(encoding="utf-8", newline="") as stream:
        ours = {row["image"]: row["rle_mask"] for row in csv.DictReader(stream)}
    table = pq.read_table(parquet, columns=["path", "rle"]).to_pylist()
    theirs = {Path(row["path"]).stem: row["rle"] for row in table}
    return sum(ours.get(name) != theirs.get(name) for name in ours.keys() | theirs.keys())


def measure(
    photos: Sequence[Path], copies: int, side: int | None, master: str, runtime: str, model: str
) -> dict[str, Any]:
    """All figures; every photo must be readable."""
    with tempfile.TemporaryDirectory(prefix="personseg-") as place:
        root, options = Path(place), ["--runtime", runtime, "--model", model]
        if side is not None:
            photos = enlarge(photos, root / "enlarged", side)
        link(photos, root / "all", copies)
        link(photos[:FEW], root / "few", 1)

        def predict(folder: str, out: str) -> dict[str, float]:
            return timed(["personseg", "predict", str(root / folder), "-o", str(root / out), "--as", "rle", *options])

        def spark(folder: str, out: str) -> dict[str, float]:
            command = ["personseg.spark", str(root / folder), str(root / out), "--master", master, *options]
            return timed(command)

        start_predict, start_spark = predict("few", "few.csv"), spark("few", "few.parquet")
        before = predict("all", "before.csv")
        by_spark = spark("all", "all.parquet")
        after = predict("all", "after.csv")
        other = differing(root / "after.csv", root / "all.parquet")
        listed = listing_rate(root / "all")
        written = sum(part.stat().st_size for part in (root / "all.parquet").glob("*.parquet"))
        read = sum(photo.stat().st_size for photo in photos)
    number = len(photos) * copies
    predicted = [rate(run, start_predict, number) for run in (before, after)]
    found = rate(by_spark, start_spark, number)
    mean = {name: sum(run[name] for run in predicted) / 2 for name in predicted[0]}
    return {
        "photos": number,
        "side": side,
        "mean_photo_bytes": read / len(photos),
        "mean_row_bytes": written / number,
        "listed_per_s": listed,
        "master": master,
        "runtime": runtime,
        "spark": found,
        "predict": mean,
        "predict_runs": predicted,
        "ratio": found["photos_per_s"] / mean["photos_per_s"],
        "whole_ratio": found["whole_photos_per_s"] / mean["whole_photos_per_s"],
        "masks_that_differ": other,
        "goals": GOALS,
        "cores": usable_cores(),
        "cpu": cpu_model(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--copies", type=int, default=1, help="of every photo (default 1)")
    parser.add_argument("--limit", type=int, help="take the first N photos only")
    parser.add_argument("--side", type=int, help="enlarge photos to this longer side, in pixels")
    parser.add_argument("--master", default=f"local[{usable_cores()}]", help="Spark's")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--model", default="models/person")
    parser.add_argument("--out", type=Path, default=Path("results/spark.json"))
    arguments = parser.parse_args()
    with one_line_errors():
        found = [item.path for item in find_photos([str(arguments.photos)], False) if not item.is_video]
        photos = found[: arguments.limit]
        if len(photos) * arguments.copies <= FEW:
            raise UserError(f"{arguments.photos}: too few photos; --copies makes more of them")
        figures = measure(
            photos, arguments.copies, arguments.side, arguments.master, arguments.runtime, arguments.model
        )
        write_json(arguments.out, figures)
    spark, predict = figures["spark"], figures["predict"]
    print(
        f"Spark {spark['photos_per_s']:.1f} photos a second, personseg predict {predict['photos_per_s']:.1f}: ratio"
        f" {figures['ratio']:.2f}, goal {GOALS['ratio']}: {'met' if figures['ratio'] >= GOALS['ratio'] else 'MISSED'};"
        f" start {spark['start_s']:.1f} s and {predict['start_s']:.1f} s;"
        f" {figures['masks_that_differ']} of {figures['photos']} masks differ"
    )


if __name__ == "__main__":
    main()
