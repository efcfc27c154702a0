"""Masks survive JPEG pixel for pixel; whatever kind of image a user supplies is read right or refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from personseg.errors import UserError
from personseg.images import (
    Mask,
    encode_mask_jpeg,
    open_supplied,
    read_image,
    read_mask,
    to_mask,
    to_rgb,
    write_image,
    write_mask,
)

PLENTY = 10**9
ROTATED = 6  # EXIF: the right side of the stored image is the top of the upright one's left


def random_rgb(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def checkerboard(height: int, width: int) -> Mask:
    y, x = np.mgrid[:height, :width]
    return np.asarray((y + x) % 2 == 1)


def assert_survives_jpeg(mask: Mask, folder: Path) -> None:
    write_mask(folder / "mask.png", mask)
    write_mask(folder / "mask.jpg", mask)
    from_png, from_jpeg = read_mask(folder / "mask.png"), read_mask(folder / "mask.jpg")
    assert from_jpeg.dtype == bool
    np.testing.assert_array_equal(from_png, mask)
    np.testing.assert_array_equal(from_jpeg, from_png)
    with Image.open(folder / "mask.jpg") as image:  # and for every reader, not only ours
        assert image.mode == "L"
        np.testing.assert_array_equal(to_mask(image), mask)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(mask=arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=41)))
def test_mask_jpeg_gives_back_the_pixels(mask: Mask, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert_survives_jpeg(mask, tmp_path_factory.getbasetemp())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1), height=st.integers(1, 97), width=st.integers(1, 97))
def test_noise_mask_jpeg_gives_back_the_pixels(
    seed: int, share: float, height: int, width: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    assert_survives_jpeg(mask, tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (17, 1), (7, 9), (8, 8), (321, 239)])
@pytest.mark.parametrize("kind", ["empty", "full", "checkerboard", "stripes", "dot"])
def test_special_mask_jpeg_gives_back_the_pixels(kind: str, shape: tuple[int, int], tmp_path: Path) -> None:
    mask = np.zeros(shape, dtype=bool)
    if kind == "full":
        mask[:] = True
    elif kind == "checkerboard":
        mask = checkerboard(*shape)
    elif kind == "stripes":
        mask[:, ::2] = True
    elif kind == "dot":
        mask[shape[0] // 2, shape[1] // 2] = True
    assert_survives_jpeg(mask, tmp_path)


def test_mask_too_long_for_jpeg_is_refused() -> None:
    with pytest.raises(ValueError, match="JPEG"):
        encode_mask_jpeg(np.zeros((1, 70000), dtype=bool))


def test_photo_round_trip(tmp_path: Path) -> None:
    photo = random_rgb(11, 7)
    write_image(tmp_path / "a.png", photo)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), photo)
    flat = np.full((32, 32, 3), (200, 40, 90), dtype=np.uint8)
    write_image(tmp_path / "a.jpg", flat, quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg").astype(int), flat.astype(int), atol=3)
    write_image(tmp_path / "noise95.jpg", random_rgb(64, 64), quality=95)
    write_image(tmp_path / "noise30.jpg", random_rgb(64, 64), quality=30)
    assert (tmp_path / "noise30.jpg").stat().st_size < (tmp_path / "noise95.jpg").stat().st_size / 2


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("data", [None, b"", b"not an image"])
def test_unreadable_file_is_a_user_error(tmp_path: Path, read, data: bytes | None) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.jpg"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.jpg: missing or not a readable"):
        read(path)


def opened(image: Image.Image, path: Path, **options: object) -> Image.Image:
    image.save(path, **options)
    return open_supplied(path, PLENTY)


def test_grey_photo(tmp_path: Path) -> None:
    grey = random_rgb(5, 8)[..., 0]
    rgb = to_rgb(opened(Image.fromarray(grey), tmp_path / "a.png"))
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, np.repeat(grey[..., None], 3, axis=2))


def test_black_and_white_photo_and_mask(tmp_path: Path) -> None:
    board = checkerboard(5, 9)
    image = opened(Image.fromarray(board), tmp_path / "a.png")
    assert image.mode == "1"
    np.testing.assert_array_equal(to_rgb(image), np.repeat(board[..., None], 3, axis=2) * np.uint8(255))
    np.testing.assert_array_equal(to_mask(image), board)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_photo_and_mask(tmp_path: Path, suffix: str) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    image = opened(red, tmp_path / f"a.{suffix}")
    assert image.mode == "CMYK"
    np.testing.assert_allclose(to_rgb(image).astype(int), np.full((16, 16, 3), (255, 0, 0)), atol=4)
    assert to_mask(opened(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), tmp_path / f"b.{suffix}")).all()
    assert not to_mask(opened(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), tmp_path / f"c.{suffix}")).any()


def test_16_bit_photo_and_mask(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None]
    image = opened(Image.fromarray(ramp), tmp_path / "a.png")
    assert image.mode.startswith("I")
    rgb = to_rgb(image)
    np.testing.assert_array_equal(rgb[0, :, 0], np.arange(256))
    np.testing.assert_array_equal(rgb[..., 0], rgb[..., 2])
    np.testing.assert_array_equal(to_mask(image)[0], np.arange(256) > 127)


@pytest.mark.parametrize("high", [1, 255, 65535])
def test_16_bit_mask_of_any_height(tmp_path: Path, high: int) -> None:
    board = checkerboard(6, 7)
    image = opened(Image.fromarray(board.astype(np.uint16) * np.uint16(high)), tmp_path / "a.png")
    np.testing.assert_array_equal(to_mask(image), board)


@pytest.mark.parametrize("high", [1, 255])
def test_8_bit_mask_of_either_height(tmp_path: Path, high: int) -> None:
    board = checkerboard(6, 7)
    image = opened(Image.fromarray(board.astype(np.uint8) * np.uint8(high)), tmp_path / "a.png")
    np.testing.assert_array_equal(to_mask(image), board)


def test_soft_mask_is_cut_in_the_middle(tmp_path: Path) -> None:
    image = opened(Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8)), tmp_path / "a.png")
    assert to_mask(image).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_empty_and_full_masks_of_every_mode(tmp_path: Path, mode: str) -> None:
    for name, level, expected in (("empty", 0, False), ("full", 255, True)):
        image = Image.new("L", (9, 5), level).convert(mode)
        mask = to_mask(opened(image, tmp_path / f"{name}.png"))
        assert mask.shape == (5, 9)
        assert (mask == expected).all()


def test_palette_photo_and_mask(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2]], np.uint8)
    image = Image.fromarray(indices)
    image = image.convert("P")
    image.putpalette([0, 0, 0, 255, 255, 255, 10, 200, 30])
    image.putdata(indices.ravel().tolist())
    image = opened(image, tmp_path / "a.png")
    assert image.mode == "P"
    assert to_rgb(image).tolist() == [[[0, 0, 0], [255, 255, 255], [10, 200, 30]]]
    assert to_mask(image).tolist() == [[False, True, False]]


def test_transparent_photo_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    rgb = to_rgb(opened(Image.fromarray(pixels), tmp_path / "a.png"))
    assert rgb[0, 0].tolist() == [10, 20, 30]
    assert rgb[0, 1].tolist() == [255, 255, 255]
    np.testing.assert_allclose(rgb[0, 2].astype(int), 127, atol=1)


def test_transparent_grey_and_palette_photos_are_laid_on_white(tmp_path: Path) -> None:
    grey = np.array([[[10, 255], [10, 0]]], np.uint8)
    assert to_rgb(opened(Image.fromarray(grey, "LA"), tmp_path / "la.png")).tolist() == [[[10] * 3, [255] * 3]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    image = opened(palette, tmp_path / "p.png", transparency=1)
    assert to_rgb(image).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str) -> None:
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, :16] = 255  # the left half; upright, the top half
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    image = opened(Image.fromarray(stored), tmp_path / f"a.{suffix}", exif=exif)
    assert image.size == (16, 32)
    mask = to_mask(image)
    assert mask[:16].all()
    assert not mask[16:].any()
    np.testing.assert_array_equal(to_rgb(image)[..., 0] > 127, mask)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height grey pixels and holds none."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    parts = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("width", "height"), [(101, 100), (5000, 5000), (60000, 60000)])
def test_bomb_is_refused_from_its_header(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "a.png").write_bytes(png_header(width, height))
    with pytest.raises(ValueError, match="more than 10000 pixels"):
        open_supplied(tmp_path / "a.png", 10_000)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_damaged_header_costs_no_memory_and_is_a_user_error(tmp_path: Path, read, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "tall.png").write_bytes(png_header(1, 2_000_000) + bytes(1000))  # OpenCV refuses it, by an exception
    with pytest.raises(UserError, match=r"tall\.png: missing or not a readable"):
        read(tmp_path / "tall.png")
    monkeypatch.setattr("personseg.images.cv2.imdecode", lambda *_: pytest.fail("room was made for its pixels"))
    (tmp_path / "wide.png").write_bytes(png_header(20_000, 20_000))
    with pytest.raises(UserError, match=r"wide\.png: missing or not a readable"):
        read(tmp_path / "wide.png")


def test_photo_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    assert open_supplied(tmp_path / "a.png", 10_000).size == (100, 100)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
def test_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(random_rgb(64, 64)).save(path)
    assert open_supplied(path, PLENTY).size == (64, 64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"truncated or damaged image|not a readable image"):
        open_supplied(path, PLENTY)


def test_empty_file_and_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ValueError, match=r"^empty file$"):
        open_supplied(tmp_path / "a.jpg", PLENTY)
    (tmp_path / "b.jpg").write_text("no image at all")
    with pytest.raises(ValueError, match=r"^not a readable image$"):
        open_supplied(tmp_path / "b.jpg", PLENTY)


@pytest.mark.parametrize(("palette", "person_index"), [([0, 0, 0, 128, 0, 0], 1), ([255, 255, 255, 0, 0, 0], 0)])
def test_the_brighter_of_two_palette_colours_is_person(tmp_path: Path, palette: list[int], person_index: int) -> None:
    indices = np.zeros((6, 8), np.uint8)
    indices[2:5, 3:6] = 1
    image = Image.fromarray(indices, mode="P")
    image.putpalette(palette)
    image.save(tmp_path / "mask.png")
    person = indices == person_index
    np.testing.assert_array_equal(to_mask(open_supplied(tmp_path / "mask.png", PLENTY)), person)


def test_alpha_of_a_cutout_is_its_mask(tmp_path: Path) -> None:
    alpha = np.zeros((6, 8), np.uint8)
    alpha[1:4, 2:7] = 255
    cutout = np.dstack([random_rgb(6, 8), alpha])
    Image.fromarray(cutout).save(tmp_path / "cutout.png")
    np.testing.assert_array_equal(to_mask(open_supplied(tmp_path / "cutout.png", PLENTY)), alpha > 0)
    opaque = np.dstack([alpha, alpha, alpha, np.full_like(alpha, 255)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(to_mask(open_supplied(tmp_path / "opaque.png", PLENTY)), alpha > 0)


def test_float_photo_and_mask_in_0_to_1(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    Image.fromarray(values).save(tmp_path / "float.tif")
    image = open_supplied(tmp_path / "float.tif", PLENTY)
    np.testing.assert_array_equal(to_rgb(image)[..., 0], (values * 255).round().astype(np.uint8))
    np.testing.assert_array_equal(to_mask(image), (values * 255).round() > 127)
