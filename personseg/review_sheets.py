"""Sheets for judging masks by eye: photo with the mask's contour beside the person on a flat colour, whole and
the upper part enlarged.

    python -m personseg.review_sheets OUT [--data data/jpg] [--scores data/audit/scores.csv] [--per-sheet 2]

Worst scores first; neither score nor suggestion is drawn, so the look is the viewer's own. OUT gets
sheet_0001.png ... and sheets.csv, which tells the stems of each sheet from top to bottom.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from personseg.defects import largest_component
from personseg.errors import one_line_errors
from personseg.files import fresh_folder, read_table, write_table
from personseg.images import RGB, Mask, read_image, read_mask, write_image
from personseg.sheets import INK, PAPER, PHOTO_HEIGHT, PHOTO_WIDTH, draw_contour, enlarged

BOX = (PHOTO_HEIGHT, PHOTO_WIDTH)
CAPTION, MARGIN = 20, 4
HEAD, MARGIN_SHARE = 0.53, 0.04  # of the frame's height
BACKDROP = (255, 0, 255)


def panels(image: RGB, mask: Mask) -> RGB:
    """Draw the photo with the mask's contour, and beside it what the mask keeps, on magenta."""
    scale = min(BOX[0] / mask.shape[0], BOX[1] / mask.shape[1])
    photo, large = enlarged(image, mask, scale)
    cutout = np.where(large[..., None], photo, np.array(BACKDROP, np.uint8))
    draw_contour(photo, large)
    tile = np.full((BOX[0], 2 * BOX[1] + MARGIN, 3), PAPER, np.uint8)
    for left, panel in ((0, photo), (BOX[1] + MARGIN, cutout)):
        tile[: panel.shape[0], left : left + panel.shape[1]] = panel
    return tile


def upper_part(mask: Mask) -> tuple[slice, slice]:
    """Window of the upper part of the largest component, where hair is: HEAD of the frame's height, with a margin."""
    main = largest_component(mask)
    if not main.any():
        return slice(None), slice(None)
    margin = round(MARGIN_SHARE * mask.shape[0])
    top = max(0, int(np.flatnonzero(main.any(axis=1))[0]) - margin)
    bottom = min(mask.shape[0], top + round(HEAD * mask.shape[0]))
    columns = np.flatnonzero(main[top:bottom].any(axis=0))
    return slice(top, bottom), slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1)


def captioned(tile: RGB, text: str) -> RGB:
    """Put a line of text above a tile."""
    strip = Image.new("RGB", (tile.shape[1], CAPTION), PAPER)
    ImageDraw.Draw(strip).text((MARGIN, 0), text, fill=INK, font=ImageFont.load_default(16))
    return np.vstack([np.asarray(strip), tile])


def write_review_sheets(data: Path, stems: list[str], out: Path, per_sheet: int) -> None:
    """Draw the masks `data`/masks/STEM.jpg over `data`/images/STEM.jpg, `per_sheet` below each other."""
    rows = []
    with fresh_folder(out) as folder:
        for number, start in enumerate(tqdm(range(0, len(stems), per_sheet), desc="sheets", unit="sheet"), start=1):
            tiles = []
            for stem in stems[start : start + per_sheet]:
                image, mask = read_image(data / "images" / f"{stem}.jpg"), read_mask(data / "masks" / f"{stem}.jpg")
                head = upper_part(mask)
                strip = np.full((BOX[0], MARGIN, 3), PAPER, np.uint8)
                tile = np.hstack([panels(image, mask), strip, panels(image[head], mask[head])])
                tiles.append(captioned(tile, stem))
                rows.append({"sheet": f"sheet_{number:04d}.png", "stem": stem})
            write_image(folder / f"sheet_{number:04d}.png", np.vstack(tiles))
        write_table(folder / "sheets.csv", pd.DataFrame(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/jpg"))
    parser.add_argument("--scores", type=Path, default=Path("data/audit/scores.csv"))
    parser.add_argument("--per-sheet", type=int, default=2)
    parser.add_argument("--fraction", type=float, default=1.0, help="a random share of the masks, for a second look")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with one_line_errors():
        scores = read_table(arguments.scores).sort_values("quality", kind="stable")
        if arguments.fraction < 1:
            count = max(1, round(arguments.fraction * len(scores)))
            scores = scores.sample(count, random_state=arguments.seed)
        write_review_sheets(arguments.data, scores["stem"].tolist(), arguments.out, arguments.per_sheet)


if __name__ == "__main__":
    main()
