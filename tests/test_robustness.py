"""The views change photo and mask together, so that what is scored is the model and not the view."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.robustness import LARGE, SCORED, VIEWS, Pair, _scored
from personseg.images import RGB, Mask
from tests.figures import person


def seen(name: str) -> tuple[Pair, tuple[RGB, Mask]]:
    """A view of the drawn person, and the person as drawn."""
    image, mask = person()
    return VIEWS[name](image.copy(), mask.copy(), np.random.default_rng(3)), (image, mask)


@pytest.mark.parametrize("name", VIEWS)
def test_photo_and_mask_are_of_one_size_and_the_same_each_time(name: str) -> None:
    (photo, truth), _ = seen(name)
    again, _ = seen(name)
    assert photo.shape == (*truth.shape, 3) and photo.dtype == np.uint8 and truth.dtype == bool and truth.any()
    np.testing.assert_array_equal(photo, again[0])
    np.testing.assert_array_equal(truth, again[1])


@pytest.mark.parametrize("times", [2, 4, 6])
def test_a_person_far_away_is_whole_and_where_the_mask_says(times: int) -> None:
    (photo, truth), (image, mask) = seen(f"frame {times} times as high")
    assert truth.shape == (320 * times, 240 * times) and truth.sum() == mask.sum()
    left = int(np.flatnonzero(truth.any(axis=0))[0] - np.flatnonzero(mask.any(axis=0))[0])
    corner = np.s_[-320:, left : left + 240]
    np.testing.assert_array_equal(truth[corner], mask)
    inside = cv2.erode(mask.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0  # beyond the soft seam
    assert np.abs(photo[corner][inside].astype(int) - image[inside]).max() <= 2
    outside = np.abs(photo[corner].astype(int) - image)[~mask]
    assert outside.mean() > 10, "the scene is another one"


def test_between_bars_and_enlarged_the_person_keeps_its_place() -> None:
    (photo, truth), (image, mask) = seen("16:9 between bars")
    left = (truth.shape[1] - 240) // 2
    np.testing.assert_array_equal(photo[:, left : left + 240], image)
    np.testing.assert_array_equal(truth[:, left : left + 240], mask)
    assert truth.sum() == mask.sum()
    (photo, truth), _ = seen(f"{LARGE} px high")
    assert photo.shape == (LARGE, LARGE * 3 // 4, 3) and abs(truth.mean() - mask.mean()) < 0.001


@pytest.mark.parametrize(
    ("name", "darker"),
    [("dark and noisy", "everywhere"), ("against the light", "person"), ("light from one side", "right")],
)
def test_light_changes_the_photo_alone(name: str, darker: str) -> None:
    (photo, truth), (image, mask) = seen(name)
    np.testing.assert_array_equal(truth, mask)
    change = photo.astype(int).mean(axis=2) - image.mean(axis=2)
    where = {"everywhere": np.ones_like(mask), "person": mask, "right": np.arange(240)[None] > np.full((320, 1), 160)}[
        darker
    ]
    assert change[where].mean() < -10
    if darker != "everywhere":
        assert change[~where].mean() > 10


def test_large_masks_are_scored_smaller() -> None:
    mask = np.zeros((4000, 3000), bool)
    mask[1000:3000, 500:2500] = True
    small = _scored(mask)
    assert small.shape == (SCORED, SCORED * 3 // 4) and small.mean() == mask.mean()
    assert _scored(mask[:900, :700]).shape == (900, 700)
