"""Mask post-processing: the report's `remove_small_objects` and `remove_small_holes`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import remove_small_holes, remove_small_objects


def clean_mask(mask: NDArray[np.bool_], min_object: int, min_hole: int) -> NDArray[np.bool_]:
    """Drop objects smaller than `min_object` px and fill holes smaller than `min_hole` px (0: leave).

    `mask` is bool HxW; 4-connected components, as in scikit-image. The argument is never changed.
    """
    if min_object > 1:
        mask = remove_small_objects(mask, max_size=min_object - 1)
    if min_hole > 1:
        mask = remove_small_holes(mask, max_size=min_hole - 1)
    return mask
