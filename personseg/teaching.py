"""Soft masks of a teacher, for photos with and without masks of their own.

Knowledge distillation (Hinton et al. 2015) on the labelled photos, pseudo-labels (Lee 2013) on the others. Photos
whose masks were left out for being bad are among these others: the photo is as good as any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd

from personseg.convert import jpeg_bytes, name_fault
from personseg.duplicates import duplicate_groups
from personseg.files import fresh_folder, natural_key, read_table, write_table
from personseg.images import open_supplied, read_image
from personseg.mediapipe import MediaPipe
from personseg.parallel import parallel_map
from personseg.probability import write_probability

if TYPE_CHECKING:
    from torch import nn

    from personseg.model_config import ModelConfig

PREFIX = "unlabelled_"  # of stems, as a photo with a mask may have the same name
LEFT_OUT = "left_out_"  # of stems of photos whose masks were left out
COLUMNS = ["stem", "labelled", "kept", "reason"]


def _convert(photo: tuple[str, Path], out: Path, quality: int, max_pixels: int) -> str:
    """Write one photo (its new stem, its path) to `out`/STEM.jpg; return why not, or nothing."""
    stem, path = photo
    if fault := name_fault(path.stem):
        return fault
    try:
        data = jpeg_bytes(path, open_supplied(path, max_pixels), quality)
    except ValueError as error:
        return str(error)
    (out / f"{stem}.jpg").write_bytes(data)
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


def photos_without_masks(raw: Path, jpg: Path, manifest: Path) -> dict[str, Path]:
    """Photos that have no mask, or none good enough, by the stem they get.

    Those in `raw`, a folder that need not exist, and those of `jpg`/images whose masks `manifest` says were not kept.
    """
    supplied = sorted(raw.iterdir(), key=lambda path: natural_key(path.name)) if raw.is_dir() else []
    table = read_table(manifest)
    left_out = table.loc[table["kept"] == 0, "stem"]
    return {
        **{f"{PREFIX}{path.stem}": path for path in supplied},
        **{f"{LEFT_OUT}{stem}": jpg / "images" / f"{stem}.jpg" for stem in left_out},
    }


def collect(
    photos: Mapping[str, Path],
    clean: Path,
    held_out: Sequence[str],
    out: Path,
    quality: int,
    max_pixels: int,
    distance: int,
    workers: int,
) -> list[tuple[str, int, str]]:
    """Convert `photos` to `out`/STEM.jpg, unless they resemble one of `held_out` in `clean`.

    Returns (stem, kept 0 or 1, reason) of each.
    """
    work = partial(_convert, out=out, quality=quality, max_pixels=max_pixels)
    reasons = dict(zip(photos, parallel_map(work, list(photos.items()), workers, "convert"), strict=True))
    readable = [out / f"{stem}.jpg" for stem, reason in reasons.items() if not reason]
    held_out_photos = [clean / f"{stem}.jpg" for stem in held_out]
    for path in set(readable) - set(without_near_duplicates(readable, held_out_photos, distance, workers)):
        reasons[path.stem] = "resembles a photo of val or test"
        path.unlink()
    return [(stem, int(not reason), reason) for stem, reason in reasons.items()]


def teach(
    teacher: tuple[nn.Module, ModelConfig] | None,
    stems: Mapping[str, Sequence[str]],
    clean: Path,
    photos: Mapping[str, Path],
    out: Path,
    quality: int,
    max_pixels: int,
    distance: int,
    workers: int,
    second: MediaPipe | None = None,
    second_share: float = 0.0,
) -> None:
    """Write the teacher's soft masks of the train split of `clean` and of `photos` (by stem) into `out`.

    `teacher` is a network and its configuration; `second_share` of each soft mask is the opinion of `second`, if there
    is one. `out` gets soft/STEM.png, images/STEM.jpg (of photos without masks), photos.csv (stem, labelled, kept,
    reason) and the teacher itself, model/; without a teacher only an empty photos.csv.
    """
    with fresh_folder(out) as temporary:
        (temporary / "images").mkdir()
        (temporary / "soft").mkdir()
        rows: list[tuple[str, int, int, str]] = []
        if teacher is not None:
            from personseg.model import save_model  # PyTorch takes seconds
            from personseg.prediction import predict_photos

            network, config = teacher
            save_model(temporary / "model", network, config)
            held_out = [*stems["val"], *stems["test"]]
            unlabelled = collect(
                photos, clean / "images", held_out, temporary / "images", quality, max_pixels, distance, workers
            )
            rows = [(stem, 1, 1, "") for stem in stems["train"]]
            rows += [(stem, 0, kept, reason) for stem, kept, reason in unlabelled]
            kept_stems = [stem for stem, kept, _ in unlabelled if kept]
            for images, members in ((clean / "images", stems["train"]), (temporary / "images", kept_stems)):
                predicted = predict_photos(network, images, members, config.input_size, "teach")
                for stem, probability, placement in predicted:
                    soft = placement.inner(probability)
                    if second is not None:
                        other = second.both_ways(read_image(images / f"{stem}.jpg"))
                        small = cv2.resize(other, soft.shape[::-1], interpolation=cv2.INTER_AREA)
                        soft = np.asarray((1 - second_share) * soft + second_share * small, dtype=np.float32)
                    write_probability(temporary / "soft" / f"{stem}.png", soft)
        write_table(temporary / "photos.csv", pd.DataFrame(rows, columns=COLUMNS))
