"""Background kept between the contour and the hair."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve

from personseg.defects.shared import (
    Floats,
    Verdict,
    connected,
    depth_of,
    edge_strength,
    largest_component,
    log_odds,
    near,
    nearest,
    strongest_edge,
    to_lab,
    window_around,
    working_size,
)
from personseg.images import RGB, Mask

BAND = 14  # px inside the contour in which a gap is looked for
HEAD_SHARE = 0.8  # the part of the person's height, from the top, that can hold hair ...
HEAD_SIZE = 1.1  # ... and its height over the square root of the person's area, for full-length photos
POSITION_WEIGHT = 0.4  # Lab units per px: a sample 10 px further away must be 4 units more alike

# Log-odds of background from colour (Lab units nearer to the background's samples than to the person's) and
# from the out-of-fold log-odds of person; begun with a logistic regression on generated pictures, weakened to what
# ranked the reviewed PicsArt masks best.
COLOUR_WEIGHT, FOLD_WEIGHT, OFFSET = 0.13, -0.5, -1.0
COLOUR_MOST = 40.0  # Lab units
TRUST = 0.2  # weight of a pixel's own likelihood against its four neighbours'
EDGE = 0.1  # per squared Lab unit: how quickly a colour edge cuts neighbours apart
LEAST_TIE = 1e-3  # of neighbours across the strongest edge
SURE = 0.9  # likelihood from which a pixel surely is background ...
SURE_DEPTH = 4.0  # px; ... counted up to here inside the contour
ISLAND = 80  # px; person-coloured pieces inside the band smaller than this are hair tips in a gap
CANDIDATE_WIDTH = 0.75  # of the width limit: the likelihood eats into a gap from its inner side
RUN = 15  # px; shorter runs of gap along the contour are noise
SMALLEST = 60  # px
STEP = 0.4  # of `contour_step`; beyond it the contour is an edge of the photo, and the piece not certainly a gap

# Whether a piece is a gap; the features are explained at `candidate_gaps`.
REAL_GAP = Verdict(
    offset=-15.56,
    weights={
        "likelihood": 19.99,
        "edge": -1.0,
        "contrast": -0.25,
        "rim": 2.19,
        "expected": -0.62,
        "expected_beside": 0.46,
        "spread": 0.63,
        "height": -4.5,
    },
    least=0.35,
    certain=0.97,  # benchmarks.defect_fit says how many such pieces are gaps; from 0.9 on several were none
)


@dataclass(frozen=True)
class Gap:
    """A rim of background kept around the hair; lengths and areas in px.

    where: bool HxW, the pixels between the contour and the person; length: contour along which the rim
    is at least `width_limit` wide; wide_length: the same for `wide_limit`; width: median over `length`;
    sure_area: pixels up to 4 px inside the contour, in `where` or not, that surely are background.
    """

    where: Mask
    width: float
    length: float
    wide_length: float
    sure_area: float


@dataclass(frozen=True)
class _Head:
    """The band along the contour that may hold hair, and what is known about its pixels."""

    band: Mask  # bool HxW, inside the mask
    likelihood: Floats  # of being background, 0 to 1; 0 outside the band


def _colour_gain(lab: Floats, band: Mask, background: Mask, inner: Mask) -> Floats:
    """Lab distance by which each pixel of the band is nearer to the background's samples than to the person's."""
    height, width = band.shape
    y, x = np.mgrid[:height, :width].astype(np.float32) * POSITION_WEIGHT
    features = np.dstack([lab, x, y])
    points = features[band]
    gain = np.zeros(band.shape, dtype=np.float32)
    gain[band] = nearest(features[inner], points) - nearest(features[background], points)
    return np.clip(cv2.blur(gain, (3, 3)), -COLOUR_MOST, COLOUR_MOST)


def _walk(prior: Floats, band: Mask, mask: Mask, lab: Floats) -> Floats:
    """Random walker with priors (Grady, "Multilabel random walker segmentation using prior models", CVPR 2005).

    Pixels of the band share their likelihood of being background with neighbours of like colour;
    outside the mask it is 1, deeper inside 0. Returns float32 HxW, 0 outside the band.
    """
    index = np.full(band.shape, -1, dtype=np.int64)
    count = int(band.sum())
    index[band] = np.arange(count)
    diagonal, known = np.full(count, TRUST), TRUST * prior[band].astype(np.float64)
    rows, columns, values = [np.arange(count)], [np.arange(count)], []
    for a, b in (
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ):
        tie = np.exp(-EDGE * ((lab[a] - lab[b]) ** 2).sum(axis=2)) + LEAST_TIE
        first, second = index[a], index[b]
        both = (first >= 0) & (second >= 0)
        rows += [first[both], second[both]]
        columns += [second[both], first[both]]
        values += [-tie[both], -tie[both]]
        for own, other, beyond in ((first, second, b), (second, first, a)):
            np.add.at(diagonal, own[own >= 0], tie[own >= 0])
            fixed = (own >= 0) & (other < 0)
            np.add.at(known, own[fixed], tie[fixed] * ~mask[beyond][fixed])
    system = sparse.csc_matrix(
        (np.concatenate([diagonal, *values]), (np.concatenate(rows), np.concatenate(columns))), shape=(count, count)
    )
    likelihood = np.zeros(band.shape, dtype=np.float32)
    likelihood[band] = spsolve(system, known)
    return likelihood


def _look_at_head(lab: Floats, main: Mask, mask: Mask, expected: Floats) -> _Head:
    inside, outside = depth_of(mask), depth_of(~mask)
    top, bottom = np.flatnonzero(main.any(axis=1))[[0, -1]]
    limit = top + int(min(HEAD_SHARE * (bottom + 1 - top), HEAD_SIZE * float(main.sum()) ** 0.5))
    rows = np.arange(len(mask))[:, None]
    edge_zone = main & (inside <= BAND) & (rows <= limit)  # a row more than the band, as the gain is blurred
    band = edge_zone & (rows < limit)
    background = (outside >= 2) & (outside <= BAND + 2)
    inner = main & (inside > BAND) & (inside < 2.5 * BAND)
    if min(background.sum(), inner.sum()) < 50 or not band.any():
        return _Head(np.zeros_like(mask), np.zeros(mask.shape, dtype=np.float32))
    gain = _colour_gain(lab, edge_zone, background, inner)
    prior = 1 / (1 + np.exp(-(COLOUR_WEIGHT * gain + FOLD_WEIGHT * log_odds(expected) + OFFSET)))
    return _Head(band, _walk(prior, band, mask, lab))


def _candidates(head: _Head, main: Mask, mask: Mask, width_limit: float) -> tuple[Mask, Mask, Floats]:
    """Pieces of background at the contour; that contour; and each pixel's distance to the person left."""
    person = main & ~(head.band & (head.likelihood > 0.5))
    labels, stats = connected(person, 4)
    keep = stats[:, cv2.CC_STAT_AREA] >= ISLAND
    keep[np.unique(labels[person & ~head.band])] = True
    keep[0] = False
    person = np.asarray(keep[labels])
    rest = main & ~person
    nothing = np.zeros_like(mask)
    if not rest.any() or not person.any():
        return nothing, nothing, np.zeros(mask.shape, dtype=np.float32)
    width = depth_of(~person)
    contour = rest & near(~mask, 1.2)  # 4-neighbours of the outside
    least = CANDIDATE_WIDTH * width_limit
    runs, run_stats = connected(near(contour & (width >= least), 1.5), 8)
    long_enough = run_stats[:, cv2.CC_STAT_AREA] >= 3 * RUN  # a run dilated by 1.5 px is three px wide
    long_enough[0] = False
    counted = contour & (width >= least) & long_enough[runs]
    # Only the pieces that reach the counted contour are gap; a rim one pixel wide is mixed pixels.
    pieces, _ = connected(rest & near(rest & (width > 1), 1.5), 8)
    touched = np.zeros(int(pieces.max()) + 1, dtype=bool)
    touched[np.unique(pieces[counted])] = True
    touched[0] = False
    return touched[pieces], counted, width


