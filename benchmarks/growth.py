"""How time and memory grow with the number of photos: fetch, convert, audit, filter and split at several sizes.

    python -m benchmarks.growth [--counts 1000 10000] [--height 48] [--out results/growth.json] [--folder FOLDER]

Photos are made from a small generated sample, each shifted, mirrored, lightened and laid under clouds of its own,
masks with their planted defects; instead of the k-fold model's predictions the audit gets blurred masks, as that
model's cost is training, not streaming. Each step runs in a process of its own, watched with all it starts. Sizes
that the output holds already are not measured again: a run that was ended goes on, and larger ones are added.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import psutil

from benchmarks import markdown
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

ROAD = "the road"  # the row of all steps together
BASE = 100  # generated pictures all others are made from
SEED = 1
WATCH_S = 0.2


def _vary(number: int, base: Sequence[Path], out: Path, height: int) -> None:
    """Write photo, mask and probability number `number`, made from one of the base pictures."""
    rng = np.random.default_rng([SEED, number])
    photo = base[int(rng.integers(len(base)))]
    image, mask = read_image(photo), read_mask(photo.parents[1] / f"masks/{photo.stem}.png")
    columns = slice(None, None, -1) if rng.random() < 0.5 else slice(None)
    shift, light = int(rng.integers(0, mask.shape[1] // 4)), rng.uniform(0.6, 1.4)
    window = slice(shift, mask.shape[1] - int(rng.integers(0, mask.shape[1] // 4)))
    image, mask = image[:, window][:, columns], mask[:, window][:, columns]
    size = (max(8, round(height * mask.shape[1] / mask.shape[0])), height)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    # The hashes that tell near-duplicates look at coarse light and dark: clouds make hardly any two photos alike.
    clouds = cv2.resize(rng.uniform(-60, 60, (9, 9)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    image = np.clip(image * light + clouds[..., None], 0, 255).astype(np.uint8)
    name = f"{number:06d}"
    write_image(out / "raw/images" / f"{name}.jpg", image, quality=92)
    write_image(out / "raw/masks" / f"{name}.png", np.where(mask, np.uint8(255), np.uint8(0)))
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), height / 80)
    half = cv2.resize(blurred, (size[0] // 2, size[1] // 2), interpolation=cv2.INTER_AREA)  # like the k-fold model's
    write_probability(out / "folds" / f"{name}.png", np.asarray(half, np.float32))


def make_photos(folder: Path, count: int, height: int, workers: int) -> None:
    """Write `count` photos and masks into `folder`/raw and probabilities into `folder`/folds."""
    base = folder / "base"
    generate(base, BASE, SEED, 0.35)
    for name in ("raw/images", "raw/masks", "folds"):
        (folder / name).mkdir(parents=True)
    stems = [f"{number:06d}" for number in range(count)]
    pictures = sorted((base / "images").iterdir())
    vary = partial(_vary, base=pictures, out=folder, height=height)
    for _ in parallel_map(vary, range(count), workers, "make photos"):
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


class ProcessorTime(threading.Thread):
    """Watches the processor time of this process with all below it, as time on the clock depends on what else runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.used: dict[int, float] = {}  # seconds, by process; those that have ended stay
        self.start()

    def look(self) -> float:
        """Seconds so far."""
        own = psutil.Process()
        for member in [own, *own.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = member.cpu_times()
                self.used[member.pid] = times.user + times.system
        return sum(self.used.values())

    def run(self) -> None:
        while True:
            self.look()
            time.sleep(WATCH_S)


def _watched(folder: Path, name: str, results: Any) -> None:
    memory, processor = PeakMemory(WATCH_S), ProcessorTime()
    before = processor.look()
    start = time.perf_counter()
    steps(folder)[name]()
    seconds = time.perf_counter() - start
    results.put({"seconds": seconds, "cpu_seconds": processor.look() - before, "peak_bytes": memory.bytes()})


def measure(count: int, height: int, root: Path | None) -> Iterator[dict[str, Any]]:
    """Run every step on `count` photos; a row for each."""
    context = multiprocessing.get_context("spawn")
    folder = Path(tempfile.mkdtemp(prefix="growth_", dir=root))
    try:
        make_photos(folder, count, height, load_params().convert.workers)
        for name in steps(folder):
            results = context.Queue()
            child = context.Process(target=_watched, args=(folder, name, results))
            child.start()
            child.join()
            if child.exitcode != 0:
                raise UserError(f"{name} failed at {count} photos; its messages are above")
            yield {"step": name, "photos": count, "height": height, **results.get()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def add_road(rows: list[dict[str, Any]]) -> None:
    """Add a row for all steps of a count together: the sum of times, the most memory that any step had."""
    rows[:] = [row for row in rows if row["step"] != ROAD]
    for count in sorted({row["photos"] for row in rows}):
        its = [row for row in rows if row["photos"] == count]
        whole = {name: sum(row[name] for row in its) for name in ("seconds", "cpu_seconds")}
        peak = max(row["peak_bytes"] for row in its)
        rows.append({**its[0], "step": ROAD, **whole, "peak_bytes": peak})


def compare(rows: list[dict[str, Any]]) -> None:
    """Add to each row what a photo costs, and how memory and that have grown since the smallest count."""
    first = {row["step"]: row for row in sorted(rows, key=lambda row: -row["photos"])}
    for row in rows:
        row["ms_per_photo"] = 1000 * row["seconds"] / row["photos"]
        row["cpu_ms_per_photo"] = 1000 * row["cpu_seconds"] / row["photos"]
    for row in rows:
        least = first[row["step"]]
        row["memory_growth"] = row["peak_bytes"] / least["peak_bytes"] - 1
        row["time_per_photo_growth"] = row["ms_per_photo"] / least["ms_per_photo"] - 1
        row["cpu_per_photo_growth"] = row["cpu_ms_per_photo"] / least["cpu_ms_per_photo"] - 1


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as docs/reliability.md tells them."""
    cells = [
        [
            row["step"],
            row["photos"],
            f"{row['ms_per_photo']:.1f}",
            f"{row['cpu_ms_per_photo']:.1f}",
            f"{row['peak_bytes'] / 1e6:.0f}",
            *(
                f"{row[f'{name}_growth']:+.0%}".replace("%", " %")
                for name in ("memory", "time_per_photo", "cpu_per_photo")
            ),
        ]
        for row in sorted(rows, key=lambda row: int(row["photos"]))
    ]
    costs = [
        "ms a photo",
        "processor ms a photo",
        "peak MB",
        "memory, growth",
        "time, growth",
        "processor time, growth",
    ]
    return markdown.table(["step", "photos", *costs], cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--height", type=int, default=48, help="of the photos, in px")
    parser.add_argument("--out", type=Path, default=Path("results/growth.json"))
    parser.add_argument("--folder", type=Path, help="where to put the photos while it runs; default: temporary")
    arguments = parser.parse_args()
    with one_line_errors():
        old = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else []
        rows = [row for row in old if row.get("height") == arguments.height]
        for count in sorted(set(arguments.counts)):
            if {row["step"] for row in rows if row["photos"] == count} >= set(steps(Path())):
                continue
            rows = [row for row in rows if row["photos"] != count]
            for row in measure(count, arguments.height, arguments.folder):
                rows.append(row)
                compare(rows)
                print(row, flush=True)
                write_json(arguments.out, rows)
        add_road(rows)
        compare(rows)
        write_json(arguments.out, rows)
    print(table(rows))


if __name__ == "__main__":
    main()
