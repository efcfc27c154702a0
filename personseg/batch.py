"""Photos in, files out: what `personseg predict` does."""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor
from tqdm import tqdm

from personseg import rle
from personseg.errors import UserError
from personseg.files import atomic_path, natural_key
from personseg.images import RGB, write_image, write_mask
from personseg.model_config import check_weights, read_config
from personseg.segmenter import Segmentation, Segmenter, read_photo, runtimes_here
from personseg.strips import strips

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
ENDINGS = {"mask": ".png", "cutout": ".png", "overlay": ".jpg", "json": ".json"}
OVERLAY = np.array([60, 190, 90], np.float32)
RLE_COLUMNS = ["image", "rle_mask"]


@dataclass(frozen=True)
class Job:
    """What to do: see `personseg predict --help`."""

    inputs: Sequence[str]
    out: Path
    kind: str
    background: str = ""
    matting: bool = False
    threshold: float | None = None
    zoom: bool = True
    recursive: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Item:
    """A photo or video, and its name in the output: relative to the folder it was found in, without suffix."""

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_photos(inputs: Sequence[str], recursive: bool) -> list[Item]:
    """Photos and videos of files, folders and patterns, in natural order; UserError if an input gives none."""
    items: dict[Path, Item] = {}
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            below = path.rglob("*") if recursive else path.iterdir()
            found = [p for p in below if p.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES]
            root = path
        elif path.exists():
            found, root = [path], path.parent
        else:
            found = [Path(p) for p in glob.glob(given, recursive=True) if Path(p).is_file()]  # noqa: PTH207 (absolute too)
            root = Path(given.split("*")[0].split("?")[0].split("[")[0] + "x").parent
        if not found:
            what = "no photos or videos in it; --recursive looks below it" if path.is_dir() else "no such file"
            raise UserError(f"{given}: {what}")
        for photo in found:
            name = photo.relative_to(root) if photo.is_relative_to(root) else Path(photo.name)
            items.setdefault(photo.resolve(), Item(photo, name.with_suffix("").as_posix()))
    ordered = sorted(items.values(), key=lambda item: natural_key(item.name))
    seen: dict[tuple[str, bool], Path] = {}
    for item in ordered:
        key = item.name, item.is_video
        if key in seen:
            raise UserError(f"{item.path} and {seen[key]} would be written to the same file; do them apart")
        seen[key] = item.path
    return ordered


def read_background(text: str) -> RGB | str | None:
    """Return None, "blur", or uint8 RGB pixels (1x1 for a colour); UserError if it is none of these."""
    if text in ("", "blur"):
        return text or None
    if Path(text).is_file():
        return read_photo(text)
    try:
        return np.array([[ImageColor.getrgb(text)[:3]]], np.uint8)
    except ValueError:
        raise UserError(f"--background {text!r}: neither a colour, nor a file, nor blur") from None


def overlay(image: RGB, found: Segmentation) -> RGB:
    """Tint the person green on a copy of the photo."""
    result = image.copy()
    for rows in strips(len(image)):
        pixels, mask = result[rows], found.mask[rows]
        pixels[mask] = (0.55 * pixels[mask] + 0.45 * OVERLAY).astype(np.uint8)
    return result


def drawn_mask(image: RGB, found: Segmentation) -> RGB:
    """Draw the person white on black."""
    return np.repeat(found.mask[..., None], 3, axis=2).astype(np.uint8) * 255