def _mean_colour(lab: Floats, where: Mask) -> NDArray[np.float32]:
    return np.asarray(lab[where].mean(axis=0) if where.any() else np.zeros(3), dtype=np.float32)


def _features(
    lab: Floats, edges: Floats, likelihood: Floats, expected: Floats, mask: Mask, piece: Mask, gap: Mask
) -> list[float]:
    """All of REAL_GAP but the height; see `candidate_gaps`. `gap` holds all pieces."""
    outer = piece & near(~mask, 1.5)
    person = mask & ~gap
    inner = piece & near(person, 1.5)
    at_contour, at_person = strongest_edge(edges, outer), strongest_edge(edges, inner)
    outside = ~mask & near(piece, 8) & (depth_of(~mask) > 2)
    beside = person & near(piece, 8) & ~near(piece, 2)
    return [
        float(likelihood[piece].mean()),
        float(np.log((at_contour + 1) / (at_person + 1))),
        float(np.linalg.norm(_mean_colour(lab, piece) - _mean_colour(lab, outside))),
        float(np.log((inner.sum() + 1) / (outer.sum() + 1))),
        float(log_odds(expected[piece].mean())),
        float(log_odds(expected[beside].mean())) if beside.any() else 0.0,
        float(lab[piece].std(axis=0).mean()),
    ]


