"""From the network's probabilities to a mask: threshold, and the report's removal of small objects and holes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from personseg.geometry import Placement
from personseg.model_config import ModelConfig

LEAST_SHARE = 10  # an object is never dropped that has this fraction of the largest one's area: people may be small


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number the 4-connected objects of `mask` from 1 (int32 HxW), and give their areas in px; the ground's is 0."""
    # OpenCV numbers several times as quickly as scikit-image, but gathers its statistics slowly.
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    if count <= 2:  # of most masks: nothing to count
        areas = np.array([0, np.count_nonzero(mask)][:count], np.int64)
    else:
        areas = np.bincount(labels.ravel())
        areas[0] = 0
    return np.asarray(labels, np.int32), areas


def clean_mask(mask: NDArray[np.bool_], min_object: int, min_hole: int) -> NDArray[np.bool_]:
    """Drop objects smaller than `min_object` px and fill holes smaller than `min_hole` px (0: leave).

    `mask` is bool HxW; 4-connected components, as in scikit-image. Where the largest object is small itself, so is
    what is dropped: less than a tenth of it. The argument is never changed.
    """
    mask = np.ascontiguousarray(mask)
    if min_object > 1:
        labels, areas = _components(mask)
        small = (areas > 0) & (areas < min(min_object, -(-int(areas.max()) // LEAST_SHARE)))
        if small.any():
            mask = mask & ~small[labels]
    if min_hole > 1:
        labels, areas = _components(~mask)
        small = (areas > 0) & (areas < min_hole)
        if small.any():
            mask = mask | small[labels]
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
