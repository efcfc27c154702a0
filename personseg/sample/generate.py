"""Write a set: photos, masks as labelled, exact masks, and a table of what was planted."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from personseg.errors import UserError
from personseg.files import fresh_folder, write_table
from personseg.images import write_image, write_mask
from personseg.parallel import parallel_map
from personseg.sample.defects import COLUMNS, plant
from personseg.sample.photo import draw_pair


def _write_pair(
    index: int, folder: Path, seed: int, defect_fraction: float, size: tuple[int, int]
) -> list[tuple[Any, ...]]:
    rng = np.random.default_rng([seed, index])
    stem = f"{index + 1:04d}"
    image, truth, hair = draw_pair(rng, size)
    mask, rows = plant(rng, truth, hair, defect_fraction)
    write_image(folder / "images" / f"{stem}.jpg", image, quality=92)
    write_mask(folder / "masks" / f"{stem}.png", mask)
    write_mask(folder / "truth" / f"{stem}.png", truth)
    return [(stem, *row) for row in rows]


def generate(
    folder: Path,
    count: int,
    seed: int,
    defect_fraction: float = 0.35,
    size: tuple[int, int] = (320, 240),
    workers: int = 2,
) -> None:
    """Write `count` pairs of `size` (height, width) px into `folder`, replacing a set generated before.

    images/STEM.jpg, masks/STEM.png (0/255, about `defect_fraction` of them with planted defects),
    truth/STEM.png (the exact mask) and truth/truth.csv; stems 0001, 0002, ... A pair depends on `seed`
    and its number alone, not on `count` or `workers`.

    truth.csv has a row per planted defect, none for a clean mask: stem; defect (hair_gap, spots, holes,
    extra_background); size_px, its area; x, y, the mean of its pixels' columns and rows; and for hair_gap
    gap_px and contour_px, the rim's width and length (see `rim_size`), else empty. Each row is exactly one
    8-connected component of mask XOR truth.
    """
    folder = Path(folder)
    parts = ("images", "masks", "truth")
    if folder.is_file() or (folder.is_dir() and any(path.name not in parts for path in folder.iterdir())):
        raise UserError(f"{folder}: holds something other than a generated set; choose a new or empty folder")
    with fresh_folder(folder) as new:
        for name in parts:
            (new / name).mkdir()
        write = partial(_write_pair, folder=new, seed=seed, defect_fraction=defect_fraction, size=size)
        found = list(parallel_map(write, range(count), workers, "sample"))
        table = pd.DataFrame([row for rows in found for row in rows], columns=COLUMNS)
        write_table(new / "truth" / "truth.csv", table)
