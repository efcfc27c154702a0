"""Parts of the person left out, wholly inside it."""

from __future__ import annotations

import cv2
import numpy as np

from personseg.defects.shared import (
    Floats,
    Region,
    Verdict,
    connected,
    depth_of,
    edge_strength,
    likeness,
    log_odds,
    near,
    px_scale,
    to_lab,
    window_around,
)
from personseg.images import RGB, Mask

THINNEST = 1.5  # px; radius of the largest disc in a hole; thinner ones are chinks between strands of hair
THICKEST = 6.0  # px; beyond it a larger disc says nothing more
MOST = 400.0  # px: in the PicsArt masks everything larger is a real gap
SMALLEST = 4.0  # px
LARGE, LARGE_LEAST = 120.0, 0.4  # px from which a hole must be surer, as filling a real gap costs more; probability
NEARBY = 50  # px within which colours are compared
FARTHEST = 99.0  # Lab; a larger distance, or to nothing, says nothing more ...
UNKNOWN = 20.0  # ... but for a piece at the frame, which may be all the background there is

# Whether an enclosed piece of background is a hole; the features are explained at `candidate_holes`.
REAL_HOLE = Verdict(
    offset=-26.44,
    weights={
        "to_person": -2.86,
        "to_background": 1.71,
        "expected": 0.38,
        "contrast": -0.97,
        "at_frame": -2.47,
        "solidity": 20.68,
        "spread": 3.26,
        "edge": -1.93,
        "edge_to_around": -2.41,
    },
    least=0.3,
    certain=0.7,
)


def candidate_holes(image: RGB, mask: Mask, expected: Floats) -> list[tuple[Mask, list[float]]]:
    """Pieces of background enclosed by person or by person and frame, each (bool HxW) with the features of REAL_HOLE.

    to_person, to_background: log of the Lab distance to the nearest colours in the person within 8 px and
    in the background outside within 50 px; expected: out-of-fold log-odds of person, times the radius of the
    largest disc, as the small model does not see thin ones; contrast: distance of its mean colour to that of the
    person within 4 px, in units of the person's own spread there; at_frame: 1 if it touches the frame, where gaps
    beside an arm end, else 0; solidity: area over that of the convex hull, for what is left out by mistake is a blob,
    while gaps between strands of hair or beside an arm have corners; spread: log of the spread of its colours, as
    clothes and skin are seldom as even as a gap is; edge, edge_to_around: log of the photo's edge (lower quartile)
    along its contour, and of the mean edge there over that in the person 2.5 to 7 px away, for the contour of a gap
    is an edge of the photo and that of a mistake is none.
    """
    scale = px_scale(mask)
    labels, stats = connected(~mask, 4)
    area = stats[:, cv2.CC_STAT_AREA] / scale**2
    small = (area >= SMALLEST) & (area <= MOST)
    small[0] = False
    if not small.any():
        return []
    lab, edges = to_lab(image), edge_strength(image)
    outside = ~mask & ~small[labels] & ~near(mask, 2 * scale)
    found = []
    for label in np.flatnonzero(small):
        whole = np.asarray(labels == label)
        window = window_around(whole, int(NEARBY * scale))
        hole, person, colours = whole[window], mask[window], lab[window]
        depth = depth_of(hole)
        thick = float(depth.max()) / scale
        if thick <= THINNEST:
            continue
        distance = depth_of(~hole)
        ring = person & (distance > 1.5 * scale)
        to_person, to_background = likeness(colours, hole, ring & (distance <= 8 * scale), outside[window])
        at_frame = bool(whole[0].any() or whole[-1].any() or whole[:, 0].any() or whole[:, -1].any())
        if at_frame and np.isinf(to_background):
            to_background = UNKNOWN
        beside = colours[ring & (distance <= 4 * scale)]
        middle = colours[depth > scale].mean(axis=0) if (depth > scale).any() else colours[hole].mean(axis=0)
        contrast = 0.0
        if len(beside):
            contrast = float(np.linalg.norm(middle - beside.mean(axis=0)) / (np.linalg.norm(beside.std(axis=0)) + 2))
        rim = np.where(hole, depth, np.where(person, distance, np.inf)) <= max(1.0, 1.5 * scale)
        away = person & (distance > 2.5 * scale) & (distance <= 7 * scale)
        along = edges[window][rim]
        outline, _ = cv2.findContours(hole.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        hull = cv2.fillConvexPoly(np.zeros(hole.shape, np.uint8), cv2.convexHull(outline[0]), 1)
        features = [
            float(np.log(min(to_person, FARTHEST) + 0.3)),
            float(np.log(min(to_background, FARTHEST) + 0.3)),
            float(log_odds(expected[whole].mean())) * min(thick, THICKEST),
            contrast,
            float(at_frame),
            float(hole.sum() / hull.sum()),
            float(np.log1p(np.linalg.norm(colours[hole].std(axis=0)))),
            float(np.log1p(np.percentile(along, 25))),
            float(np.log((along.mean() + 1) / (edges[window][away].mean() + 1))) if away.any() else 0.0,
        ]
        found.append((whole, features))
    return found


def holes(image: RGB, mask: Mask, expected: Floats, certain_only: bool = False) -> Region:
    """Enclosed background that is person.

    A small background component is enclosed by the person, or by it and the frame. A gap between arm and body, a
    ring of jewellery or a gap between strands of hair is too, and right: so a hole counts only if its colours, shape
    and edges (see `candidate_holes`) and the out-of-fold prediction (float32 HxW `expected`) say person. Chinks too
    thin for a disc of 1.5 px radius do not count, nor do holes above 400 px.
    With `certain_only` a piece must be more probably one.
    """
    where = np.zeros_like(mask)
    count = 0
    for piece, features in candidate_holes(image, mask, expected):
        large = piece.sum() >= LARGE * px_scale(mask) ** 2
        least = REAL_HOLE.certain if certain_only else LARGE_LEAST if large else REAL_HOLE.least
        if REAL_HOLE.probability(features) >= least:
            where |= piece
            count += 1
    return Region(where, count, float(where.sum()) / px_scale(mask) ** 2)
