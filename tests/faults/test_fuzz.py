"""Damage at random, seeded and bounded in time: reading gives a value or one line, never a traceback, never for long.

PERSONSEG_FUZZ_SECONDS (default 4) is the time each of the two takes; `make torture` gives them minutes.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from personseg.convert import Converted, Pair, convert_pair
from personseg.errors import UserError
from personseg.images import open_supplied, read_image, read_mask, to_mask, to_rgb
from personseg.rle import decode
from personseg.segmenter import read_photo
from stages.params import load_params
from tests.faults import pictures as pic

SECONDS = float(os.environ.get("PERSONSEG_FUZZ_SECONDS", "4"))
LIMIT = 20_000  # pixels
SLOW = 20  # seconds for one file, on a busy machine


def wholes() -> list[bytes]:
    image = pic.photo_image()
    return [
        pic.jpeg(),
        pic.jpeg(progressive=True),
        pic.turned(6),
        pic.with_profile(),
        pic.animation("MPO"),
        pic.encoded(image, "PNG"),
        pic.encoded(image.quantize(16), "PNG"),
        pic.encoded(pic.person(), "PNG"),
        pic.animation("PNG"),
        pic.animation("GIF"),
        pic.animation("WEBP"),
        pic.encoded(image, "TIFF"),
        pic.encoded(image, "TIFF", compression="tiff_lzw"),
        pic.encoded(image.convert("CMYK"), "TIFF"),
        pic.encoded(image, "BMP"),
        pic.encoded(image, "PPM"),
        pic.encoded(image, "JPEG2000"),
    ]


def damaged(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        if not changed:
            break
        at, kind = rng.randrange(len(changed)), rng.random()
        if kind < 0.6:
            changed[at] = rng.randrange(256)
        elif kind < 0.7:
            del changed[at:]
        elif kind < 0.8:
            changed[at:at] = rng.randbytes(rng.randrange(9))
        elif kind < 0.9:
            del changed[at : at + rng.randrange(9)]
        else:  # most headers keep sizes and offsets in front
            changed[at % 64 : at % 64 + 2] = b"\xff\xff"
    return bytes(changed)


def rounds(seed: int) -> Iterator[random.Random]:
    rng, end = random.Random(seed), time.monotonic() + SECONDS
    while True:
        start = time.process_time()  # what else the machine does is no fault
        yield rng
        assert time.process_time() - start < SLOW
        if time.monotonic() > end:
            return


def test_images(tmp_path: Path) -> None:
    sources, counts = wholes(), {"taken": 0, "refused": 0}
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    mask, path = tmp_path / "mask.png", tmp_path / "file"
    mask.write_bytes(pic.mask_png())
    for rng in rounds(7):
        path.write_bytes(damaged(rng.choice(sources), rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of what it overlooks
            try:
                image = open_supplied(path, LIMIT)
                assert to_rgb(image).shape == (image.height, image.width, 3)
                assert to_mask(image).shape == (image.height, image.width)
                counts["taken"] += 1
            except ValueError as error:
                assert str(error) and "\n" not in str(error)
                counts["refused"] += 1
            with contextlib.suppress(UserError):
                assert read_photo(path).dtype == np.uint8
            for read in (read_image, read_mask):
                with contextlib.suppress(UserError):
                    read(path)
            row = convert_pair(Pair("x", path, mask), tmp_path, 95, LIMIT)
        if isinstance(row, Converted):  # what convert lets through, the stages after it can read, and upright
            assert read_image(tmp_path / "images/x.jpg").shape == (row.height, row.width, 3)
    assert min(counts.values()) > 0, counts


WHOLE = Path("params.yaml").read_text(encoding="utf-8")
BOMB = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}' if n else '1'] * 9)}]\n" for n in range(9))  # 9 ** 9 values
TOKENS = (
    *(
        "*a",
        "&a ",
        "[",
        "]",
        "{",
        "}",
        "- ",
        ": ",
        "'",
        '"',
        "|",
        "> ",
        "!!int ",
        "!!float ",
        "!!set ",
        "~",
        "\t",
        "\n",
    ),
    *("#", "%", "@", "`", "0x", "1e999", ".nan", "<<: ", "? ", "\x00", "\x85", "\u2028", "9" * 30, "true", "-", "null"),
)
ODD = [
    BOMB + WHOLE,
    BOMB + WHOLE.replace("count: 240", "count: *x8"),
    "data: &a [*a]",
    WHOLE.replace("count: 240", "count: &a [*a]"),
    "[" * 1500,
    "{a: " * 1000,
    WHOLE.replace("count: 240", "count: 0x" + "f" * 9000),
    WHOLE.replace("count: 240", "count: " + "9" * 9000),
    WHOLE.replace("count: 240", "count: 1" + "0" * 400),
    WHOLE.replace("count: 240", f"count: [{'x, ' * 5000}]"),
    WHOLE.replace("learning_rate: 0.001", "learning_rate: 1e400"),
    WHOLE.replace("seed: 7", "seed: 190:20:30.5"),
    WHOLE.replace("seed: 7", "seed: 2020-01-01"),
    "data: !!python/object/apply:os.system ['touch made']",
    *(
        "? [1]\n: 2",
        "1: 2",
        "null: 3",
        "!!set {a, b}",
        "!!binary abc",
        "!!omap [a: 1]",
        "!!timestamp x",
        "<<: 1",
        "a: <<",
    ),
    *("%YAML 9.9\n---\na: 1", "--- a\n--- b", "\x00", "\ufffe"),
]


def read_params(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_params(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error) and len(str(error)) < 1000


@pytest.mark.parametrize("number", range(len(ODD)))
def test_odd_params(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start = time.process_time()
    with pytest.raises(UserError):
        (tmp_path / "params.yaml").write_bytes(ODD[number].encode("utf-8", "surrogatepass"))
        load_params(tmp_path / "params.yaml")
    read_params(tmp_path / "params.yaml", ODD[number])
    assert time.process_time() - start < SLOW
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_params(tmp_path: Path) -> None:
    for rng in rounds(11):
        text = WHOLE
        for _ in range(rng.choice([1, 2, 6])):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(TOKENS) + text[at + rng.choice([0, 0, 1, 9]) :]
        read_params(tmp_path / "params.yaml", text)


def test_run_length_codes() -> None:
    rng = random.Random(5)
    for _ in range(2000):
        code = "".join(rng.choice("0123456789  -x.e٣") for _ in range(rng.randrange(30)))
        with contextlib.suppress(UserError):
            assert decode(code, (4, 5)).shape == (4, 5)