def facts(item: Item, found: Segmentation) -> dict[str, Any]:
    """What --as json says of a photo: size, share of person, box (left, top, right, bottom), run-length code."""
    rows, columns = np.flatnonzero(found.mask.any(axis=1)), np.flatnonzero(found.mask.any(axis=0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1] if len(rows) else None
    height, width = found.mask.shape
    return {
        "image": item.path.name,
        "height": height,
        "width": width,
        "person_share": float(found.mask.mean()),
        "box": box,
        "rle": rle.encode(found.mask),
    }


class Writer:
    """Writes one photo's result; an existing file is a photo done."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.background = read_background(job.background)
        self.ending = ".jpg" if job.kind == "cutout" and job.background else ENDINGS[job.kind]

    def path(self, item: Item) -> Path:
        return self.job.out / f"{item.name}{'.mp4' if item.is_video else self.ending}"

    def done(self, item: Item) -> bool:
        return self.path(item).is_file()

    def write(self, item: Item, image: RGB, found: Segmentation) -> None:
        path = self.path(item)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.job.kind == "mask":
            write_mask(path, found.mask)
        elif self.job.kind == "overlay":
            write_image(path, overlay(image, found))
        elif self.job.kind == "json":
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(facts(item, found), indent=2) + "\n", encoding="utf-8")
        else:
            self.write_cutout(path, image, found)

    def write_cutout(self, path: Path, image: RGB, found: Segmentation) -> None:
        from PIL import Image

        from personseg.cutouts import cut

        if self.background is not None:
            write_image(path, self.on_background(image, found))
            return
        rgba = cut(image, found.mask, self.job.matting)
        with atomic_path(path) as temporary:
            Image.fromarray(rgba).save(temporary, format="PNG", compress_level=3)

    def on_background(self, image: RGB, found: Segmentation) -> RGB:
        from personseg.cutouts import blurred, compose

        behind = blurred(image, found.mask) if isinstance(self.background, str) else self.background
        assert behind is not None
        return compose(image, found.mask, behind, self.job.matting)

    def write_video(self, item: Item, segmenter: Segmenter) -> None:
        """Write a video of masks, overlays, or people on another background."""
        from personseg.video import segment_video

        drawings = {"overlay": overlay, "cutout": self.on_background, "mask": drawn_mask}
        if self.job.kind not in drawings or (self.job.kind == "cutout" and self.background is None):
            raise UserError(f"{item.path}: of a video make --as mask, overlay, or cutout with --background")
        segment_video(segmenter, item.path, self.path(item), drawings[self.job.kind])

    def close(self) -> None:
        """Nothing is left to write."""


class RleWriter(Writer):
    """One CSV for all photos, the competition's submission file; written whole at the end."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.file = job.out if job.out.suffix.lower() == ".csv" else job.out / "submission.csv"
        self.rows: dict[str, str] = {}
        if self.file.is_file() and not job.overwrite:
            with self.file.open(encoding="utf-8", newline="") as stream:
                self.rows = {row["image"]: row["rle_mask"] for row in csv.DictReader(stream) if "rle_mask" in row}

    def path(self, item: Item) -> Path:
        return self.file

    def done(self, item: Item) -> bool:
        return item.name in self.rows

    def write(self, item: Item, image: RGB, found: Segmentation) -> None:
        self.rows[item.name] = rle.encode(found.mask)

    def close(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(RLE_COLUMNS)
            writer.writerows((name, self.rows[name]) for name in sorted(self.rows, key=natural_key))


def _read(item: Item) -> tuple[Item, RGB | str | None]:
    try:
        if item.is_video:
            return item, None
        return item, read_photo(item.path)
    except (UserError, OSError, MemoryError) as error:
        text = str(error) or "not enough memory"
        return item, text if text.startswith(str(item.path)) else f"{item.path}: {text}"


def read_ahead(items: Sequence[Item]) -> Iterator[tuple[Item, RGB | str | None]]:
    """Read each photo while the one before is worked on: pixels, what is wrong with the file, or None for a video."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for item in items:
            following = pool.submit(_read, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def run_job(job: Job, model: Path, runtime: str, threads: int | None) -> int:
    """Do the job with a progress bar; name what failed. Returns the exit code: 1 if a photo failed."""
    items = find_photos(job.inputs, job.recursive)
    if job.background and job.kind != "cutout":
        raise UserError("--background is for --as cutout")
    writer = RleWriter(job) if job.kind == "rle" else Writer(job)
    todo = [item for item in items if job.overwrite or not writer.done(item)]
    if skipped := len(items) - len(todo):
        print(f"{skipped} done before, skipped (--overwrite does them again)", file=sys.stderr)
    if not todo:
        return 0
    segmenter = Segmenter.load(model, runtime, threads)
    if job.threshold is not None:
        segmenter.threshold = job.threshold
    segmenter.zoom = job.zoom
    print(f"runtime: {segmenter.runtime_name}", file=sys.stderr)
    failures = []
    try:
        with tqdm(total=len(todo), unit="img", mininterval=0.5, disable=None) as bar:
            for item, image in read_ahead(todo):
                try:
                    if isinstance(image, str):
                        failures.append(image)
                    elif image is None:
                        writer.write_video(item, segmenter)
                    else:
                        writer.write(item, image, segmenter.predict(image))
                except UserError as error:
                    failures.append(str(error))
                except OSError as error:
                    # A full disk or a folder without permission stops every photo alike.
                    raise UserError(f"{error.filename or writer.path(item)}: {error.strerror or error}") from None
                bar.update()
    finally:
        writer.close()
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    print(f"{len(todo) - len(failures)} written to {job.out}, {len(failures)} failed", file=sys.stderr)
    return 1 if failures else 0


def describe_model(folder: Path) -> str:
    """Describe a saved model in lines: architecture, input, threshold, post-processing, runtimes here."""
    config = read_config(folder)
    check_weights(folder, config)
    kind = config.architecture
    lines = [
        f"model       {folder}: {kind.get('name')}, encoder {kind.get('encoder', '-')}",
        f"sha256      {config.sha256} (the weights match)",
        f"input       {config.input_size[0]}x{config.input_size[1]} (height x width)",
        f"threshold   {config.threshold}",
        f"objects     smaller than {config.postprocess.min_object} px dropped, holes smaller than "
        f"{config.postprocess.min_hole} px filled",
        "runtimes here:",
    ]
    for name, loaded in runtimes_here(folder):
        lines.append(f"  {name:18} {f'no: {loaded}' if isinstance(loaded, str) else f'yes, on {loaded.device}'}")
    return "\n".join(lines)
