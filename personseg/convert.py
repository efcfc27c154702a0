"""Supplied photos and masks to checked JPEG pairs and a manifest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from personseg.errors import UserError
from personseg.files import fresh_folder, natural_key, write_table
from personseg.images import encode_mask_jpeg, encode_rgb_jpeg, is_whole_jpeg, open_supplied, to_mask, to_rgb
from personseg.parallel import parallel_map
from personseg.tables import write_rows

ORIENTATION = 0x0112  # EXIF tag
MAX_STEM_BYTES = 220  # of the 255 that a file's name may have: the road adds prefixes, suffixes, and names in passing


@dataclass(frozen=True)
class Pair:
    """A photo and its mask, as supplied."""

    stem: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Converted:
    """A manifest row; sizes in px, hashes of the written JPEG files, `source` the photo's own file name."""

    stem: str
    width: int
    height: int
    image_sha256: str
    mask_sha256: str
    source: str


@dataclass(frozen=True)
class Rejected:
    """A file that takes no part, and why."""

    name: str
    reason: str


def name_fault(stem: str) -> str:
    """What is wrong with a file's name, or nothing."""
    length = len(stem.encode())
    return f"name is too long: {length} bytes, {MAX_STEM_BYTES} at most" if length > MAX_STEM_BYTES else ""


def find_pairs(raw: Path) -> tuple[list[tuple[str, str]], list[Rejected]]:
    """Match `raw`/images and `raw`/masks by stem, in natural order; what has no single partner, or a name the road
    has no room for, is rejected. Of a pair both file names are returned: paths would take ten times the memory."""
    files: dict[str, dict[str, str]] = {"images": {}, "masks": {}}  # names by stem
    rejected: list[Rejected] = []
    for kind in files:
        found = sorted(path.name for path in (raw / kind).iterdir())
        counts = Counter(Path(name).stem for name in found)
        for name in found:
            stem = Path(name).stem
            if counts[stem] > 1:
                rejected.append(Rejected(f"{kind}/{name}", f"{counts[stem]} files share this stem"))
            elif fault := name_fault(stem):
                rejected.append(Rejected(f"{kind}/{name}", fault))
            else:
                files[kind][stem] = name
    ambiguous = {Path(item.name).stem for item in rejected}
    photos, masks = files["images"], files["masks"]
    pairs = []
    for stem in sorted({**photos, **masks}, key=natural_key):
        if stem in photos and stem in masks:
            pairs.append((photos[stem], masks[stem]))
            continue
        kind = "images" if stem in photos else "masks"
        reason = "photo without a mask" if stem in photos else "mask without a photo"
        if stem in ambiguous:
            reason = "its partner's stem is not unique"
        rejected.append(Rejected(f"{kind}/{files[kind][stem]}", reason))
    return pairs, rejected


def jpeg_bytes(path: Path, image: Image.Image, quality: int) -> bytes:
    """The photo's own bytes where they already are a whole, upright RGB JPEG (no second loss), else encoded anew.

    ValueError if a side is longer than JPEG allows.
    """
    with Image.open(path) as original:
        upright = original.getexif().get(ORIENTATION, 1) == 1
        if original.format == "JPEG" and original.mode == "RGB" and upright and is_whole_jpeg(path.read_bytes()):
            return path.read_bytes()
    return encode_rgb_jpeg(to_rgb(image), quality)


def convert_pair(pair: Pair, out: Path, quality: int, max_pixels: int) -> Converted | Rejected:
    """Check and write one pair to `out`/{images,masks}/STEM.jpg."""
    try:
        name = f"images/{pair.image.name}"
        image = open_supplied(pair.image, max_pixels)
        name = f"masks/{pair.mask.name}"
        supplied_mask = open_supplied(pair.mask, max_pixels)
        if image.size != supplied_mask.size:
            sizes = "{}x{} for a photo of {}x{}".format(*supplied_mask.size, *image.size)
            return Rejected(name, f"mask is {sizes} px")
        mask_data = encode_mask_jpeg(to_mask(supplied_mask))
        name = f"images/{pair.image.name}"
        image_data = jpeg_bytes(pair.image, image, quality)
    except ValueError as error:
        return Rejected(name, str(error))
    (out / "images" / f"{pair.stem}.jpg").write_bytes(image_data)
    (out / "masks" / f"{pair.stem}.jpg").write_bytes(mask_data)
    image_hash, mask_hash = (hashlib.sha256(data).hexdigest() for data in (image_data, mask_data))
    return Converted(pair.stem, image.width, image.height, image_hash, mask_hash, pair.image.name)


def _convert_names(names: tuple[str, str], raw: Path, out: Path, quality: int, max_pixels: int) -> Converted | Rejected:
    photo, mask = raw / "images" / names[0], raw / "masks" / names[1]
    return convert_pair(Pair(photo.stem, photo, mask), out, quality, max_pixels)


def convert(raw: Path, out: Path, quality: int, max_pixels: int, max_reject_fraction: float, workers: int) -> None:
    """Convert all pairs of `raw` into `out`/{images,masks}/STEM.jpg, manifest.csv and rejected.csv.

    A mask read back from its JPEG is pixel for pixel the one that went in. UserError when no pair is
    left, or when more than `max_reject_fraction` of the files' stems were rejected.
    """
    pairs, rejected = find_pairs(raw)
    with fresh_folder(out) as temporary:
        for name in ("images", "masks"):
            (temporary / name).mkdir()
        work = partial(_convert_names, raw=raw, out=temporary, quality=quality, max_pixels=max_pixels)
        before = len(rejected)

        def converted() -> Iterator[dict[str, Any]]:
            for result in parallel_map(work, pairs, workers, "convert"):
                if isinstance(result, Rejected):
                    rejected.append(result)
                else:
                    yield asdict(result)

        write_rows(temporary / "manifest.csv", converted())
        kept = len(pairs) - (len(rejected) - before)
        rejects = pd.DataFrame([asdict(item) for item in rejected], columns=["name", "reason"])
        if rejected:
            print(f"convert: {kept} pairs, {len(rejected)} files rejected")
        _refuse_too_many(rejects, kept, max_reject_fraction)
        write_table(temporary / "rejected.csv", rejects)


def _refuse_too_many(rejects: pd.DataFrame, kept: int, limit: float) -> None:
    fraction = len(rejects) / max(1, kept + len(rejects))
    if kept and fraction <= limit:
        return
    log = Path("logs/rejected.csv")
    write_table(log, rejects)
    examples = "; ".join(f"{name}: {reason}" for name, reason in rejects.head(2).itertuples(index=False))
    raise UserError(
        f"convert: {len(rejects)} of {kept + len(rejects)} rejected ({examples}); all are listed in {log};"
        f" mend them or raise convert.max_reject_fraction ({limit:g})"
    )
