"""People cut out: transparent, on a colour, a picture or their own blurred background."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from personseg.images import RGB, Mask
from personseg.strips import strips

MATTING_SIZE = 640  # px of the longer side at which alpha is solved for; larger photos take it enlarged
BAND = 0.015  # of the longer side: half the width of the strip along the contour whose alpha is unknown
BLUR = 0.02  # of the longer side: sigma of a blurred background


def trimap(mask: Mask) -> NDArray[np.float64]:
    """Person 1, background 0, and 0.5 along the contour: float64 HxW, as pymatting takes it."""
    radius = max(3, round(BAND * max(mask.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    person = mask.astype(np.uint8)
    inner, outer = cv2.erode(person, kernel), cv2.dilate(person, kernel)
    return np.where(inner > 0, 1.0, np.where(outer > 0, 0.5, 0.0))


def matte(image: RGB, mask: Mask) -> tuple[NDArray[np.uint8], RGB]:
    """Return alpha (uint8 HxW) and the person's own colours (uint8 HxWx3), by closed-form matting.

    Levin, Lischinski, Weiss 2008, and Germer et al. 2020 for the colours, both from pymatting. Large photos
    are solved at 640 px and enlarged: the contour itself is no sharper than the network's. Where there is no
    solution the mask is the alpha.
    """
    from pymatting import estimate_alpha_cf, estimate_foreground_ml

    height, width = mask.shape
    if not mask.any() or mask.all():
        return mask.astype(np.uint8) * 255, image
    scale = min(1.0, MATTING_SIZE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) / 255.0
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    unknown = trimap(np.asarray(share >= 0.5))
    if not (unknown == 1).any() or not (unknown == 0).any():
        return mask.astype(np.uint8) * 255, image
    try:
        alpha = np.asarray(estimate_alpha_cf(small, unknown)).clip(0, 1)
    except ValueError:  # it did not converge
        return mask.astype(np.uint8) * 255, image
    colours = np.asarray(estimate_foreground_ml(small, alpha)).clip(0, 1)
    if scale < 1:
        # Away from the contour the photo itself is the person's colour; only the strip takes the enlarged estimate.
        strip = cv2.resize((alpha < 0.99).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        large = cv2.resize((colours * 255).round().astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
        foreground = large  # filled in place: a large photo would not fit once more
        np.copyto(foreground, image, where=~strip[..., None])
    else:
        foreground = (colours * 255).round().astype(np.uint8)
    full = cv2.resize((alpha * 255).round().astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full, np.uint8), np.asarray(foreground, np.uint8)


def cut(image: RGB, mask: Mask, matting: bool = False) -> NDArray[np.uint8]:
    """Cut the person out of a uint8 RGB photo: uint8 RGBA HxWx4, background transparent."""
    alpha, colours = _foreground(image, mask, matting)
    return np.dstack([colours, alpha])


def _foreground(image: RGB, mask: Mask, matting: bool) -> tuple[NDArray[np.uint8], RGB]:
    return matte(image, mask) if matting else (mask.astype(np.uint8) * 255, image)


def compose(image: RGB, mask: Mask, background: NDArray[np.uint8] | str, matting: bool = False) -> RGB:
    """Lay the person of a photo over a uint8 RGB background, which is scaled to cover it and cropped in the middle.

    A background that is a string is the photo's own, blurred.
    """
    height, width = mask.shape
    if isinstance(background, str):
        background = blurred(image, mask)
    alpha, colours = _foreground(image, mask, matting)
    # In strips: a float copy of a large photo, or a background enlarged to it, would not fit beside it.
    result = np.empty((height, width, 3), np.uint8)
    for rows in strips(height):
        share = alpha[rows, :, None].astype(np.float32) / 255
        mixed = share * colours[rows] + (1 - share) * _covering(background, height, width, rows)
        result[rows] = mixed.round().astype(np.uint8)
    return result


def _covering(background: NDArray[np.uint8], height: int, width: int, rows: slice) -> RGB:
    """Some rows of what `geometry.cover` would make of a background."""
    scale = max(height / background.shape[0], width / background.shape[1])
    left_out = [
        (length * scale - wanted) / 2 for length, wanted in zip(background.shape, (height, width), strict=False)
    ]
    # From a pixel of the result to one of the background; their centres lie at .5.
    shift = [(start + out + 0.5) / scale - 0.5 for start, out in zip((rows.start, 0), left_out, strict=True)]
    inverse = np.array([[1 / scale, 0, shift[1]], [0, 1 / scale, shift[0]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    strip = cv2.warpAffine(
        background, inverse, (width, rows.stop - rows.start), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(strip, np.uint8)


def blurred(image: RGB, mask: Mask) -> RGB:
    """Blur the background of a photo, for the person to be laid over; of a large photo smaller than it.

    Normalised convolution (Knutsson & Westin 1993): the person's own colours do not bleed into it.
    """
    sigma = BLUR * max(image.shape[:2])
    # A strong blur looks the same from a fraction of the pixels.
    scale = min(1.0, 4 / sigma)
    small = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32)
    person = cv2.resize(mask.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA)
    weight = (1 - person)[..., None] + 1e-3  # where no background is near, the person is better than nothing
    weights = cv2.GaussianBlur(weight, (0, 0), sigma * scale)[..., None]
    smooth = cv2.GaussianBlur(small * weight, (0, 0), sigma * scale) / weights
    return np.asarray(smooth.clip(0, 255).astype(np.uint8))
