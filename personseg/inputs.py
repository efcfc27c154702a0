"""Which photos and videos a user means."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from personseg.errors import UserError
from personseg.files import natural_key
from personseg.images import FORMATS
from personseg.segmenter import HEIC_SUFFIXES

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif"}
VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
# Photos that cannot be read are looked for too: left out without a word, they would be missed late.
KNOWN = SUFFIXES | VIDEO_SUFFIXES | HEIC_SUFFIXES


@dataclass(frozen=True)
class Item:
    """A photo or video, and its name in the output: relative to the folder it was found in, without suffix."""

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_photos(inputs: Sequence[str], recursive: bool, out: Path | None = None) -> list[Item]:
    """Photos and videos of files, folders and patterns, in natural order.

    What lies in `out`, a folder of results inside one that is searched, is left out, as are hidden files. UserError if
    an input gives nothing or two would be written to one file.
    """
    items: dict[Path, Item] = {}
    for photo, root in search(inputs, recursive, out):
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


def search(inputs: Sequence[str], recursive: bool, out: Path | None = None) -> Iterator[tuple[Path, Path]]:
    """Each photo or video that `inputs` mean, as it is found, and the folder its name is relative to.

    UserError if an input gives nothing.
    """
    for given in inputs:
        try:
            found, root = _search(given, recursive, out)
        except OSError as error:
            raise UserError(f"{given}: {error.strerror or error}") from None
        if not found:
            deeper = "; --recursive looks below it" if not recursive else ""
            what = f"no photos or videos in it{deeper}" if Path(given).is_dir() else "no such file"
            raise UserError(f"{given}: {what}")
        for photo in found:
            yield photo, root


def count_pixels(path: Path) -> int:
    """Pixels of a photo by its header, nothing decoded; 0 where it has none that can be read: reading it says why."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.width * image.height
    except Exception:
        return 0


def _search(given: str, recursive: bool, out: Path | None) -> tuple[list[Path], Path]:
    """Files that are meant, and the folder their names in the output are relative to."""
    path = Path(given)
    if path.is_dir():
        below = path.rglob("*") if recursive else path.iterdir()
        shown = (p for p in below if not any(part.startswith(".") for part in p.relative_to(path).parts))
        return [p for p in _without(shown, path, out) if p.suffix.lower() in KNOWN], path
    if path.exists():
        return [path], path.parent
    root = Path(given.split("*")[0].split("?")[0].split("[")[0] + "x").parent
    matched = _without(map(Path, glob.glob(given, recursive=True)), root, out)  # noqa: PTH207 (absolute too)
    # `photos/*` means the photos there; `*.raw` asks for these files by name.
    return [p for p in matched if p.suffix.lower() in KNOWN] or matched, root


def _without(paths: Iterable[Path], root: Path, out: Path | None) -> list[Path]:
    """Those of `paths` that are files, without results of a run before."""
    results = out.resolve() if out is not None and out.is_dir() else None
    if results is not None and root.resolve() not in results.parents:
        results = None  # in the same folder results and photos cannot be told apart
    return [p for p in paths if p.is_file() and (results is None or not p.resolve().is_relative_to(results))]
