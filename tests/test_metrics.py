import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import adapted_rand_error
from skimage.segmentation import find_boundaries
from torchmetrics.functional.classification import binary_f1_score, binary_jaccard_index

from personseg.metrics import (
    THRESHOLDS,
    ThresholdCounts,
    bootstrap_ci,
    boundary,
    boundary_iou,
    counts,
    dice,
    iou,
)

masks = arrays(np.bool_, (13, 17))


@given(masks, masks)
def test_iou_and_dice_agree_with_torchmetrics(prediction, target):
    tp, fp, fn, tn = counts(prediction, target)
    assert tp + fp + fn + tn == prediction.size
    if tp + fp + fn == 0:
        assert iou(tp, fp, fn) == dice(tp, fp, fn) == 1.0
        return
    p, t = torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(target.astype(np.int64))
    assert iou(tp, fp, fn) == pytest.approx(float(binary_jaccard_index(p, t)), abs=1e-6)
    assert dice(tp, fp, fn) == pytest.approx(float(binary_f1_score(p, t)), abs=1e-6)


def test_empty_and_full_masks():
    empty, full = np.zeros((8, 8), bool), np.ones((8, 8), bool)
    assert iou(*counts(empty, empty)[:3]) == 1.0
    assert iou(*counts(empty, full)[:3]) == 0.0
    assert iou(*counts(full, full)[:3]) == 1.0
    assert boundary_iou(empty, empty) == 1.0
    assert boundary_iou(full, full) == 1.0
    assert boundary_iou(empty, full) == 0.0


def test_counts_refuse_masks_of_different_shape():
    with pytest.raises(ValueError, match="shapes differ"):
        counts(np.zeros((4, 4), bool), np.zeros((4, 1), bool))


def test_boundary_is_the_band_inside_the_contour():
    mask = np.zeros((100, 100), bool)
    mask[20:80, 30:70] = True
    band = boundary(mask, ratio=0.02)  # 3 px of a 141 px diagonal
    assert band[20:23, 30:70].all() and not band[23:77, 33:67].any()
    thin = boundary(mask, ratio=0.0)
    inner = find_boundaries(mask, connectivity=2, mode="inner")
    assert np.array_equal(thin, inner)


def test_boundary_iou_punishes_a_shift_that_iou_forgives():
    mask = np.zeros((200, 200), bool)
    mask[20:180, 20:180] = True
    shifted = np.roll(mask, 3, axis=1)
    assert iou(*counts(shifted, mask)[:3]) > 0.95
    assert boundary_iou(shifted, mask) < 0.75
    assert adapted_rand_error(mask.astype(int) + 1, shifted.astype(int) + 1)[0] > 0  # truly different masks


def test_threshold_counts_equal_counting_one_by_one():
    rng = np.random.default_rng(3)
    totals = ThresholdCounts()
    pairs = []
    for _ in range(3):
        probability = rng.random((11, 9)).astype(np.float32)
        probability[0, :4] = [0.0, 0.5, 1.0, 0.1]
        target = rng.random((11, 9)) < 0.4
        totals.update(probability, target)
        pairs.append((probability, target))
    for threshold, value in zip(THRESHOLDS, totals.iou(), strict=True):
        summed = np.sum([counts(p > threshold, t) for p, t in pairs], axis=0)
        assert value == iou(*(int(x) for x in summed[:3]))
    eleven = [
        iou(*(int(x) for x in np.sum([counts(p > np.float32(k / 10), t) for p, t in pairs], axis=0)[:3]))
        for k in range(11)
    ]
    assert totals.report_protocol() == max(eleven)


def test_bootstrap_interval_holds_the_pooled_value_and_is_seeded():
    rng = np.random.default_rng(0)
    tp = rng.integers(800, 1000, 60)
    per_image = np.stack([tp, 1000 - tp, rng.integers(0, 60, 60)], axis=1)
    low, high = bootstrap_ci(per_image, 500, 1)
    pooled = iou(*(int(x) for x in per_image.sum(axis=0)))
    assert low < pooled < high
    assert high - low < 0.05
    assert bootstrap_ci(per_image, 500, 1) == (low, high) != bootstrap_ci(per_image, 500, 2)


@given(st.integers(1, 50))
def test_bootstrap_of_identical_images_has_no_width(count):
    low, high = bootstrap_ci(np.tile([90, 5, 5], (count, 1)), 100, 0)
    assert low == high == 0.9
