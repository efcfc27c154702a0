"""Photos a second of a whole folder, JPEG in and PNG mask out, against PyTorch one by one; and where the time goes.

    python -m benchmarks.folder PHOTOS [--limit N] [--one-by-one N] [--runtime auto] [--model models/person]
        [--out results/picsart/folder.json]

The folder is done as `personseg predict PHOTOS -o masks` does it, loading of the network included. One by one means:
`Segmenter.predict` on PyTorch fp32, then the mask is written, then the next photo, on the first photos of the folder;
half of them before the folder and half after it, so that a drift of the machine hits both alike. Then the quickest
runtime does the same one by one, once more with a watch on each part: `outside_network` is the share of the time from
file to mask (encoding aside) that is not the network's. Every figure comes from a process of its own; masks of the
folder are compared with those one by one, pixel by pixel. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np

from benchmarks.gpu_check import in_own_process
from personseg import batch, segmenter
from personseg.batch import Folder
from personseg.benchmark import REFERENCE, drift
from personseg.environment import cpu_model, usable_cores
from personseg.errors import UserError, one_line_errors
from personseg.files import write_json
from personseg.images import read_mask, write_mask
from personseg.inputs import Item, find_photos
from personseg.memory import keep_freed_memory
from personseg.segmenter import Segmenter
from personseg.writers import Job, Writer

T = TypeVar("T")
GOALS = {"ratio": 12.0, "outside_network": 0.30}
PARTS = ("decode", "prepare", "network", "finish", "encode")


def whole_folder(photos: Sequence[Item], out: Path, model: Path, runtime: str, threads: int) -> dict[str, Any]:
    """Do all photos as `personseg predict` does; seconds with and without loading. UserError if one cannot be done."""
    start = time.perf_counter()
    folder = Folder(Writer(Job([], out, "mask"), photos), model, runtime, threads, len(photos))
    loaded = time.perf_counter()
    failures = [failure for failure in folder.run(photos) if failure is not None]
    end = time.perf_counter()
    if failures:
        raise UserError(f"{failures[0]} ({len(failures)} of {len(photos)} failed); take it out of the folder")
    return {
        "runtime": folder.segmenter.runtime_name,
        "streams": folder.streams,
        "photos": len(photos),
        "seconds": end - start,
        "load_s": loaded - start,
        "images_per_s": len(photos) / (end - start),
    }


def one_by_one(photos: Sequence[Item], out: Path, model: Path, runtime: str, threads: int) -> list[float]:
    """Seconds of each photo, file to written mask, after the first one has warmed up; freed memory is kept."""
    keep_freed_memory()
    network = Segmenter.load(model, runtime, threads)
    network.predict(photos[0].path)
    seconds = []
    for item in photos:
        start = time.perf_counter()
        write_mask(out / f"{item.name}.png", network.predict(item.path).mask)
        seconds.append(time.perf_counter() - start)
    return seconds


class Watch:
    """Adds up the seconds spent in functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def on(self, part: str, function: Callable[..., T]) -> Callable[..., T]:
        """`function`, its time added to `part`."""

        def timed(*arguments: Any, **options: Any) -> T:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[part] += time.perf_counter() - start

        return timed

    @contextlib.contextmanager
    def watching(self, network: Segmenter) -> Iterator[None]:
        """Watch the parts of the folder command's road from file to file."""
        with (
            patch.object(batch, "read_photo", self.on("decode", batch.read_photo)),
            patch.object(segmenter, "letterbox", self.on("prepare", segmenter.letterbox)),
            patch.object(network.runtime, "infer", self.on("network", network.runtime.infer)),
            patch.object(segmenter, "expit", self.on("finish", segmenter.expit)),
            patch.object(segmenter, "finish", self.on("finish", segmenter.finish)),
            patch.object(Writer, "write", self.on("write", Writer.write)),
        ):
            yield


def profile(photos: Sequence[Item], out: Path, model: Path, runtime: str, threads: int) -> dict[str, Any]:
    """Mean milliseconds a photo of each part, one photo at a time (batch 1), and of what lies between them."""
    folder = Folder(Writer(Job([], out, "mask"), photos), model, runtime, threads, 1)
    folder.photo(photos[0])
    watch = Watch()
    with watch.watching(folder.segmenter):
        start = time.perf_counter()
        for item in photos:
            folder.photo(item)
        total = time.perf_counter() - start
    # `write` has no other part in it: the mask is there before it begins.
    watch.seconds["encode"] = watch.seconds.pop("write")
    milliseconds = {part: 1e3 * watch.seconds[part] / len(photos) for part in PARTS}
    everything = 1e3 * total / len(photos)
    to_mask = everything - milliseconds["encode"]
    return {
        "runtime": folder.segmenter.runtime_name,
        "photos": len(photos),
        "ms": {**milliseconds, "between": everything - sum(milliseconds.values()), "in_all": everything},
        "outside_network": 1 - milliseconds["network"] / to_mask,
    }


