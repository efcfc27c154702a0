"""Contact sheets: the masks most in need of a look, their defects marked on the photo."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from personseg.audit import AuditLimits, Findings, inspect, read_case
from personseg.files import fresh_folder
from personseg.images import RGB, Mask, write_image

COLUMNS, ROWS = 5, 2
PHOTO_HEIGHT = 480  # px: photos of the PicsArt set, 320 high, are drawn at 1.5 times their size
PHOTO_WIDTH = 360
CAPTION = 74
MARGIN = 8
CONTOUR = (0, 255, 80)
COLOURS = {
    "hair gap": (255, 40, 40),
    "spot": (255, 0, 255),
    "hole": (0, 180, 255),
    "extra background": (255, 160, 0),
    "missing part": (90, 90, 255),
}
PAPER, INK, FAINT = (250, 250, 250), (20, 20, 20), (110, 110, 110)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _resized(mask: Mask, size: tuple[int, int]) -> Mask:
    return np.asarray(cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0)


def enlarged(image: RGB, mask: Mask, scale: float) -> tuple[RGB, Mask]:
    """Resize a photo (uint8 HxWx3), smoothly, and its mask (bool HxW), not smoothed, by the same factor."""
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    photo = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    return np.asarray(photo, dtype=np.uint8), _resized(mask, size)


def draw_contour(canvas: RGB, mask: Mask) -> None:
    """Draw the mask's contour, outer and inner, one pixel wide, in place."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, CONTOUR, 1)


def defect_areas(found: Findings) -> dict[str, tuple[tuple[int, int, int], Mask]]:
    """The colour (RGB) and the area (bool HxW) of each kind of defect that has an area."""
    areas = {
        "hair gap": found.gap.where,
        "spot": found.spots.where,
        "hole": found.holes.where,
        "extra background": found.extra_background.where,
        "missing part": found.missing_part.where,
    }
    return {kind: (COLOURS[kind], where) for kind, where in areas.items()}


def overlay(image: RGB, mask: Mask, found: Findings, scale: float) -> RGB:
    """Draw the mask's contour and its defects, coloured by kind, on the photo enlarged by `scale`."""
    canvas, outline = enlarged(image, mask, scale)
    for colour, where in defect_areas(found).values():
        area = _resized(where, outline.shape[::-1])
        canvas[area] = (canvas[area] * 0.45 + np.array(colour) * 0.55).astype(np.uint8)
    draw_contour(canvas, outline)
    return canvas


def _wrapped(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, font=_font(size)) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _tile(image: RGB, mask: Mask, found: Findings, title: str, reasons: str) -> RGB:
    scale = min(PHOTO_HEIGHT / mask.shape[0], PHOTO_WIDTH / mask.shape[1])
    photo = overlay(image, mask, found, scale)
    tile = Image.new("RGB", (PHOTO_WIDTH + MARGIN, PHOTO_HEIGHT + CAPTION), PAPER)
    tile.paste(Image.fromarray(photo), ((PHOTO_WIDTH - photo.shape[1]) // 2 + MARGIN // 2, 0))
    draw = ImageDraw.Draw(tile)
    draw.text((MARGIN, PHOTO_HEIGHT + 4), title, fill=INK, font=_font(19))
    for number, line in enumerate(_wrapped(draw, reasons, PHOTO_WIDTH - MARGIN, 15)[:2]):
        draw.text((MARGIN, PHOTO_HEIGHT + 29 + 18 * number), line, fill=FAINT, font=_font(15))
    return np.asarray(tile)


def _legend(width: int) -> RGB:
    strip = Image.new("RGB", (width, 34), PAPER)
    draw = ImageDraw.Draw(strip)
    left = float(MARGIN)
    for name, colour in {"mask's contour": CONTOUR, **COLOURS}.items():
        draw.rectangle((left, 9, left + 16, 25), fill=colour)
        draw.text((left + 23, 6), name, fill=INK, font=_font(17))
        left += 23 + draw.textlength(name, font=_font(17)) + 24
    return np.asarray(strip)


def write_sheets(
    jpg_dir: Path,
    folds_dir: Path,
    scores: pd.DataFrame,
    out_dir: str | Path,
    limits: AuditLimits,
    worst: int,
) -> None:
    """Draw the `worst` masks of a score table (stem, quality, suggested, reasons), lowest quality first.

    Writes sheet_001.jpg ... with ten masks each into `out_dir`, replacing it.
    """
    chosen = scores.sort_values("quality", kind="stable").head(worst).to_dict("records")
    per_sheet = COLUMNS * ROWS
    with fresh_folder(out_dir) as folder:
        for sheet in range(math.ceil(len(chosen) / per_sheet)):
            tiles = []
            for row in chosen[sheet * per_sheet : (sheet + 1) * per_sheet]:
                case = read_case(jpg_dir, folds_dir, str(row["stem"]))
                title = f"{row['stem']}   quality {row['quality']:.3f}   category {row['suggested']}"
                reasons = row["reasons"] if isinstance(row["reasons"], str) else ""
                tiles.append(_tile(case.image, case.mask, inspect(case, limits), title, reasons))
            columns = min(COLUMNS, len(tiles))
            tiles += [np.full_like(tiles[0], PAPER[0])] * (-len(tiles) % columns)
            rows = [np.hstack(tiles[at : at + columns]) for at in range(0, len(tiles), columns)]
            page = np.vstack([_legend(rows[0].shape[1]), *rows])
            write_image(folder / f"sheet_{sheet + 1:03d}.jpg", np.asarray(page, dtype=np.uint8), quality=90)
