"""Defects of a person mask, measured from the photo and the mask alone.

Every function takes the photo (uint8 RGB HxWx3) and the mask (bool HxW) at any size. Lengths and areas
are returned in pixels of the same photo scaled to a height of 320, so that limits hold for any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from personseg.images import RGB, Mask

HEIGHT = 320  # the height all lengths and areas refer to

BAND = 14  # px inside the contour in which a hair gap is looked for
HEAD_SHARE = 0.6  # the part of the person's height, from the top, that can hold hair ...
HEAD_SIZE = 0.8  # ... and its height over the square root of the person's area, for full-length photos
POSITION_WEIGHT = 0.4  # Lab units per px: a sample 10 px further away must be 4 units more alike
MARGIN = 4.0  # Lab units by which a pixel must be nearer to one side's samples than to the other's
ALIKE = 12.0  # Lab units (position included) up to which a pixel counts as like the background
ISLAND = 80  # px; person-coloured pieces inside the band smaller than this are hair tips in a gap
RUN = 15  # px; shorter runs of gap along the contour are noise of the colour test

# Parts of the person's area, and Lab distances, at which planted and real pieces separate best.
PERSON_SHARE = 0.05  # of the largest component's area: from here on a piece is a person or a limb
PART_SHARE = 0.003  # below it a piece cannot be a hand
PART_RADIUS = 5.0  # px; radius of the largest disc in a hand, while label debris is thin
SAME = 1.8  # mean distance up to which a piece looks just like the background around it
CLEARLY = 0.6  # share of the distance to the background that is clearly nearer to the person
HOLE_SAME = 2.5  # the same two for holes, which are small and mixed with their surroundings
HOLE_CLEARLY = 0.3
HOLE_RADIUS = 1.5  # px
HOLE_MOST = 400.0  # px
NEARBY = 50  # px within which colours are compared

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """Where a defect is (bool HxW at the mask's size), how many pieces, and their area in px."""

    where: Mask
    count: int
    area: float


@dataclass(frozen=True)
class Gap:
    """A rim of background kept around the hair; lengths in px.

    where: bool HxW, the pixels between the contour and the person; length: contour along which the rim
    is at least `width_limit` wide; wide_length: the same for `wide_limit`; width: median over `length`;
    pocket: area of parts wider than the band, which are no rim but a piece of background.
    """

    where: Mask
    width: float
    length: float
    wide_length: float
    pocket: float


def _scale(mask: Mask) -> float:
    return mask.shape[0] / HEIGHT


def _lab(image: RGB) -> Floats:
    # A light blur: single noisy or JPEG-damaged pixels would otherwise find a match anywhere.
    smooth = cv2.GaussianBlur(image, (3, 3), 0).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), dtype=np.float32)


def _components(mask: Mask, connectivity: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    return labels, stats  # type: ignore[return-value]


def _depth(mask: Mask) -> Floats:
    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), dtype=np.float32)


