"""A repair brings the true mask back, or leaves the mask alone."""

from __future__ import annotations

import numpy as np
import pytest

from personseg.audit import mendable
from personseg.cutouts import matte
from personseg.defects import Gap
from personseg.images import Mask
from personseg.repair import mend, repair, trim_gap
from tests.figures import LIMITS, case, disc, person, with_many_spots, with_rim


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_spots_and_holes_are_mended_exactly() -> None:
    image, mask = person()
    broken = (mask | disc(mask.shape, (25, 60), 6)) & ~disc(mask.shape, (120, 270), 5)
    mended, steps = repair(case(image, broken, mask), LIMITS)
    np.testing.assert_array_equal(mended, mask)
    assert [step.split(" (")[0] for step in steps] == ["spots removed", "holes filled"]


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("width", [5, 7])
def test_hair_gap_is_trimmed_locally(width: int, scale: int) -> None:
    image, mask = person(scale=scale)
    broken = with_rim(mask, width * scale)
    mended, steps = repair(case(image, broken, mask), LIMITS)
    assert steps
    assert steps[0].startswith("hair gap trimmed")
    assert (mended ^ mask).sum() < 0.25 * (broken ^ mask).sum()
    assert iou(mended, mask) > 0.99
    np.testing.assert_array_equal(mended[160 * scale :], broken[160 * scale :])


def test_the_gap_of_a_tiny_photo_is_trimmed_too() -> None:
    image, mask = person()
    rim = with_rim(mask, 8) & ~mask
    tiny, broken, gap = image[::8, ::8], (mask | rim)[::8, ::8], rim[::8, ::8]
    trimmed = trim_gap(tiny, broken, Gap(gap, 1.0, 20.0, 0.0, 20.0))
    assert gap.sum() > 20
    assert (trimmed & gap).sum() < 0.5 * gap.sum()
    assert iou(trimmed, mask[::8, ::8]) > 0.97


def test_what_cannot_be_bettered_comes_back_unchanged() -> None:
    image, mask = person()
    for hopeless in (mask, np.zeros_like(mask), np.ones_like(mask)):
        mended, steps = repair(case(image, hopeless, mask), LIMITS)
        assert steps == []
        np.testing.assert_array_equal(mended, hopeless)


def test_repair_that_changes_too_much_is_undone() -> None:
    image, mask = person()
    broken = with_many_spots(mask)
    given = case(image, broken, mask)
    mended, steps = repair(given, LIMITS)
    assert steps == []
    np.testing.assert_array_equal(mended, broken)
    mended, steps = mend(given, *mendable(given, LIMITS))
    assert steps[0].startswith("spots removed"), "unjudged, it is there"
    np.testing.assert_array_equal(mended[:260], mask[:260])  # lower down the spots touch the person


def test_a_matte_that_does_not_converge_leaves_the_gap_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: object) -> None:
        raise ValueError("Conjugate gradient descent did not converge within 10000 iterations")

    monkeypatch.setattr("pymatting.estimate_alpha_cf", diverge)
    image, mask = person()
    broken = with_rim(mask, 7)
    mended, steps = repair(case(image, broken, mask), LIMITS)
    assert steps == []
    np.testing.assert_array_equal(mended, broken)
    alpha, colours = matte(image, mask)
    np.testing.assert_array_equal(alpha > 0, mask)
    np.testing.assert_array_equal(colours, image)