def differing(first: Path, second: Path, photos: Sequence[Item]) -> int:
    """Number of pixels in which masks written to two folders differ."""
    pairs = ((read_mask(folder / f"{item.name}.png") for folder in (first, second)) for item in photos)
    return sum(int(np.count_nonzero(a != b)) for a, b in pairs)


def measure(photos: Sequence[Item], subset: int, model: Path, runtime: str, threads: int) -> dict[str, Any]:
    """All figures; `subset` photos are done one by one."""
    some = list(photos[: max(2, min(subset, len(photos)))])
    halves = some[: len(some) // 2], some[len(some) // 2 :]
    with tempfile.TemporaryDirectory() as place:
        out, alone = Path(place) / "folder", Path(place) / "alone"
        before = in_own_process(one_by_one, halves[0], Path(place) / "torch", model, REFERENCE, threads)
        found = in_own_process(whole_folder, photos, out, model, runtime, threads)
        after = in_own_process(one_by_one, halves[1], Path(place) / "torch", model, REFERENCE, threads)
        quickest = found["runtime"]
        again = in_own_process(one_by_one, some, alone, model, quickest, threads)
        parts = in_own_process(profile, some, Path(place) / "profile", model, quickest, threads)
        pixels = differing(out, alone, some)
    reference = len(some) / (sum(before) + sum(after))
    warning = drift(sum(before) / len(before), sum(after) / len(after))
    return {
        **found,
        "one_by_one": {
            "runtime": REFERENCE,
            "photos": len(some),
            "images_per_s": reference,
            "before_images_per_s": len(before) / sum(before),
            "after_images_per_s": len(after) / sum(after),
            **({"warning": warning} if warning else {}),
        },
        "ratio": found["images_per_s"] / reference,
        "same_runtime_one_by_one": {"images_per_s": len(again) / sum(again), "pixels_that_differ": pixels},
        "profile": parts,
        "outside_network": parts["outside_network"],
        "goals": GOALS,
        "threads": threads,
        "cpu": cpu_model(),
    }


def table(found: dict[str, Any]) -> str:
    """The figures as text."""
    alone, same, parts = found["one_by_one"], found["same_runtime_one_by_one"], found["profile"]
    return "\n".join(
        [
            f"{found['runtime']}, {found['streams']} at once: {found['photos']} photos in {found['seconds']:.1f} s,"
            f" {found['images_per_s']:.1f} a second",
            f"{alone['runtime']}, one by one ({alone['photos']} photos): {alone['images_per_s']:.1f} a second"
            + (f"; {alone['warning']}" if "warning" in alone else ""),
            f"{found['runtime']}, one by one: {same['images_per_s']:.1f} a second;"
            f" {same['pixels_that_differ']} pixels differ from the folder's",
            "ms a photo, one by one: " + ", ".join(f"{part} {value:.2f}" for part, value in parts["ms"].items()),
            f"ratio {found['ratio']:.1f}, goal {GOALS['ratio']:.0f}: "
            + ("reached" if found["ratio"] >= GOALS["ratio"] else "MISSED"),
            f"outside the network {found['outside_network']:.0%}, goal {GOALS['outside_network']:.0%}: "
            + ("reached" if found["outside_network"] <= GOALS["outside_network"] else "MISSED"),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--limit", type=int, help="take the first N photos only")
    parser.add_argument("--one-by-one", type=int, default=200, help="photos of the one-by-one rows (default 200)")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--model", type=Path, default=Path("models/person"))
    parser.add_argument("--out", type=Path, default=Path("results/picsart/folder.json"))
    arguments = parser.parse_args()
    with one_line_errors():
        photos = [item for item in find_photos([str(arguments.photos)], False) if not item.is_video][: arguments.limit]
        if len(photos) < 2:
            raise UserError(f"{arguments.photos}: fewer than two photos")
        found = measure(photos, arguments.one_by_one, arguments.model, arguments.runtime, arguments.threads)
        write_json(arguments.out, found)
    print(table(found))


if __name__ == "__main__":
    main()
