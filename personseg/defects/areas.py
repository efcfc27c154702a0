"""Large areas where mask and out-of-fold prediction disagree: background taken in, parts of the person left out."""

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
    strongest_edge,
    to_lab,
    window_around,
)
from personseg.images import RGB, Mask

UNLIKELY, LIKELY = 0.4, 0.9  # expected probability of person below and above which a pixel is suspect
RADIUS = 3.0  # px; of the disc that must fit: thinner disagreement is the prediction's own blur
SMALLEST = 100.0  # px
NEARBY = 20  # px within which colours are compared

# Whether a piece is background taken in; the features are explained at `candidate_extras`.
REAL_EXTRA = Verdict(
    offset=-8.2,
    weights={
        "expected": -1.15,
        "to_background": -0.67,
        "to_person": 0.71,
        "area": 0.66,
        "outer": -0.53,
        "edge": -1.76,
    },
    least=0.4,
)


def _large(suspect: Mask, scale: float) -> list[Mask]:
    """Pieces (bool HxW) of what a disc of RADIUS fits into, of at least SMALLEST px."""
    size = 2 * max(1, round(RADIUS * scale)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    opened = cv2.morphologyEx(suspect.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    labels, stats = connected(opened, 8)
    large = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= SMALLEST * scale**2) + 1
    return [np.asarray(labels == label) for label in large]


def _region(mask: Mask, pieces: list[Mask]) -> Region:
    where = np.zeros_like(mask)
    for piece in pieces:
        where |= piece
    return Region(where, len(pieces), float(where.sum()) / px_scale(mask) ** 2)


def candidate_extras(image: RGB, mask: Mask, expected: Floats, elsewhere: Mask) -> list[tuple[Mask, list[float]]]:
    """Pieces that may be background taken in, each (bool HxW) with its features, in the order of REAL_EXTRA.

    expected: out-of-fold log-odds of person; to_background, to_person: log of the Lab distance to the nearest
    colours outside the mask and elsewhere in it, within 20 px; area: its log; outer: log of its border with
    the outside over that with the person; edge: log of the colour edge along these two borders' ratio.
    """
    scale = px_scale(mask)
    pieces = _large(mask & ~elsewhere & (expected < UNLIKELY), scale)
    if not pieces:
        return []
    suspect = _region(mask, pieces).where
    lab, edges = to_lab(image), edge_strength(image)
    found = []
    for piece in pieces:
        window = window_around(piece, int(2 * NEARBY * scale))
        part, inside = piece[window], mask[window]
        distance = depth_of(~part)
        close = distance <= NEARBY * scale
        outside = ~inside & close & (distance > 1.5 * scale)
        person = inside & ~suspect[window] & close & (distance > 2 * scale)
        to_background, to_person = likeness(lab[window], part, outside, person)
        outer = part & near(~inside, 3 * scale)
        inner = part & near(inside & ~part, 1.5 * scale)
        at_contour, at_person = (strongest_edge(edges[window], border) for border in (outer, inner))
        features = [
            float(log_odds(expected[piece].mean())),
            float(np.log(min(to_background, 99) + 0.3)),
            float(np.log(min(to_person, 99) + 0.3)),
            float(np.log(piece.sum() / scale**2)),
            float(np.log((outer.sum() + 1) / (inner.sum() + 1))),
            float(np.log((at_contour + 1) / (at_person + 1))),
        ]
        found.append((piece, features))
    return found


def extra_background(image: RGB, mask: Mask, expected: Floats, elsewhere: Mask) -> Region:
    """Background inside the mask: a pocket between arm and body, a wrong object, a lump at the side.

    Pixels of the mask that the out-of-fold prediction calls background (float32 HxW `expected` below 0.4),
    not counted `elsewhere` (spots, hair gaps), in pieces of 100 px that hold a disc of 3 px radius and whose
    colours and borders say background too (see `candidate_extras`).
    """
    candidates = candidate_extras(image, mask, expected, elsewhere)
    return _region(mask, [piece for piece, features in candidates if REAL_EXTRA.accepts(features)])


def missing_part(mask: Mask, expected: Floats, elsewhere: Mask) -> Region:
    """Part of a person that the mask leaves out: pixels outside it, not counted `elsewhere` (holes), that the
    out-of-fold prediction calls person (above 0.9), in pieces as in `extra_background`."""
    return _region(mask, _large(~mask & ~elsewhere & (expected > LIKELY), px_scale(mask)))
