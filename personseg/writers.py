"""What becomes of a photo: a mask, cutout, overlay, JSON or run-length code, each file whole or absent."""

from __future__ import annotations

import csv
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from personseg import rle
from personseg.errors import UserError
from personseg.files import atomic_path, natural_key, read_json, write_json
from personseg.images import MAX_JPEG_SIDE, RGB, write_image, write_mask
from personseg.inputs import SUFFIXES, VIDEO_SUFFIXES, Item
from personseg.segmenter import Segmentation, Segmenter, read_background
from personseg.strips import strips

# Of each kind, the usual one first; the others for a file that the user names.
ENDINGS = {"mask": (".png", ".jpg"), "cutout": (".png",), "overlay": (".jpg", ".png"), "json": (".json",)}
OPAQUE = (".jpg", ".png")  # of a cutout on a background
VIDEO_ENDING = ".mp4"
OVERLAY = np.array([60, 190, 90], np.float32)
RLE_COLUMNS = ["image", "rle_mask"]
RECORD = ".personseg.json"  # in a folder of results: how those of each ending were made
SAVE_EVERY = 30  # seconds of codes that a kill may cost


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
    """Writes one photo's result into the folder `job.out`, or, of a single photo, to the file of that name.

    An existing file is a photo done, but for a file the user names: that is written anew, as by any other command.
    """

    def __init__(self, job: Job, items: Sequence[Item]) -> None:
        self.job = job
        try:
            self.background = read_background(job.background) if job.background else None
        except UserError as error:
            raise UserError(f"--background {error}") from None
        self.endings = OPAQUE if job.kind == "cutout" and job.background else ENDINGS[job.kind]
        self.file = self._named(items)
        self._spare_the_photos(items)

    def _named(self, items: Sequence[Item]) -> Path | None:
        out = self.job.out
        if out.suffix.lower() == ".csv" and not out.is_dir():
            raise UserError(f"{out}: .csv is written by --as rle; give a folder, or the name of a picture")
        if out.suffix.lower() not in SUFFIXES | VIDEO_SUFFIXES | {".json"} or out.is_dir():
            return None
        if len(items) > 1:
            raise UserError(f"{out} is the name of one file, but there are {len(items)} photos; give a folder")
        endings = (VIDEO_ENDING,) if items[0].is_video else self.endings
        if out.suffix not in endings:
            what = "a video" if items[0].is_video else f"--as {self.job.kind}"
            hint = ", with --background also .jpg" if self.job.kind == "cutout" and not self.job.background else ""
            raise UserError(f"{out}: {what} is written as {' or '.join(endings)}{hint}")
        return out

    def _spare_the_photos(self, items: Sequence[Item]) -> None:
        photos = {item.path.resolve() for item in items}
        for item in items:
            if (path := self.path(item)).resolve() in photos:
                raise UserError(f"{path} is a photo and would be replaced by a result; give another folder with --out")

    def path(self, item: Item) -> Path:
        ending = VIDEO_ENDING if item.is_video else self.endings[0]
        return self.file or self.job.out / f"{item.name}{ending}"

    def done(self, item: Item) -> bool:
        return self.file is None and self.path(item).is_file()

    @property
    def record(self) -> tuple[Path, str]:
        """The file that says how the results were made, and their key in it."""
        return self.job.out / RECORD, self.endings[0]

    def begin(self, items: Sequence[Item], model_sha256: str, runtime: str) -> list[Item]:
        """Return what is left to do of `items`, and note how it will be done.

        UserError if some are done with another model or other options: skipped, they would pass for these.
        """
        todo = [item for item in items if self.job.overwrite or not self.done(item)]
        if self.file is not None:
            return todo
        path, key = self.record
        made = {name: getattr(self.job, name) for name in ("kind", "background", "matting", "threshold", "zoom")}
        made |= {"runtime": runtime, "model": model_sha256}
        known = read_json(path) if path.is_file() else {}
        before = known.get(key, made) if isinstance(known, dict) else made
        if len(todo) < len(items) and before != made:
            other = [name for name in made if not isinstance(before, dict) or before.get(name) != made[name]]
            what = ", ".join({"kind": "--as", "model": "model"}.get(name, f"--{name}") for name in other)
            raise UserError(
                f"{self.job.out} holds results made with another {what}; "
                "give another folder, or --overwrite to make them anew"
            )
        if todo:
            write_json(path, {**(known if isinstance(known, dict) else {}), key: made})
        return todo

    def write(self, item: Item, image: RGB, found: Segmentation) -> None:
        path = self.path(item)
        if path.suffix == ".jpg" and max(image.shape[:2]) > MAX_JPEG_SIDE:
            raise UserError(f"{item.path}: a JPEG has at most {MAX_JPEG_SIDE} px a side; name a .png file with --out")
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.job.kind == "mask":
            write_mask(path, found.mask)
        elif self.job.kind == "overlay":
            write_image(path, overlay(image, found))
        elif self.job.kind == "json":
            write_json(path, facts(item, found))
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
        from personseg.cutouts import compose

        assert self.background is not None
        return compose(image, found.mask, self.background, self.job.matting)

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
    """One CSV for all photos, the competition's submission file; replaced as a whole now and then, and at the end."""

    def __init__(self, job: Job, items: Sequence[Item]) -> None:
        self.job = job
        if job.out.suffix.lower() in SUFFIXES | {".json"} and not job.out.is_dir():
            raise UserError(f"{job.out}: --as rle is written as .csv")
        self.csv = job.out if job.out.suffix.lower() == ".csv" else job.out / "submission.csv"
        self.file = None
        self.rows = {} if job.overwrite or not self.csv.is_file() else self._read()
        self.saved = time.monotonic()
        self.unsaved = 0
        self.lock = threading.RLock()  # photos are written by several threads

    def _read(self) -> dict[str, str]:
        csv.field_size_limit(sys.maxsize)  # a large photo's code is longer than the 128 KB allowed by default
        try:
            with self.csv.open(encoding="utf-8", newline="") as stream:
                reader = csv.reader(stream)
                if next(reader, RLE_COLUMNS) == RLE_COLUMNS:
                    return {name: code for name, code in reader}  # noqa: C416 (refuses rows of another length)
        except (ValueError, csv.Error):
            pass
        raise UserError(
            f"{self.csv}: not a submission file (columns {', '.join(RLE_COLUMNS)}); "
            "give another name, or --overwrite to replace it"
        )

    @property
    def record(self) -> tuple[Path, str]:
        return self.csv.parent / RECORD, self.csv.name

    def path(self, item: Item) -> Path:
        return self.csv

    def done(self, item: Item) -> bool:
        return item.name in self.rows

    def write(self, item: Item, image: RGB, found: Segmentation) -> None:
        code = rle.encode(found.mask)
        with self.lock:
            self.rows[item.name] = code
            self.unsaved += 1
            if time.monotonic() - self.saved > SAVE_EVERY:
                self.close()

    def close(self) -> None:
        with self.lock:
            if self.unsaved:
                self._save()

    def _save(self) -> None:
        with atomic_path(self.csv) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(RLE_COLUMNS)
            writer.writerows((name, self.rows[name]) for name in sorted(self.rows, key=natural_key))
        self.saved, self.unsaved = time.monotonic(), 0
