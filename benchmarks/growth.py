"""How time and memory grow with the number of photos: fetch, convert, audit, filter and split at several sizes.

    python -m benchmarks.growth [--counts 300 3000] [--out results/growth.json] [--folder FOLDER]

Photos are made from a small generated sample, each shifted, mirrored and lightened in its own way, masks with their
planted defects; instead of the k-fold model's predictions the audit gets blurred masks, as that model's cost is
training, not streaming. Each step runs in a process of its own, watched with all it starts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from personseg.audit import AuditLimits, audit
from personseg.convert import convert
from personseg.errors import UserError, one_line_errors
from personseg.files import write_json, write_table
from personseg.filtering import filter_masks
from personseg.images import read_image, read_mask, write_image
from personseg.parallel import parallel_map
from personseg.probability import write_probability
from personseg.sample.generate import generate
from personseg.sources import fetch
from personseg.splitting import split
from stages.common import PeakMemory
from stages.params import load_params

BASE = 100  # generated pictures all others are made from
SEED = 1


def _vary(number: int, base: Sequence[Path], out: Path) -> None:
    """Write photo, mask and probability number `number`, made from one of the base pictures."""
    rng = np.random.default_rng([SEED, number])
    photo = base[int(rng.integers(len(base)))]
    image, mask = read_image(photo), read_mask(photo.parents[1] / f"masks/{photo.stem}.png")
    columns = slice(None, None, -1) if rng.random() < 0.5 else slice(None)
    shift, light = int(rng.integers(0, mask.shape[1] // 4)), rng.uniform(0.6, 1.4)
    # Cut at both sides by a random width, so that few photos of the same picture are near-duplicates.
    window = slice(shift, mask.shape[1] - int(rng.integers(0, mask.shape[1] // 4)))
    image, mask = image[:, window][:, columns], mask[:, window][:, columns]
    image = np.clip(image.astype(np.float32) * light, 0, 255).astype(np.uint8)
    name = f"{number:06d}"
    write_image(out / "raw/images" / f"{name}.jpg", image, quality=92)
    write_image(out / "raw/masks" / f"{name}.png", np.where(mask, np.uint8(255), np.uint8(0)))
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 4)
    half = cv2.resize(blurred, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # about the k-fold model's size
    write_probability(out / "folds" / f"{name}.png", np.asarray(half, np.float32))


def make_photos(folder: Path, count: int, workers: int) -> None:
    """Write `count` photos and masks into `folder`/raw and probabilities into `folder`/folds."""
    base = folder / "base"
    generate(base, BASE, SEED, 0.35)
    for name in ("raw/images", "raw/masks", "folds"):
        (folder / name).mkdir(parents=True)
    stems = [f"{number:06d}" for number in range(count)]
    pictures = sorted((base / "images").iterdir())
    for _ in parallel_map(partial(_vary, base=pictures, out=folder), range(count), workers, "make photos"):
        pass
    folds = {"stem": stems, "fold": 1, "near_duplicates": ""}
    write_table(folder / "folds/folds.csv", pd.DataFrame(folds))


def steps(folder: Path) -> dict[str, Callable[[], Any]]:
    """The road up to split, each step as its stage would call it."""
    params = load_params()
    limits = AuditLimits(**params.audit.limits.model_dump())
    raw, jpg, folds, scores = (folder / name for name in ("fetched", "jpg", "folds", "scores.csv"))
    pixels = int(params.convert.max_megapixels * 1e6)
    return {
        "fetch": partial(fetch, str(folder / "raw"), None, raw, folder / "downloads"),
        "convert": partial(convert, raw, jpg, params.convert.jpeg_quality, pixels, 0.0, params.convert.workers),
        "audit": partial(
            audit, jpg, folds, scores, folder / "sheets", limits, params.audit.workers, worst=params.audit.worst
        ),
        "filter": partial(
            filter_masks, jpg, folds, scores, None, folder / "clean", limits, workers=params.filter.workers
        ),
        "split": partial(
            split,
            folder / "clean",
            folder / "splits",
            params.split.val_fraction,
            params.split.test_fraction,
            params.split.hash_distance,
            params.split.seed,
            params.split.workers,
        ),
    }


def _watched(folder: Path, name: str, results: Any) -> None:
    memory = PeakMemory(0.2)
    start = time.perf_counter()
    steps(folder)[name]()
    results.put({"seconds": time.perf_counter() - start, "peak_bytes": memory.bytes()})


def measure(counts: list[int], root: Path | None) -> list[dict[str, Any]]:
    """Run every step at every count; one row each, with what photo and memory cost beside the smallest count."""
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for count in sorted(counts):
        folder = Path(tempfile.mkdtemp(prefix="growth_", dir=root))
        try:
            make_photos(folder, count, load_params().convert.workers)
            for name in steps(folder):
                results = context.Queue()
                child = context.Process(target=_watched, args=(folder, name, results))
                child.start()
                child.join()
                if child.exitcode != 0:
                    raise UserError(f"{name} failed at {count} photos; its messages are above")
                row = {"step": name, "photos": count, **results.get()}
                first = next((other for other in rows if other["step"] == name), row)
                row["ms_per_photo"] = 1000 * row["seconds"] / count
                row["memory_growth"] = row["peak_bytes"] / first["peak_bytes"] - 1
                row["time_per_photo_growth"] = row["ms_per_photo"] / first["ms_per_photo"] - 1
                rows.append(row)
                print(row, flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[300, 3000])
    parser.add_argument("--out", type=Path, default=Path("results/growth.json"))
    parser.add_argument("--folder", type=Path, help="where to put the photos while it runs; default: temporary")
    arguments = parser.parse_args()
    with one_line_errors():
        rows = measure(arguments.counts, arguments.folder)
        write_json(arguments.out, rows)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
