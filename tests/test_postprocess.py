"""Small objects go, small holes are filled, everything else stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from personseg.images import Mask
from personseg.postprocess import clean_mask


def scene() -> Mask:
    """A body of 30 x 30 px with holes of 4 and 25 px, and objects of 9 and 36 px beside it."""
    mask = np.zeros((60, 60), dtype=bool)
    mask[5:35, 5:35] = True
    mask[10:12, 10:12] = False
    mask[20:25, 20:25] = False
    mask[45:48, 5:8] = True
    mask[45:51, 40:46] = True
    return mask


@pytest.mark.parametrize(
    ("min_object", "gone"),
    [(0, []), (1, []), (9, []), (10, [(46, 6)]), (36, [(46, 6)]), (37, [(46, 6), (47, 42)])],
)
def test_objects_below_the_size_go(min_object: int, gone: list[tuple[int, int]]) -> None:
    mask = scene()
    cleaned = clean_mask(mask, min_object, 0)
    assert cleaned.dtype == bool
    expected = mask.copy()
    for y, x in gone:
        expected[y - 3 : y + 6, x - 4 : x + 6] = False
    np.testing.assert_array_equal(cleaned, expected)


def test_a_small_person_stays_and_specks_beside_go() -> None:
    mask = np.zeros((60, 60), dtype=bool)
    mask[20:30, 20:26] = True  # 60 px
    mask[50:52, 50:53] = mask[5:7, 5:9] = True  # 6 and 8
    mask[40:41, 10:15] = True  # 5: less than a tenth
    expected = mask.copy()
    expected[40:41, 10:15] = False
    np.testing.assert_array_equal(clean_mask(mask, 800, 0), expected)


@pytest.mark.parametrize(
    ("min_hole", "filled"),
    [(0, []), (1, []), (4, []), (5, [slice(10, 12)]), (25, [slice(10, 12)]), (26, [slice(10, 12), slice(20, 25)])],
)
def test_holes_below_the_size_are_filled(min_hole: int, filled: list[slice]) -> None:
    mask = scene()
    expected = mask.copy()
    for square in filled:
        expected[square, square] = True
    np.testing.assert_array_equal(clean_mask(mask, 0, min_hole), expected)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    mask=arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)),
    min_object=st.integers(0, 30),
    min_hole=st.integers(0, 30),
)
def test_against_labels_and_argument_unchanged(mask: Mask, min_object: int, min_hole: int) -> None:
    before = mask.copy()
    cleaned = clean_mask(mask, min_object, min_hole)
    np.testing.assert_array_equal(mask, before)
    areas = np.bincount(ndimage.label(before)[0].ravel())[1:]
    expected = _drop_below(before, min(min_object, np.ceil(areas.max(initial=0) / 10)))
    np.testing.assert_array_equal(cleaned, ~_drop_below(~expected, min_hole))


def _drop_below(mask: Mask, size: float) -> Mask:
    labels, _ = ndimage.label(mask)  # 4-connected
    return np.asarray(mask & (np.bincount(labels.ravel())[labels] >= size))


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_masks_stay(value: bool) -> None:
    mask = np.full((20, 20), value)
    np.testing.assert_array_equal(clean_mask(mask, 50, 50), mask)
    assert (mask == value).all()


def test_zero_leaves_the_mask() -> None:
    mask = scene()
    np.testing.assert_array_equal(clean_mask(mask, 0, 0), mask)