def _thin_out(points: Floats, most: int) -> Floats:
    return points[:: max(1, -(-len(points) // most))]


def _nearest(samples: Floats, points: Floats, most: int = 3000) -> Floats:
    """Mean distance of each point to its three nearest samples."""
    distance, _ = cKDTree(_thin_out(samples, most)).query(points, k=3)
    return np.asarray(distance, dtype=np.float32).mean(axis=1)


def _features(image: RGB, position_weight: float) -> Floats:
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32) * position_weight
    return np.dstack([_lab(image), x, y])


def _near(where: Mask, radius: float) -> Mask:
    return np.asarray(_depth(~where) <= radius)


def _window(where: Mask, margin: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )


def largest_component(mask: Mask) -> Mask:
    """Return the largest 8-connected component; all False for an empty mask."""
    labels, stats = _components(mask, 8)
    if len(stats) < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def coverage(mask: Mask) -> float:
    """Share of the frame that is person, 0 to 1."""
    return float(mask.mean())


def _likeness(lab: Floats, piece: Mask, *others: Mask) -> tuple[float, ...]:
    """Mean Lab distance of the piece's pixels to the nearest colours in each of the others; inf if empty."""
    points = _thin_out(lab[piece], 500)
    return tuple(float(_nearest(lab[other], points).mean()) if other.sum() >= 3 else np.inf for other in others)


def spots(image: RGB, mask: Mask) -> Region:
    """Components detached from the person: label debris, as in the report's examples 474, 1391, 888.

    The largest component is the person. Another one is taken for a part of a person (a hand reaching
    into the frame, a second person, a strand of hair) if it is
    - at least 5 % of the largest one's area, or
    - at least 0.3 % of it and holds a disc of 5 px radius, or is cut by the frame, and does not look
      just like the background around it, or
    - smaller, but clearly nearer in colour to the person than to the background around it.
    """
    scale = _scale(mask)
    labels, stats = _components(mask, 8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    where = np.zeros_like(mask)
    if len(areas) < 2:
        return Region(where, 0, 0.0)
    main = 1 + int(np.argmax(areas))
    lab = _lab(image)
    count = 0
    for label in range(1, len(stats)):
        share = stats[label, cv2.CC_STAT_AREA] / stats[main, cv2.CC_STAT_AREA]
        if label == main or share >= PERSON_SHARE:
            continue
        piece = labels == label
        window = _window(piece, int(NEARBY * scale))
        distance = _depth(~piece[window])
        around = ~mask[window] & (distance > 2 * scale) & (distance <= 12 * scale)
        to_person, to_around = _likeness(lab[window], piece[window], labels[window] == main, around)
        left, top = stats[label, cv2.CC_STAT_LEFT], stats[label, cv2.CC_STAT_TOP]
        right, bottom = left + stats[label, cv2.CC_STAT_WIDTH], top + stats[label, cv2.CC_STAT_HEIGHT]
        cut_by_frame = left == 0 or top == 0 or right == mask.shape[1] or bottom == mask.shape[0]
        thick = float(_depth(piece[window]).max()) >= PART_RADIUS * scale
        if cut_by_frame or (share >= PART_SHARE and thick):
            part = to_around > SAME
        else:
            part = to_person < CLEARLY * to_around < np.inf
        if not part:
            where |= piece
            count += 1
    return Region(where, count, float(where.sum()) / scale**2)


def holes(image: RGB, mask: Mask) -> Region:
    """Enclosed background that looks like person.

    A background component that does not touch the frame is a hole. A gap between arm and body, a ring of
    jewellery or a gap between strands of hair is one too, and right: so a hole counts only if its colours
    are found in the person within 8 px, and are clearly nearer to them than to the background outside
    within 50 px. Chinks between strands, too thin for a disc of 1.5 px radius, do not count, nor do holes
    above 400 px: in the PicsArt masks every one of those is a real gap.
    """
    scale = _scale(mask)
    labels, stats = _components(~mask, 4)
    height, width = mask.shape
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right, bottom = left + stats[:, cv2.CC_STAT_WIDTH], top + stats[:, cv2.CC_STAT_HEIGHT]
    inside = (left > 0) & (top > 0) & (right < width) & (bottom < height)
    inside &= stats[:, cv2.CC_STAT_AREA] <= HOLE_MOST * scale**2
    inside[0] = False
    where = np.zeros_like(mask)
    if not inside.any():
        return Region(where, 0, 0.0)
    lab = _lab(image)
    outside = ~mask & ~inside[labels] & ~_near(mask, 2 * scale)
    count = 0
    for label in np.flatnonzero(inside):
        hole = labels == label
        window = _window(hole, int(NEARBY * scale))
        if float(_depth(hole[window]).max()) <= HOLE_RADIUS * scale:
            continue
        distance = _depth(~hole[window])
        ring = mask[window] & (distance <= 8 * scale) & (distance > 1.5 * scale)
        to_person, to_background = _likeness(lab[window], hole[window], ring, outside[window])
        if to_person < HOLE_SAME and to_person < HOLE_CLEARLY * to_background:
            where |= hole
            count += 1
    return Region(where, count, float(where.sum()) / scale**2)


def _working_size(image: RGB, mask: Mask) -> tuple[RGB, Mask]:
    if mask.shape[0] == HEIGHT:
        return image, mask
    size = (max(1, round(mask.shape[1] / _scale(mask))), HEIGHT)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8), np.asarray(share >= 0.5)


def _perimeter(mask: Mask) -> float:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return float(sum(cv2.arcLength(contour, True) for contour in contours))


def ragged_edge(image: RGB, mask: Mask) -> float:
    """Perimeter of the largest component over that of the same shape smoothed (Gaussian, sigma 4 px).

    Without unit: 1 is a smooth outline, 1.07 the usual one of the PicsArt masks, 1.3 badly frayed.
    """
    _, mask = _working_size(image, mask)
    main = largest_component(mask)
    smooth = np.asarray(cv2.GaussianBlur(main.astype(np.float32), (0, 0), 4) >= 0.5)
    perimeter = _perimeter(smooth)
    return _perimeter(main) / perimeter if perimeter > 0 else 1.0


def _person_inside(image: RGB, main: Mask, mask: Mask) -> Mask:
    """Drop from `main` the pixels near the contour that look like the background just outside."""
    depth, outside_depth = _depth(mask), _depth(~mask)
    top, bottom = np.flatnonzero(main.any(axis=1))[[0, -1]]
    limit = top + int(min(HEAD_SHARE * (bottom + 1 - top), HEAD_SIZE * float(main.sum()) ** 0.5))
    rows = np.arange(len(mask))[:, None]
    band = main & (depth <= BAND) & (rows < limit)
    core = main & (depth > BAND)
    nearby = rows < limit + 20
    background = (outside_depth >= 2) & (outside_depth <= BAND + 2) & nearby
    inner = core & (depth < 2.5 * BAND) & nearby
    if min(background.sum(), inner.sum()) < 50 or not band.any():
        return main
    features = _features(image, POSITION_WEIGHT)
    points = features[band]
    to_background = _nearest(features[background], points)
    gain = np.zeros(mask.shape, dtype=np.float32)
    gain[band] = _nearest(features[inner], points) - to_background
    alike = np.zeros_like(mask)
    alike[band] = to_background < ALIKE
    person = main & ~(alike & (cv2.blur(gain, (3, 3)) > MARGIN))
    labels, stats = _components(person, 4)
    keep = stats[:, cv2.CC_STAT_AREA] >= ISLAND
    keep[np.unique(labels[core & person])] = True
    keep[0] = False
    return np.asarray(keep[labels])


def hair_gap(image: RGB, mask: Mask, width_limit: float = 4.0, wide_limit: float = 8.0) -> Gap:
    """Rim of background between the mask's contour and the hair, as in the report's 303, 325, 463.

    In the upper part of the largest component (60 % of its height, less in full-length photos), pixels
    up to 14 px inside the contour are compared, in Lab colour and position, with their nearest samples
    outside the mask and further inside the person (after sampling-based matting: Wang & Cohen, "Optimized
    color sampling for robust matting", CVPR 2007). Where the background is clearly nearer, the pixel is
    gap. The width at a contour pixel is its distance to the nearest person pixel that is left.
    """
    small_image, small = _working_size(image, mask)
    main = largest_component(small)
    nothing = Gap(np.zeros_like(mask), 0.0, 0.0, 0.0, 0.0)
    if not main.any() or main.all():
        return nothing
    person = _person_inside(small_image, main, small)
    rest = main & ~person
    if not rest.any() or not person.any():
        return nothing
    width = _depth(~person)
    contour = rest & _near(~small, 1.2)  # 4-neighbours of the outside
    runs, stats = _components(_near(contour & (width >= width_limit), 1.5), 8)
    long_enough = stats[:, cv2.CC_STAT_AREA] >= 3 * RUN  # a run dilated by 1.5 px is three px wide
    long_enough[0] = False
    counted = contour & (width >= width_limit) & long_enough[runs]
    if not counted.any():
        return nothing
    # Only the pieces that reach the counted contour are gap; a rim one pixel wide is mixed pixels.
    pieces, _ = _components(rest & _near(rest & (width > 1), 1.5), 8)
    touched = np.zeros(int(pieces.max()) + 1, dtype=bool)
    touched[np.unique(pieces[counted])] = True
    touched[0] = False
    where = touched[pieces]
    wide = _near(where & (width > BAND), BAND) & where
    if mask.shape != small.shape:
        resized = cv2.resize(where.astype(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
        where = (resized > 0) & mask
    return Gap(
        where=where,
        width=float(np.median(width[counted])),
        length=float(counted.sum()),
        wide_length=float((counted & (width >= wide_limit)).sum()),
        pocket=float(wide.sum()),
    )
