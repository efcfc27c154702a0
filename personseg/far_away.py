"""People far away: shrunk, and put into scenes where nobody else is."""

from __future__ import annotations

import cv2
import numpy as np

from personseg.geometry import cover, place
from personseg.images import RGB
from personseg.paste import Target, paste
from personseg.sample.scenes import DRAWN

NOBODY = 0.1  # share of the scenes that stay empty
DRAWN_SHARE = 0.3  # of the scenes; the others are photos whose people were painted over
STANDING = 0.7  # share of the people who reach the frame's lower edge
SMALLEST, LARGEST = 0.12, 0.8  # of the frame's height, or width: the shrunk photo
WIDEST = 16 / 9  # frame, or its reciprocal
LARGE = 10_000  # px; any frame that the network would see shrunk
FILLED_AT = 96  # px; what replaces people is worked out at this size
MARGIN = 0.03  # of the photo's longer side: masks may be too small


def without_people(image: RGB, target: Target) -> RGB:
    """Paint over everybody in a photo (uint8 HxWx3; `target` uint8 HxW, 0: background), with what is beside them.

    What stands at the sides is moved to the middle, as most people are there; the rest is inpainted (Telea 2004) on a
    small copy, which looks like a background out of focus.
    """
    height, width = target.shape
    radius = max(1, round(MARGIN * max(height, width)))
    hidden = cv2.dilate((target > 0).astype(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))
    alpha = cv2.blur(hidden.astype(np.float32), (radius, radius))[..., None]
    beside = np.roll(alpha, width // 2, axis=1)
    mixed = image * (1 - alpha) + np.roll(image, width // 2, axis=1) * (alpha * (1 - beside))
    unknown = alpha * beside
    if not unknown.any():
        return np.asarray(mixed.round(), np.uint8)
    scale = FILLED_AT / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(mixed.round().astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    holes = (cv2.resize(unknown, size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    filled = cv2.resize(cv2.inpaint(small, holes, 2, cv2.INPAINT_TELEA), (width, height))
    return np.asarray((mixed + filled * unknown).round(), np.uint8)


def far_away(
    image: RGB,
    target: Target,
    behind: RGB,
    target_behind: Target,
    size: tuple[int, int],
    rng: np.random.Generator,
    level: int = 1,
) -> tuple[RGB, Target]:
    """Put the person of a photo, shrunk, into a wide or high frame of another photo without its people, or a drawn one.

    Images are uint8 HxWx3, targets uint8 HxW, 0 to `level`; the frame fits `size` (H, W). Photos taken close never show
    a network that most of a picture may be background; without this it takes that for people.
    """
    aspect = WIDEST ** rng.uniform(-1, 1)
    frame = place(LARGE, round(LARGE * aspect), size)
    height, width = frame.inner_height, frame.inner_width
    if rng.random() < DRAWN_SHARE:
        drawn = DRAWN[rng.integers(len(DRAWN))](rng, (height, width))
        scene = np.rint(np.clip(drawn, 0, 1) * 255).astype(np.uint8)
    else:
        scene = cover(without_people(behind, target_behind), height, width, cv2.INTER_AREA)
    canvas, placed = np.zeros_like(scene), np.zeros(scene.shape[:2], np.uint8)
    if rng.random() >= NOBODY:
        share = SMALLEST * (LARGEST / SMALLEST) ** rng.random()
        scale = share * min(height / target.shape[0], width / target.shape[1])
        rows, columns = (max(1, round(length * scale)) for length in target.shape)
        top = height - rows if rng.random() < STANDING else int(rng.integers(0, height - rows + 1))
        left = int(rng.integers(0, width - columns + 1))
        where = np.s_[top : top + rows, left : left + columns]
        canvas[where] = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        placed[where] = cv2.resize(target, (columns, rows), interpolation=cv2.INTER_AREA)
    return paste(canvas, placed, scene, np.zeros_like(placed), level)
