"""Where a closer look at a photo is worth it: people too small for the network's resolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from personseg.geometry import place

MARGIN = 0.35  # of a person's longer side, on each side: what the network needs to see around
LEAST_GAIN = 1.5  # times the resolution of the first look; less is not worth the time
MAX_WINDOWS = 8  # a crowd is not looked at one by one

Window = tuple[slice, slice]


def windows(mask: NDArray[np.bool_], size: tuple[int, int]) -> list[Window]:
    """Parts of a photo to predict again, each alone in the network's input `size` (H, W); largest first.

    `mask` (bool HxW, of the photo's own size) is what the first look found. A window holds one object or several
    near ones with a margin around; windows do not overlap. Photos that fit `size` have none.
    """
    first = _scale(mask.shape, size)
    if first == 1:
        return []
    step = max(1, int(0.5 / first))  # enough for boxes, and large photos stay quick
    boxes = [np.array(found.bbox) * step for found in regionprops(label(mask[::step, ::step]))]
    merged = _merged([_with_margin(box, mask.shape) for box in boxes])
    merged = [box for box in merged if _scale((box[2] - box[0], box[3] - box[1]), size) >= LEAST_GAIN * first]
    merged.sort(key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))
    return [(slice(top, bottom), slice(left, right)) for top, left, bottom, right in merged[:MAX_WINDOWS]]


def _scale(shape: tuple[int, ...], size: tuple[int, int]) -> float:
    placement = place(int(shape[0]), int(shape[1]), size)
    return max(placement.inner_height / placement.height, placement.inner_width / placement.width)


def _with_margin(box: NDArray[np.int64], shape: tuple[int, ...]) -> list[int]:
    top, left, bottom, right = (int(value) for value in box)
    margin = round(MARGIN * max(bottom - top, right - left))
    return [max(0, top - margin), max(0, left - margin), min(shape[0], bottom + margin), min(shape[1], right + margin)]


def _merged(boxes: list[list[int]]) -> list[list[int]]:
    """Join boxes that overlap, until none do."""
    boxes = list(boxes)
    for index, box in enumerate(boxes):
        for other in boxes[index + 1 :]:
            if box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]:
                joined = [min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3])]
                return _merged([joined, *(each for each in boxes if each is not box and each is not other)])
    return boxes
