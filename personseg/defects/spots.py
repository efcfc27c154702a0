"""Pieces of label debris detached from the person."""

from __future__ import annotations

import cv2
import numpy as np

from personseg.defects.shared import Floats, Region, connected, depth_of, likeness, px_scale, to_lab, window_around
from personseg.images import RGB, Mask

PERSON_SHARE = 0.05  # of the largest component's area: from here on a piece is a person or a limb
PART_SHARE = 0.003  # below it a piece cannot be a hand
PART_RADIUS = 5.0  # px; radius of the largest disc in a hand, while label debris is thin
SAME = 1.8  # Lab; mean distance up to which a piece looks just like the background around it
SURELY_SAME = 3.0  # Lab; the same for a piece that the out-of-fold prediction calls background
CERTAINLY_SAME = 1.0  # Lab; the same for a piece of a hand's size that nobody has looked at
CLEARLY = 0.6  # share of the distance to the background that is clearly nearer to the person
NEARBY = 50  # px within which colours are compared


def spots(image: RGB, mask: Mask, expected: Floats, certain_only: bool = False) -> Region:
    """Components detached from the person: label debris, as in the report's examples 474, 1391, 888.

    The largest component is the person. Another one is taken for a part of a person (a hand reaching
    into the frame, a second person, a strand of hair) if it is
    - at least 5 % of the largest one's area, or
    - at least 0.3 % of it and holds a disc of 5 px radius, or is cut by the frame, and does not look
      just like the background around it, or
    - smaller, but clearly nearer in colour to the person than to the background around it.
    How like the background it may look depends on the out-of-fold prediction (float32 HxW `expected`).
    With `certain_only` what could be a hand by its size, or is cut by the frame, must look more like the background.
    """
    scale = px_scale(mask)
    labels, stats = connected(mask, 8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    where = np.zeros_like(mask)
    if len(areas) < 2:
        return Region(where, 0, 0.0)
    main = 1 + int(np.argmax(areas))
    lab = to_lab(image)
    count = 0
    for label in range(1, len(stats)):
        share = stats[label, cv2.CC_STAT_AREA] / stats[main, cv2.CC_STAT_AREA]
        if label == main or share >= PERSON_SHARE:
            continue
        piece = labels == label
        window = window_around(piece, int(NEARBY * scale))
        distance = depth_of(~piece[window])
        around = ~mask[window] & (distance > 2 * scale) & (distance <= 12 * scale)
        to_person, to_around = likeness(lab[window], piece[window], labels[window] == main, around)
        left, top = stats[label, cv2.CC_STAT_LEFT], stats[label, cv2.CC_STAT_TOP]
        right, bottom = left + stats[label, cv2.CC_STAT_WIDTH], top + stats[label, cv2.CC_STAT_HEIGHT]
        cut_by_frame = left == 0 or top == 0 or right == mask.shape[1] or bottom == mask.shape[0]
        thick = float(depth_of(piece[window]).max()) >= PART_RADIUS * scale
        same = SURELY_SAME if float(expected[piece].mean()) < 0.5 else SAME
        if cut_by_frame or (share >= PART_SHARE and thick):
            part = to_around > (CERTAINLY_SAME if certain_only else same)
        else:
            part = to_person < CLEARLY * to_around < np.inf and to_around > same
        if not part:
            where |= piece
            count += 1
    return Region(where, count, float(where.sum()) / scale**2)
