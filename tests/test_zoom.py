"""A second look where people are small, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from exported import Exported, exported  # noqa: F401 (a fixture)
from hypothesis import given, settings
from hypothesis import strategies as st

from personseg import Segmenter
from personseg.geometry import letterbox
from personseg.images import RGB, Mask, read_image, read_mask
from personseg.metrics import counts, iou
from personseg.zoom import LEAST_GAIN, MAX_WINDOWS, windows

SIZE = (64, 64)


def scene(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (640, 480)) -> Mask:
    mask = np.zeros(shape, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def test_one_small_person_gets_a_window_with_room_around() -> None:
    ((rows, columns),) = windows(scene((300, 200, 360, 230)), SIZE)
    for edge, expected in ((rows.start, 279), (rows.stop, 381), (columns.start, 179), (columns.stop, 251)):
        assert abs(edge - expected) <= 10
    assert rows.start < 290 and rows.stop > 370


def test_near_people_share_a_window_and_far_ones_do_not() -> None:
    near = windows(scene((300, 200, 360, 230), (300, 240, 360, 270)), SIZE)
    assert len(near) == 1 and near[0][1].start < 200 and near[0][1].stop > 270
    far = windows(scene((300, 20, 360, 50), (100, 400, 180, 440)), SIZE)
    assert [columns.start > 240 for _, columns in far] == [True, False], "the larger one first"


@pytest.mark.parametrize("mask", [scene(), scene((100, 50, 640, 430)), scene((0, 0, 640, 480))])
def test_nothing_small_no_window(mask: Mask) -> None:
    assert windows(mask, SIZE) == []


def test_photos_that_fit_the_network_have_none() -> None:
    assert windows(scene((5, 5, 9, 9), shape=(64, 60)), SIZE) == []


def test_a_crowd_is_not_looked_at_one_by_one() -> None:
    crowd = [(top, left, top + 8, left + 8) for top in range(20, 620, 60) for left in range(20, 460, 60)]
    assert len(windows(scene(*crowd), SIZE)) == MAX_WINDOWS


boxes = st.tuples(st.integers(0, 600), st.integers(0, 440), st.integers(1, 80), st.integers(1, 80))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(boxes, max_size=6))
def test_windows_are_apart_inside_the_photo_and_worth_it(found: list[tuple[int, int, int, int]]) -> None:
    mask = scene(*((top, left, min(640, top + h), min(480, left + w)) for top, left, h, w in found))
    seen = np.zeros(mask.shape, int)
    for window in windows(mask, SIZE):
        seen[window] += 1
        part = mask[window]
        assert window[0].stop <= 640 and window[1].stop <= 480 and window[0].start >= 0 and window[1].start >= 0
        assert min(64 / part.shape[0], 64 / part.shape[1]) >= LEAST_GAIN * 0.1 * 0.99
    assert seen.max() <= 1


def far_away(photo: RGB, mask: Mask, times: int) -> tuple[RGB, Mask]:
    """The photo in the lower right of a dark frame so many times as high and wide."""
    height, width = mask.shape
    rng = np.random.default_rng(0)
    frame = rng.integers(20, 70, (height * times, width * times, 3), dtype=np.uint8)
    truth = np.zeros(frame.shape[:2], bool)
    frame[-height:, -width:], truth[-height:, -width:] = photo, mask
    return frame, truth


def test_small_people_are_found_better(exported: Exported) -> None:  # noqa: F811
    segmenter = Segmenter.load(exported.model, "pytorch_fp32", export_folder=exported.folder)
    scores: dict[bool, list[float]] = {True: [], False: []}
    for photo, mask in exported.pairs:
        frame, truth = far_away(read_image(photo), read_mask(mask), 5)
        for zoom, values in scores.items():
            segmenter.zoom = zoom
            found = segmenter.predict(frame)
            assert found.mask.shape == found.probability.shape == truth.shape
            values.append(iou(*counts(found.mask, truth)[:3]))
    assert np.mean(scores[True]) > np.mean(scores[False]) + 0.05, scores


def test_a_photo_that_fits_is_looked_at_once(exported: Exported) -> None:  # noqa: F811
    segmenter = Segmenter.load(exported.model, "pytorch_fp32", export_folder=exported.folder)
    photo = read_image(exported.pairs[0][0])
    assert letterbox(photo, segmenter.config.input_size)[1].inner_height == photo.shape[0]
    closer = segmenter.predict(photo)
    segmenter.zoom = False
    np.testing.assert_array_equal(closer.mask, segmenter.predict(photo).mask)