def candidate_gaps(
    image: RGB, mask: Mask, expected: Floats, width_limit: float
) -> tuple[list[tuple[Mask, list[float]]], Mask, Floats, float]:
    """Pieces that may be gaps, each (bool HxW, its features); the contour with a rim; its width; the sure area.

    For photos of the working height (see `working_size`). The features tell a gap from a part of the person:
    likelihood: mean over the piece of being background;
    edge: log of the colour edge along the mask's contour over that along the piece's inner border, for the
    contour of a gap runs through plain background;
    contrast: Lab distance to the background outside;
    rim: log of the inner border's length over the outer's, for a gap lies beside the person, while a hand
    is all outer border;
    expected, expected_beside: out-of-fold log-odds of person in the piece and in the person beside it;
    spread: standard deviation of its colours;
    height: of its centre below the person's top, over the square root of the person's area.
    """
    main = largest_component(mask)
    if not main.any() or main.all():
        return [], np.zeros_like(mask), np.zeros(mask.shape, dtype=np.float32), 0.0
    lab = to_lab(image)
    head = _look_at_head(lab, main, mask, expected)
    sure = head.band & (head.likelihood > SURE) & (depth_of(mask) <= SURE_DEPTH)
    gap, counted, width = _candidates(head, main, mask, width_limit)
    labels, stats = connected(gap, 8)
    edges = edge_strength(image)
    person_top = int(np.flatnonzero(main.any(axis=1))[0])
    pieces = []
    for label in range(1, len(stats)):
        if stats[label, cv2.CC_STAT_AREA] >= SMALLEST:
            piece = np.asarray(labels == label)
            if stats[label, cv2.CC_STAT_AREA] > BAND * (piece & counted).sum():
                continue  # no rim
            window = window_around(piece, BAND)
            views = (values[window] for values in (lab, edges, head.likelihood, expected, mask, piece, gap))
            height = (float(np.nonzero(piece)[0].mean()) - person_top) / float(main.sum()) ** 0.5
            pieces.append((piece, [*_features(*views), height]))  # type: ignore[arg-type]
    return pieces, counted, width, float(sure.sum())


def contour_step(lab: Floats, mask: Mask, piece: Mask) -> float:
    """Log of the colour step across the contour beside the piece over the step from 4 px outside it to 8 px.

    About 0 where the contour runs through plain background, more where it is an edge of the photo, as between dark
    hair and a dark wall.
    """
    window = window_around(piece, 20)
    rim, inside, colours = piece[window], mask[window], lab[window]
    depth, height, beside = depth_of(inside), depth_of(~inside), depth_of(~rim)
    zones = (
        rim & (depth <= 4),
        (height > 0) & (height <= 4) & (beside <= 5),
        (height > 4) & (height <= 8) & (beside <= 9),
    )
    if not all(zone.any() for zone in zones):
        return 0.0
    within, close, further = (_mean_colour(colours, zone) for zone in zones)
    return float(np.log((np.linalg.norm(within - close) + 1) / (np.linalg.norm(close - further) + 1)))


def hair_gap(
    image: RGB,
    mask: Mask,
    expected: Floats,
    width_limit: float = 4.0,
    wide_limit: float = 8.0,
    certain_only: bool = False,
) -> Gap:
    """Rim of background between the mask's contour and the hair, as in the report's 303, 325, 463.

    In the upper part of the largest component (80 % of its height, less in full-length photos), every pixel
    up to 14 px inside the contour gets a likelihood of being background: its colour is compared with the
    nearest samples outside the mask and further inside the person (after sampling-based matting: Wang &
    Cohen, "Optimized color sampling for robust matting", CVPR 2007), joined with the out-of-fold
    prediction, and shared with neighbours of like colour (see `_walk`). A piece of such pixels at the
    contour is a gap if its border says so too (see `candidate_gaps`). The width at a contour pixel is its
    distance to the nearest person pixel that is left. With `certain_only` a piece must be more probably one, and
    the contour no edge of the photo (see `contour_step`).
    """
    small_image, small, expected = working_size(image, mask, expected)
    pieces, counted, width, sure_area = candidate_gaps(small_image, small, expected, width_limit)
    where = np.zeros_like(small)
    lab = to_lab(small_image) if certain_only else None
    for piece, features in pieces:
        if not REAL_GAP.accepts(features, certain_only):
            continue
        if lab is None or contour_step(lab, small, piece) <= STEP:
            where |= piece
    counted = counted & where
    counted &= width >= width_limit
    widths = width[counted]
    if small.shape != mask.shape:
        resized = cv2.resize(where.astype(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
        where = (resized > 0) & mask
    return Gap(
        where=where,
        width=float(np.median(widths)) if widths.size else 0.0,
        length=float(counted.sum()),
        wide_length=float((widths >= wide_limit).sum()),
        sure_area=sure_area,
    )
