"""Photos to rows of a table: each photo's mask as a run-length code, or the reason why it has none."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from personseg import rle
from personseg.errors import UserError
from personseg.images import Mask
from personseg.inputs import count_pixels
from personseg.segmenter import MAX_PIXELS, Segmenter

DONE, FAILED = "done", "failed"
# status: DONE or FAILED; reason: one line, None where done; height, width: px, upright; rle: as personseg.rle writes
# it; model: sha256 of the weights. Of a failed photo height, width and rle are None.
COLUMNS = ("status", "reason", "height", "width", "rle", "model")


class TooLarge(UserError):
    """A photo of more pixels than are allowed; said before any is decoded."""


@contextmanager
def photo_file(photo: str | bytes) -> Iterator[Path]:
    """Give the file of a photo: of its bytes, of a path, or of an address that PyArrow reads (s3://, gs://, hdfs://).

    Bytes and what lies elsewhere become a temporary file, so that every photo is read in one and the same way. OSError
    if it cannot be fetched.
    """
    if isinstance(photo, str):
        photo = re.sub(r"^file:/+", "/", photo)  # as Spark and Hadoop name what lies here
        if "://" not in photo:
            yield Path(photo)
            return
    with tempfile.NamedTemporaryFile(prefix="personseg-") as copy:
        if isinstance(photo, str):
            from pyarrow.fs import FileSystem

            system, place = FileSystem.from_uri(photo)
            with system.open_input_stream(place) as stream:
                shutil.copyfileobj(stream, copy)
        else:
            copy.write(photo)
        copy.flush()
        yield Path(copy.name)


def find_mask(segmenter: Segmenter, path: Path, max_pixels: int = MAX_PIXELS) -> Mask:
    """Segment one photo: bool HxW, upright. TooLarge, or UserError that says what is wrong and leaves the path out."""
    pixels = count_pixels(path)
    if pixels > max_pixels:
        raise TooLarge(f"{pixels} pixels are more than {max_pixels}")
    try:
        return segmenter.predict(path).mask
    except UserError as error:
        raise UserError(str(error).removeprefix(f"{path}: ")) from None


def photo_row(segmenter: Segmenter, photo: str | bytes, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """Return the row of one photo, keys as in COLUMNS; whatever is wrong with the photo becomes its reason."""
    row = dict.fromkeys(COLUMNS) | {"status": FAILED, "model": segmenter.config.sha256}
    try:
        with photo_file(photo) as path:
            mask = find_mask(segmenter, path, max_pixels)
    except MemoryError:
        return row | {"reason": "not enough memory"}
    except UserError as error:
        return row | {"reason": str(error)}
    except OSError as error:
        return row | {"reason": " ".join((error.strerror or str(error)).split())}
    # A fault of ours, at one photo of millions, must not stop the others; its name in the reason tells it apart.
    except Exception as error:
        return row | {"reason": " ".join(f"{type(error).__name__}: {error}".split())}
    height, width = mask.shape
    return row | {"status": DONE, "height": height, "width": width, "rle": rle.encode(mask)}
