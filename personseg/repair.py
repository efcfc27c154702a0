"""Mending what a local edit can mend: spots, small holes, a rim of background around the hair."""

from __future__ import annotations

import cv2
import numpy as np

from personseg.audit import AuditLimits, blank, inspect, judge, quality
from personseg.defects import HEIGHT, Gap
from personseg.images import RGB, Mask

SMOOTH = 5  # px at 320 px height: median filter along a trimmed contour
MOST_CHANGED = 0.08  # share of the mask; a repair that changes more is no local edit


def trim_gap(mask: Mask, gap: Gap) -> Mask:
    """Take the rim away and smooth the new contour, only inside and within 3 px of the rim.

    Pieces the cut leaves detached go with it.
    """
    scale = mask.shape[0] / HEIGHT
    cut = mask & ~gap.where
    size = max(3, 2 * round(SMOOTH * scale / 2) + 1)
    smooth = cv2.medianBlur(cut.astype(np.uint8), min(size, 255)) > 0
    distance = cv2.distanceTransform((~gap.where).astype(np.uint8), cv2.DIST_L2, 5)
    trimmed = np.where(distance <= 3 * scale, smooth & mask, mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(trimmed.astype(np.uint8), connectivity=8)
    # A component of the cut mask stays if it is the largest, or was a component of its own before.
    before, was = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    keep = np.zeros(len(stats), dtype=bool)
    for label in range(1, before):
        parts = np.unique(labels[(was == label) & trimmed])
        if len(parts):
            keep[parts[np.argmax(stats[parts, cv2.CC_STAT_AREA])]] = True
    keep[0] = False
    return np.asarray(keep[labels])


def repair(image: RGB, mask: Mask, limits: AuditLimits) -> tuple[Mask, list[str]]:
    """Mend a mask (bool HxW); return the mask and the steps done, in words.

    The result is kept only if the audit finds it better than before and in category 1, and if at most
    8 % of the mask changed; otherwise the mask comes back unchanged, with no steps.
    """
    before = inspect(image, mask, limits)
    if blank(before, limits):
        return mask, []
    steps = []
    mended = mask
    if before.spots.count:
        mended = mended & ~before.spots.where
        steps.append(f"spots removed ({before.spots.count}, {before.spots.area:.0f} px)")
    if before.holes.count:
        mended = mended | before.holes.where
        steps.append(f"holes filled ({before.holes.count}, {before.holes.area:.0f} px)")
    if before.gap.length:
        mended = trim_gap(mended, before.gap)
        steps.append(f"hair gap trimmed ({before.gap.width:.0f} px over {before.gap.length:.0f} px)")
    if not steps or (mended != mask).sum() > MOST_CHANGED * mask.sum():
        return mask, []
    after = inspect(image, mended, limits)
    if judge(after, limits)[0] > 1 or quality(after, limits) <= quality(before, limits):
        return mask, []
    return mended, steps
