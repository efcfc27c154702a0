"""Reading and writing photos and masks.

Photos are uint8 RGB HxWx3, masks bool HxW; on disk a mask is 0/255 in one channel.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import EpsImagePlugin, Image, ImageOps

from personseg.errors import UserError
from personseg.files import atomic_path

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]

MAX_JPEG_SIDE = 65_500  # libjpeg's limit
MASK_LEVEL = 127  # above it is person: JPEG ringing around 0 and 255 stays far from the middle

# What a photo or mask may be. Pillow knows forty kinds more; among them PostScript, a program, which it would run.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "AVIF")
EpsImagePlugin.gs_binary = False  # nor may it where a library opens a file by itself, as Gradio does

# Pillow's own limit would warn or refuse before `open_supplied` compares the header with the caller's limit.
Image.MAX_IMAGE_PIXELS = None

# One thread per call: the stages run one process per core, and OpenCV's pool would fight them.
cv2.setNumThreads(1)


def is_whole_jpeg(data: bytes) -> bool:
    """Whether a JPEG has its end marker. OpenCV draws what was cut off grey and takes it for a photo."""
    at = 2
    while data[at : at + 1] == b"\xff":
        if data[at + 1 : at + 2] == b"\xda":  # the picture itself; an end marker before it is that of a preview
            return data.rfind(b"\xff\xd9", at) >= 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def _holds_its_pixels(data: bytes) -> bool:
    """Whether a PNG can hold what its header promises: deflate shrinks at most 1032 to 1, and a byte is 8 pixels."""
    if not data.startswith(b"\x89PNG"):
        return True
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    return width * height <= 8 * 1032 * len(data)


def _decode(path: str | Path, flags: int) -> NDArray[np.uint8] | None:
    try:
        data = Path(path).read_bytes()
    except OSError:
        return None
    if not data or (data.startswith(b"\xff\xd8") and not is_whole_jpeg(data)):
        return None
    if not _holds_its_pixels(data):  # OpenCV would first make room for a billion pixels
        return None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # a side longer than OpenCV's limit
        return None
    return None if image is None else image.astype(np.uint8, copy=False)


def read_image(path: str | Path) -> RGB:
    """Read a photo the pipeline wrote as uint8 RGB HxWx3; UserError if it is missing, cut short or damaged."""
    image = _decode(path, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise UserError(f"{path}: missing or not a readable image; run `dvc repro` to make it anew")
    return image


def read_mask(path: str | Path) -> Mask:
    """Read a mask (PNG or JPEG) as bool HxW: person where the grey value is above 127."""
    mask = _decode(path, cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise UserError(f"{path}: missing or not a readable mask; run `dvc repro` to make it anew")
    return np.asarray(mask > MASK_LEVEL)


def encode_mask_jpeg(mask: Mask) -> bytes:
    """Encode a mask as a JPEG that gives back exactly its pixels when read with `read_mask`.

    The quality is raised until decoding the bytes restores the mask; ValueError if none does.
    """
    grey = mask.astype(np.uint8) * 255
    for quality in (90, 95, 100):
        ok, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if ok and np.array_equal(np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)) > MASK_LEVEL, mask):
            return data.tobytes()
    raise ValueError("no JPEG quality restores this mask exactly")


def write_mask(path: str | Path, mask: Mask) -> None:
    """Write a mask as .png or .jpg; both read back pixel for pixel."""
    path = Path(path)
    if path.suffix == ".jpg":
        data = encode_mask_jpeg(mask)
    else:
        data = cv2.imencode(path.suffix, mask.astype(np.uint8) * 255)[1].tobytes()
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def encode_rgb_jpeg(image: RGB, quality: int) -> bytes:
    """Encode a uint8 RGB photo as JPEG of `quality` 1-100; ValueError if a side is longer than JPEG allows."""
    if max(image.shape) > MAX_JPEG_SIDE:
        raise ValueError(f"{image.shape[1]}x{image.shape[0]} is more than JPEG can be ({MAX_JPEG_SIDE} px a side)")
    data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return data.tobytes()


def write_image(path: str | Path, image: RGB, quality: int = 95) -> None:
    """Write a uint8 RGB photo; `quality` (1-100) applies to .jpg."""
    path = Path(path)
    if path.suffix == ".jpg":
        data = encode_rgb_jpeg(image, quality)
    else:
        data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def open_supplied(path: str | Path, max_pixels: int) -> Image.Image:
    """Open and fully decode a user's file with Pillow, EXIF orientation applied.

    Raises ValueError with a short reason if the file is empty, none of `FORMATS`, truncated, or larger
    than `max_pixels` (checked from the header, before decoding).
    """
    path = Path(path)
    if path.stat().st_size == 0:
        raise ValueError("empty file")
    try:
        image = Image.open(path, formats=FORMATS)
    except Exception:
        raise ValueError("not a readable image") from None
    with image:
        if image.width * image.height > max_pixels:
            raise ValueError(f"{image.width}x{image.height} is more than {max_pixels} pixels")
        try:
            image.load()
            return ImageOps.exif_transpose(image)
        except Exception:
            raise ValueError("truncated or damaged image") from None


def _to_8bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        largest = values.max(initial=0)
        scale = 255.0 if image.mode == "F" and largest <= 1 else 1.0 if largest <= 255 else 255 / 65535
        return Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8))
    return image


def to_rgb(image: Image.Image) -> RGB:
    """Turn grey, CMYK, 16-bit, palette or transparent (laid on white) into uint8 RGB HxWx3."""
    image = _to_8bit(image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def to_mask(image: Image.Image) -> Mask:
    """Turn a supplied mask into bool HxW.

    Above half the range is person; 0/1 masks count as 0/255. Of two colours the brighter one is person (tools draw
    label 1 dark red on black). Where alpha varies, it is the mask: a cutout.
    """
    if "transparency" in image.info or image.mode in ("LA", "PA"):
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        alpha = image.getchannel("A")
        low, high = alpha.getextrema()
        image = alpha if low != high else image.convert("RGB")
    two_colours = image.mode in ("P", "RGB") and len(image.getcolors(2) or ()) == 2
    grey = np.asarray(_to_8bit(image).convert("L"))
    level = MASK_LEVEL
    if grey.max(initial=0) == 1:
        level = 0
    elif two_colours:
        level = int(grey.min())
    return np.asarray(grey > level)
