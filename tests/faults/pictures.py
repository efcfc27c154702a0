"""Files of every kind that a user, or somebody who means harm, may supply; small, and made here."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from personseg.images import Mask

HEIGHT, WIDTH = 48, 40
ORIENTATION = 0x0112


def person() -> Mask:
    """A bool mask [HEIGHT, WIDTH]: a head on shoulders, left of the middle, so that every flip shows."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray(((y - 14) ** 2 + (x - 17) ** 2 < 64) | ((y > 24) & (x > 5) & (x < 29)))


def photo() -> NDArray[np.uint8]:
    """Uint8 RGB [HEIGHT, WIDTH, 3]: a bright person before a dark ground, with some grain."""
    grain = np.random.default_rng(7).integers(0, 30, (HEIGHT, WIDTH, 3))
    return np.asarray(np.where(person()[..., None], (200, 150, 120), (30, 60, 50)) + grain, np.uint8)


def encoded(
    picture: Image.Image | NDArray[np.uint8] | NDArray[np.uint16] | Mask, kind: str, **options: object
) -> bytes:
    """`picture` as the bytes of a file of `kind`, as Pillow names it."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photo_image() -> Image.Image:
    return Image.fromarray(photo())


def jpeg(**options: object) -> bytes:
    return encoded(photo_image(), "JPEG", **{"quality": 95, **options})


def mask_image() -> Image.Image:
    """Grey, 0 and 255."""
    return Image.fromarray(person().astype(np.uint8) * 255)


def mask_png(mask: Mask | None = None) -> bytes:
    return encoded((person() if mask is None else mask).astype(np.uint8) * 255, "PNG")


def turned(orientation: int, kind: str = "JPEG") -> bytes:
    """The photo stored so that EXIF `orientation` makes it upright again."""
    undo = {
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
        8: Image.Transpose.ROTATE_270,
        5: Image.Transpose.TRANSPOSE,
    }
    image = photo_image()
    if orientation in undo:
        image = image.transpose(undo[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(image, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


def with_profile() -> bytes:
    return jpeg(icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG of a few bytes that says it is so large."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(data)) + png_chunk(b"IEND", b"")


def jpeg_header(width: int, height: int) -> bytes:
    """A true JPEG whose header says another size."""
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_header(width: int, height: int) -> bytes:
    data = bytearray(encoded(photo_image().convert("P"), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def bmp_header(width: int, height: int) -> bytes:
    data = bytearray(encoded(photo_image(), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def webp_header(width: int, height: int) -> bytes:
    """A WebP whose canvas and picture say another size (16383 at most)."""
    data = bytearray(encoded(photo_image(), "WEBP", lossless=True))
    at = data.index(b"\x2f", data.index(b"VP8L"))  # signature, then 14 bits of width - 1 and 14 of height - 1
    bits = struct.unpack("<I", data[at + 1 : at + 5])[0] & ~((1 << 28) - 1)
    data[at + 1 : at + 5] = struct.pack("<I", bits | (width - 1) | ((height - 1) << 14))
    return bytes(data)


def animation(kind: str) -> bytes:
    """Two pictures in one file; the first is the photo."""
    second = Image.new("RGB", (WIDTH, HEIGHT), (250, 0, 250))
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    return encoded(photo_image(), kind, save_all=True, append_images=[second], **options)


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 48
%%EndComments
(/tmp/personseg_was_here) (w) file closefile
showpage
%%EOF
"""
PDF = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="48"><rect width="9" height="9"/></svg>'
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
