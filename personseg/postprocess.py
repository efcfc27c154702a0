"""From the network's probabilities to a mask: threshold, and the report's removal of small objects and holes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label
from skimage.morphology import remove_small_holes, remove_small_objects

from personseg.geometry import Placement
from personseg.model_config import ModelConfig

LEAST_SHARE = 10  # an object is never dropped that has this fraction of the largest one's area: people may be small


def clean_mask(mask: NDArray[np.bool_], min_object: int, min_hole: int) -> NDArray[np.bool_]:
    """Drop objects smaller than `min_object` px and fill holes smaller than `min_hole` px (0: leave).

    `mask` is bool HxW; 4-connected components, as in scikit-image. Where the largest object is small itself, so is
    what is dropped: less than a tenth of it. The argument is never changed.
    """
    if min_object > 1:
        labels = label(mask, connectivity=1)
        areas = np.bincount(labels.ravel())[1:]
        limit = min(min_object, -(-int(areas.max(initial=0)) // LEAST_SHARE))
        if limit > 1 and len(areas) > 1:
            mask = np.asarray(remove_small_objects(labels, max_size=limit - 1) > 0)
    if min_hole > 1:
        mask = remove_small_holes(mask, max_size=min_hole - 1)
    return mask


def finish(small: NDArray[np.float32], placement: Placement, config: ModelConfig) -> NDArray[np.bool_]:
    """Turn float32 probabilities of the network's size [H, W] into the mask, bool of the photo's own size.

    Threshold and sizes are those of `config`. Sizes are px of the network's resolution, which they were chosen at,
    whatever the photo's size: an object or hole that is one there is changed in the photo's mask as a whole.
    """
    mask = np.asarray(placement.restore(small) > config.threshold)
    sizes = config.postprocess.model_dump()
    inner = placement.inner(small)
    if mask.shape == inner.shape:
        return clean_mask(mask, **sizes)
    before = np.asarray(inner > config.threshold)
    after = clean_mask(before, **sizes)
    removed, filled = before & ~after, after & ~before
    for change, side, value in ((removed, ~after, False), (filled, after, True)):
        if change.any():
            # One pixel more on each side: the enlarged edge lies between the network's pixels.
            area = cv2.dilate(change.astype(np.uint8), np.ones((3, 3), np.uint8)) * side
            mask[cv2.resize(area, mask.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0] = value
    return mask
