"""What goes out and comes back is the same: masks through JPEG, run-length codes, the network's frame."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image

from personseg import rle
from personseg.convert import Converted, Pair, convert_pair
from personseg.geometry import letterbox, place
from personseg.images import Mask, encode_rgb_jpeg, is_whole_jpeg, read_mask
from tests.faults import pictures as pic

SIDES = st.integers(1, 70)
MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))
SIZES = st.tuples(st.integers(1, 8), st.integers(1, 8)).map(lambda size: (size[0] * 32, size[1] * 32))
QUICK = settings(max_examples=60, deadline=None, derandomize=True)


@QUICK
@given(mask=MASKS, kind=st.sampled_from(["PNG", "BMP", "TIFF", "GIF"]), level=st.sampled_from([1, 255]))
def test_a_mask_goes_through_convert_pixel_for_pixel(mask: Mask, kind: str, level: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("images", "masks"):
            (root / name).mkdir()
        (root / "photo").write_bytes(pic.encoded(np.zeros((*mask.shape, 3), np.uint8), "PNG"))
        (root / "mask").write_bytes(pic.encoded(mask.astype(np.uint8) * np.uint8(level), kind))
        row = convert_pair(Pair("x", root / "photo", root / "mask"), root, 95, 10_000)
        assert isinstance(row, Converted) and (row.height, row.width) == mask.shape
        np.testing.assert_array_equal(read_mask(root / "masks/x.jpg"), mask)


@QUICK
@given(MASKS)
def test_run_length_codes_round_trip_and_are_the_shortest(mask: Mask) -> None:
    code = rle.encode(mask)
    np.testing.assert_array_equal(rle.decode(code, mask.shape), mask)
    assert rle.encode(rle.decode(code, mask.shape)) == code
    starts, lengths = np.array(code.split(), int).reshape(-1, 2).T
    assert lengths.sum() == mask.sum() and (starts[1:] > starts[:-1] + lengths[:-1]).all()


@QUICK
@given(height=SIDES, width=SIDES, size=SIZES)
def test_a_photo_that_fits_the_frame_comes_back_as_it_was(height: int, width: int, size: tuple[int, int]) -> None:
    values = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width), dtype=np.uint8)
    padded, placement = letterbox(values, size)
    assert padded.shape == size and (placement.height, placement.width) == (height, width)
    assert not padded[placement.inner_height :].any() and not padded[:, placement.inner_width :].any()
    restored = placement.restore(padded.astype(np.float32))
    assert restored.shape == (height, width)
    if height <= size[0] and width <= size[1]:
        np.testing.assert_array_equal(restored, values)
    else:
        assert int(values.min()) - 1 <= restored.min() and restored.max() <= int(values.max()) + 1


@QUICK
@given(height=st.integers(1, 60_000), width=st.integers(1, 60_000), size=SIZES)
def test_a_photo_of_any_size_has_a_place_in_the_frame(height: int, width: int, size: tuple[int, int]) -> None:
    placement = place(height, width, size)
    assert 1 <= placement.inner_height <= min(height, size[0])
    assert 1 <= placement.inner_width <= min(width, size[1])
    if height > size[0] or width > size[1]:  # shrunk to touch a side of the frame
        assert placement.inner_height == size[0] or placement.inner_width == size[1]


@QUICK
@given(height=st.integers(8, 300), width=st.integers(8, 300), size=SIZES, coverage=st.floats(0.2, 0.8))
def test_a_half_plane_shrunk_and_enlarged_moves_by_a_pixel_of_the_network(
    height: int, width: int, size: tuple[int, int], coverage: float
) -> None:
    mask = np.arange(height)[:, None] < np.full(width, coverage * height)
    padded, placement = letterbox(mask.astype(np.uint8) * 255, size)
    back: NDArray[np.bool_] = placement.restore(padded.astype(np.float32)) > 127
    step = height / placement.inner_height
    assert np.abs(back.sum(axis=0) - mask.sum(axis=0)).max() <= np.ceil(step)


@QUICK
@given(height=SIDES, width=SIDES, quality=st.integers(1, 100), cut=st.floats(0, 0.999))
def test_a_jpeg_cut_anywhere_is_not_whole(height: int, width: int, quality: int, cut: float) -> None:
    data = encode_rgb_jpeg(np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8), quality)
    assert is_whole_jpeg(data) and is_whole_jpeg(data + b"trailer")
    assert not is_whole_jpeg(data[: int(len(data) * cut)])


def test_the_end_of_a_preview_is_not_the_end_of_the_photo() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a preview \xff\xd9".encode("latin-1")  # any tag whose bytes hold an end marker
    data = pic.jpeg(exif=exif.tobytes())
    assert data.count(b"\xff\xd9") > 1 and is_whole_jpeg(data)
    assert not is_whole_jpeg(data[:-2])
