"""Mending what a local edit can mend: spots, small holes, a rim of background around the hair."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import replace

import cv2
import numpy as np

from personseg.audit import AuditLimits, Case, blank, inspect, judge, mendable, quality
from personseg.defects import HEIGHT, Gap, Region
from personseg.defects.shared import near, window_around
from personseg.images import RGB, Mask

BESIDE = 3.0  # px at 320 px height: how far beside a gap the matte may move the contour
KNOWN = 10.0  # px at 320 px height: sure person and background shown to the matting around that
MOST_CHANGED = 0.08  # share of the mask; a repair that changes more is no local edit
MATTING_HEIGHT = 640  # px; larger photos are matted at this height


def _matte(image: RGB, mask: Mask, gap: Mask, scale: float) -> Mask:
    """Person (bool HxW) by closed-form matting, thresholded at 0.5, where it is unknown: in and beside the gap.

    Levin, Lischinski, Weiss, "A closed-form solution to natural image matting", PAMI 2008 (pymatting).
    """
    from pymatting import estimate_alpha_cf

    person = mask & ~gap
    beside = max(1.0, BESIDE * scale)  # with nothing unknown the solver would run to its last iteration
    trimap = person.astype(np.float64)
    trimap[near(gap, beside)] = 0.5
    trimap[~mask] = 0  # the label never calls a person background, but for holes
    # The contour between gap and person is what is looked for; the gap itself is sure but near it.
    trimap[gap & ~near(person, beside)] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the convergence of its preconditioner
        alpha = estimate_alpha_cf(image.astype(np.float64) / 255, trimap)
    return np.asarray(alpha >= 0.5)


def trim_gap(image: RGB, mask: Mask, gap: Gap) -> Mask:
    """Pull the contour to the hair: a matte decides inside the gap and within 3 px of it.

    Pieces the cut leaves detached go with it. ValueError if the matte does not converge.
    """
    scale = mask.shape[0] / HEIGHT
    window = window_around(gap.where, int((BESIDE + KNOWN) * scale))
    part, shrink = mask[window], min(1.0, MATTING_HEIGHT / mask.shape[0])
    if shrink < 1:
        size = tuple(max(1, round(length * shrink)) for length in part.shape[::-1])
        small = (
            cv2.resize(values.astype(np.uint8), size, interpolation=how)
            for values, how in (
                (image[window], cv2.INTER_AREA),
                (part, cv2.INTER_NEAREST),
                (gap.where[window], cv2.INTER_NEAREST),
            )
        )
        photo, label, rim = small
        matte = _matte(np.asarray(photo, dtype=np.uint8), label > 0, rim > 0, scale * shrink)
        person = cv2.resize(matte.astype(np.uint8), part.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0
    else:
        person = _matte(image[window], part, gap.where[window], scale)
    trimmed = mask.copy()
    trimmed[window] = np.where(near(gap.where[window], BESIDE * scale), person & part, part)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(trimmed.astype(np.uint8), connectivity=8)
    # A component of the cut mask stays if it is the largest, or was a component of its own before.
    before, was = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    keep = np.zeros(len(stats), dtype=bool)
    for component in range(1, before):
        parts = np.unique(labels[(was == component) & trimmed])
        if len(parts):
            keep[parts[np.argmax(stats[parts, cv2.CC_STAT_AREA])]] = True
    keep[0] = False
    return np.asarray(keep[labels])


def mend(case: Case, spots: Region, holes: Region, gap: Gap) -> tuple[Mask, list[str]]:
    """Mend what was found, unjudged; return the mask (bool HxW) and the steps done, in words."""
    mended = case.mask
    steps: list[str] = []
    if spots.count:
        mended = mended & ~spots.where
        steps.append(f"spots removed ({spots.count}, {spots.area:.0f} px)")
    if holes.count:
        mended = mended | holes.where
        steps.append(f"holes filled ({holes.count}, {holes.area:.0f} px)")
    if gap.where.any():
        with contextlib.suppress(ValueError):  # the matte did not converge: the gap stays
            mended = trim_gap(case.image, mended, gap)
            steps.append(f"hair gap trimmed ({gap.width:.0f} px over {gap.length:.0f} px)")
    return mended, steps


def repair(case: Case, limits: AuditLimits, certain_only: bool = True) -> tuple[Mask, list[str]]:
    """Mend a mask; return the mask (bool HxW) and the steps done, in words.

    Where nobody has looked at the mask, only what is certain is mended: trimming hair that is taken for a gap costs
    more than leaving the mask out. Where a person called it fixable, all that is found (`certain_only` off).
    The result is kept only if the audit finds it better than before and in category 1, and if at most
    8 % of the mask changed; otherwise the mask comes back unchanged, with no steps.
    """
    mask = case.mask
    before = inspect(case, limits)
    if blank(before, limits):
        return mask, []
    found = mendable(case, limits, certain_only=True) if certain_only else (before.spots, before.holes, before.gap)
    mended, steps = mend(case, *found)
    if not steps or (mended != mask).sum() > MOST_CHANGED * mask.sum():
        return mask, []
    after = inspect(replace(case, mask=mended), limits)
    if judge(after, limits)[0] > 1 or quality(after, limits) <= quality(before, limits):
        return mask, []
    return mended, steps
