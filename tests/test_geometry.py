"""A photo of any size goes into the network's input and back without losing its shape."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from personseg.geometry import enlarge, letterbox, place

SIDES = st.integers(1, 600)
SIZES = st.tuples(st.sampled_from([32, 96, 320, 512]), st.sampled_from([32, 64, 256, 512]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(height=SIDES, width=SIDES, size=SIZES)
def test_round_trip_gives_the_photos_size(height: int, width: int, size: tuple[int, int]) -> None:
    photo = np.random.default_rng(height * 1000 + width).integers(1, 256, (height, width, 3), dtype=np.uint8)
    padded, placement = letterbox(photo, size)
    assert padded.shape == (*size, 3)
    assert padded.dtype == np.uint8
    assert not padded[placement.inner_height :].any()
    assert not padded[:, placement.inner_width :].any()
    back = placement.restore(padded[..., 0].astype(np.float32))
    assert back.shape == (height, width)
    assert back.dtype == np.float32
    assert back.flags.c_contiguous
    if height <= size[0] and width <= size[1]:
        np.testing.assert_array_equal(padded[:height, :width], photo)
        np.testing.assert_array_equal(back, photo[..., 0])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(height=st.integers(1, 20000), width=st.integers(1, 20000), size=SIZES)
def test_shrunk_to_fit_and_never_enlarged(height: int, width: int, size: tuple[int, int]) -> None:
    inner = place(height, width, size)
    assert (inner.height, inner.width) == (height, width)
    assert 1 <= inner.inner_height <= min(height, size[0])
    assert 1 <= inner.inner_width <= min(width, size[1])
    if height <= size[0] and width <= size[1]:
        assert (inner.inner_height, inner.inner_width) == (height, width)
    else:
        # As large as fits: one side is full. The other keeps the aspect ratio to within its rounding.
        assert inner.inner_height == size[0] or inner.inner_width == size[1]
        scale = min(size[0] / height, size[1] / width)
        assert abs(inner.inner_height - max(1, height * scale)) <= 0.5 + 1e-9
        assert abs(inner.inner_width - max(1, width * scale)) <= 0.5 + 1e-9


def test_mask_is_placed_like_its_photo() -> None:
    mask = np.zeros((640, 512), np.uint8)
    mask[100:300, 50:400] = 1
    padded, placement = letterbox(mask, (320, 256))
    assert padded.shape == (320, 256)
    assert placement == letterbox(np.repeat(mask[..., None], 3, axis=2), (320, 256))[1]
    expected = np.zeros((320, 256), np.uint8)
    expected[50:150, 25:200] = 1
    np.testing.assert_array_equal(padded, expected)


def test_large_photo_comes_back_in_place() -> None:
    photo = np.zeros((1000, 750, 3), np.uint8)
    photo[200:600, 300:500] = 255
    padded, placement = letterbox(photo, (320, 256))
    back = placement.restore(padded[..., 0].astype(np.float32)) > 127
    truth = photo[..., 0] > 127
    assert (back & truth).sum() / (back | truth).sum() > 0.97


def test_arguments_are_not_changed() -> None:
    photo = np.full((40, 30, 3), 9, np.uint8)
    padded, placement = letterbox(photo, (64, 32))
    padded[:] = 0
    assert (photo == 9).all()
    values = np.ones((64, 32), np.float32)
    placement.restore(values)
    assert (values == 1).all()


def test_logits_are_enlarged_as_the_network_itself_does() -> None:
    small = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    own = F.interpolate(torch.from_numpy(small)[:, None], size=(10, 14), mode="bilinear", align_corners=False)[:, 0]
    np.testing.assert_allclose(enlarge(small, (10, 14)), own.numpy(), atol=1e-6)
    assert enlarge(small, (5, 7)) is small
