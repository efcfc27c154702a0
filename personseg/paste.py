"""People cut out of one photo and pasted over another."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from personseg.geometry import cover
from personseg.images import RGB

Target = NDArray[np.uint8]

SOFTNESS = 0.8  # px; of the seam, as a hard one would show where the mask ends


def paste(image: RGB, target: Target, behind: RGB, target_behind: Target, level: int = 1) -> tuple[RGB, Target]:
    """Paste the person of a photo (uint8 HxWx3) over the middle of another one; targets are uint8 HxW, 0 to `level`.

    The other photo, of any size, is scaled to cover HxW. Its own people stay where they are not hidden: the
    target returned holds both (Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance
    segmentation", CVPR 2021).
    """
    height, width = target.shape
    smaller = behind.shape[0] > height and behind.shape[1] > width
    scene = cover(behind, height, width, cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    others = cover(target_behind, height, width, cv2.INTER_NEAREST)
    alpha = cv2.GaussianBlur((2 * target > level).astype(np.float32), (0, 0), SOFTNESS)[..., None]
    pasted = image * alpha + scene * (1 - alpha)
    return pasted.round().astype(np.uint8), np.maximum(target, others)
