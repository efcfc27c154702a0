"""Soft masks of a finished model, the teacher, for photos with and without masks of their own.

Knowledge distillation (Hinton et al. 2015) on the labelled photos, pseudo-labels (Lee 2013) on the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from personseg.convert import jpeg_bytes
from personseg.duplicates import duplicate_groups
from personseg.files import fresh_folder, natural_key, write_table
from personseg.images import open_supplied
from personseg.parallel import parallel_map
from personseg.probability import write_probability

PREFIX = "unlabelled_"  # of stems, as a photo with a mask may have the same name
COLUMNS = ["stem", "labelled", "kept", "reason"]


def _convert(path: Path, out: Path, quality: int, max_pixels: int) -> str:
    """Write one photo to `out`/unlabelled_STEM.jpg; return why not, or nothing."""
    try:
        data = jpeg_bytes(path, open_supplied(path, max_pixels), quality)
    except ValueError as error:
        return str(error)
    (out / f"{PREFIX}{path.stem}.jpg").write_bytes(data)
    return ""


def without_near_duplicates(
    photos: Sequence[Path], held_out: Sequence[Path], distance: int, workers: int
) -> list[Path]:
    """Those of `photos` that resemble none of `held_out`, directly or through others."""
    both = [*held_out, *photos]
    seen: set[int] = set()
    for members in duplicate_groups(both, distance, workers):
        if members[0] < len(held_out):  # in ascending order
            seen |= set(members)
    return [photo for index, photo in enumerate(both) if index >= len(held_out) and index not in seen]


def collect(
    raw: Path,
    clean: Path,
    held_out: Sequence[str],
    out: Path,
    quality: int,
    max_pixels: int,
    distance: int,
    workers: int,
) -> list[tuple[str, int, str]]:
    """Convert the photos in `raw` to `out`/unlabelled_STEM.jpg, unless they resemble one of `held_out` in `clean`.

    Returns (stem, kept 0 or 1, reason) of each. There may be no folder `raw`.
    """
    paths = sorted(raw.iterdir(), key=lambda path: natural_key(path.name)) if raw.is_dir() else []
    unique = {path.stem: path for path in paths}
    reasons = dict.fromkeys((f"{PREFIX}{stem}" for stem in unique), "")
    work = partial(_convert, out=out, quality=quality, max_pixels=max_pixels)
    for stem, reason in zip(unique, parallel_map(work, list(unique.values()), workers, "convert"), strict=True):
        reasons[f"{PREFIX}{stem}"] = reason
    readable = [out / f"{stem}.jpg" for stem, reason in reasons.items() if not reason]
    photos = [clean / f"{stem}.jpg" for stem in held_out]
    for path in set(readable) - set(without_near_duplicates(readable, photos, distance, workers)):
        reasons[path.stem] = "resembles a photo of val or test"
        path.unlink()
    return [(stem, int(not reason), reason) for stem, reason in reasons.items()]


def teach(
    model: str | None,
    stems: Mapping[str, Sequence[str]],
    clean: Path,
    raw: Path,
    out: Path,
    quality: int,
    max_pixels: int,
    distance: int,
    workers: int,
) -> None:
    """Write the teacher's soft masks of the train split of `clean` and of the photos in `raw` into `out`.

    `out` gets soft/STEM.png, images/STEM.jpg (of photos without masks) and photos.csv (stem, labelled, kept,
    reason); without a teacher only an empty photos.csv.
    """
    with fresh_folder(out) as temporary:
        (temporary / "images").mkdir()
        (temporary / "soft").mkdir()
        rows: list[tuple[str, int, int, str]] = []
        if model is not None:
            from personseg.model import load_model
            from personseg.prediction import predict_photos

            held_out = [*stems["val"], *stems["test"]]
            unlabelled = collect(
                raw, clean / "images", held_out, temporary / "images", quality, max_pixels, distance, workers
            )
            rows = [(stem, 1, 1, "") for stem in stems["train"]]
            rows += [(stem, 0, kept, reason) for stem, kept, reason in unlabelled]
            network, config = load_model(model)
            kept_stems = [stem for stem, kept, _ in unlabelled if kept]
            for images, members in ((clean / "images", stems["train"]), (temporary / "images", kept_stems)):
                for stem, probability, placement in predict_photos(
                    network, images, members, config.input_size, "teach"
                ):
                    write_probability(temporary / "soft" / f"{stem}.png", placement.inner(probability))
        write_table(temporary / "photos.csv", pd.DataFrame(rows, columns=COLUMNS))
