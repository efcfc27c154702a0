"""Hostile and odd sources, each with what must come of it."""

from __future__ import annotations

import os
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from personseg.images import Mask
from tests.faults import pictures as pic

LIMIT = 100_000  # pixels: convert.max_megapixels of these tests
GOOD = ("good1", "good2", "good3")  # pairs that every source holds beside its case


@dataclass(frozen=True)
class Accepted:
    """These stems become pairs: each with the mask `masks` says (default: the person's) and, if `colours`, a photo
    that looks like the one supplied."""

    stems: tuple[str, ...] = ("x",)
    mask: Callable[[], Mask] = pic.person
    colours: bool = True
    tolerance: float = 12  # mean difference of a photo from the one drawn, of 255


@dataclass(frozen=True)
class Rejected:
    """These files are left out, each with a reason that holds these words; the good pairs stay."""

    reasons: dict[str, str]
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """The whole source is refused with one line that holds these words; nothing is written."""

    words: str


@dataclass(frozen=True)
class Case:
    """`make` puts the case into a folder that holds the good pairs; a source that is a zip is returned."""

    name: str
    make: Callable[[Path], Path | None]
    outcome: Accepted | Rejected | Refused
    needs: str = field(default="")  # what the file system must be able to do


CASES: list[Case] = []


def add(name: str, outcome: Accepted | Rejected | Refused, make: Callable[[Path], Path | None]) -> None:
    CASES.append(Case(name, make, outcome))


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def good_pairs(root: Path) -> None:
    for name in GOOD:
        write(root / "images" / f"{name}.jpg", pic.jpeg())
        write(root / "masks" / f"{name}.png", pic.mask_png())


def pair(photo: bytes, mask: bytes, photo_name: str = "x.jpg", mask_name: str = "x.png") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        write(root / "images" / photo_name, photo)
        write(root / "masks" / mask_name, mask)

    return make


def photo_case(name: str, outcome: Accepted | Rejected, data: bytes, suffix: str = "jpg") -> None:
    add(name, outcome, pair(data, pic.mask_png(), f"x.{suffix}"))


def mask_case(name: str, outcome: Accepted | Rejected, data: bytes, suffix: str = "png") -> None:
    add(name, outcome, pair(pic.jpeg(), data, mask_name=f"x.{suffix}"))


def no_photo(words: str, suffix: str = "jpg") -> Rejected:
    return Rejected({f"images/x.{suffix}": words})


def no_mask(words: str, suffix: str = "png") -> Rejected:
    return Rejected({f"masks/x.{suffix}": words})


# --- files that are not what they should be

photo_case("photo: empty file", no_photo("empty file"), b"")
photo_case("photo: cut in half", no_photo("truncated or damaged"), pic.jpeg()[: len(pic.jpeg()) // 2])
photo_case("photo: header only", no_photo("truncated or damaged|not a readable"), pic.jpeg()[:200])
photo_case("photo: twenty bytes", no_photo("not a readable"), pic.jpeg()[:20])
photo_case("photo: zeros", no_photo("not a readable"), bytes(5000))
photo_case("photo: a saved error page", no_photo("not a readable"), pic.HTML)
photo_case("photo: PostScript, which would be run", no_photo("not a readable"), pic.EPS)
photo_case("photo: PDF", no_photo("not a readable"), pic.PDF)
photo_case("photo: SVG", no_photo("not a readable", "svg"), pic.SVG, "svg")
photo_case("photo: PNG named .jpg", Accepted(), pic.encoded(pic.photo(), "PNG"))
photo_case("photo: JPEG named .png", Accepted(), pic.jpeg(), "png")
photo_case("photo: bytes after its end", Accepted(), pic.jpeg() + b"trailer" * 1000)
mask_case("mask: empty file", no_mask("empty file"), b"")
mask_case("mask: cut in half", no_mask("truncated or damaged"), pic.mask_png()[: len(pic.mask_png()) // 2])
mask_case("mask: a text", no_mask("not a readable"), b"1 0 1 1")
add("photo without a mask", no_photo("photo without a mask"), lambda root: write(root / "images/x.jpg", pic.jpeg()))
add("mask without a photo", no_mask("mask without a photo"), lambda root: write(root / "masks/x.png", pic.mask_png()))

# --- kinds of photo

photo_case("photo: progressive JPEG", Accepted(), pic.jpeg(progressive=True))
photo_case("photo: grey JPEG", Accepted(tolerance=60), pic.encoded(pic.photo_image().convert("L"), "JPEG"))
photo_case("photo: CMYK JPEG", Accepted(), pic.encoded(pic.photo_image().convert("CMYK"), "JPEG", quality=95))
photo_case("photo: CMYK TIFF", Accepted(), pic.encoded(pic.photo_image().convert("CMYK"), "TIFF"), "tif")
photo_case(
    "photo: 16-bit grey PNG",
    Accepted(tolerance=60),
    pic.encoded(pic.photo()[..., 0].astype(np.uint16) * np.uint16(257), "PNG"),
    "png",
)
photo_case("photo: float TIFF", Accepted(tolerance=60), pic.encoded(
    Image.fromarray((pic.photo()[..., 0] / 255).astype(np.float32)), "TIFF"), "tif")  # fmt: skip
photo_case("photo: palette PNG", Accepted(), pic.encoded(pic.photo_image().quantize(128), "PNG"), "png")
photo_case("photo: black and white PNG", Accepted(tolerance=110), pic.encoded(pic.person(), "PNG"), "png")
photo_case("photo: opaque alpha", Accepted(), pic.encoded(pic.photo_image().convert("RGBA"), "PNG"), "png")
photo_case("photo: grey with alpha", Accepted(tolerance=60), pic.encoded(pic.photo_image().convert("LA"), "PNG"), "png")
photo_case("photo: WebP", Accepted(), pic.encoded(pic.photo_image(), "WEBP", quality=95), "webp")
photo_case("photo: BMP", Accepted(), pic.encoded(pic.photo_image(), "BMP"), "bmp")
photo_case("photo: TIFF with LZW", Accepted(), pic.encoded(pic.photo_image(), "TIFF", compression="tiff_lzw"), "tiff")
photo_case("photo: LAB TIFF", Accepted(colours=False), pic.encoded(
    Image.new("LAB", (pic.WIDTH, pic.HEIGHT)), "TIFF"), "tif")  # fmt: skip
photo_case("photo: JPEG 2000", Accepted(), pic.encoded(pic.photo_image(), "JPEG2000"), "jp2")
photo_case("photo: turned by EXIF 3", Accepted(), pic.turned(3))
photo_case("photo: turned by EXIF 6", Accepted(), pic.turned(6))
photo_case("photo: mirrored by EXIF 5", Accepted(), pic.turned(5))
photo_case("photo: PNG turned by EXIF 8", Accepted(), pic.turned(8, "PNG"), "png")
photo_case("photo: EXIF orientation that is none", Accepted(), pic.turned(77))
photo_case("photo: EXIF of garbage", Accepted(), pic.jpeg(exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xaa" * 60))
photo_case("photo: ICC profile", Accepted(), pic.with_profile())
photo_case("photo: ICC profile of garbage", Accepted(), pic.jpeg(icc_profile=b"\xde\xad" * 400))
photo_case("photo: animated GIF", Accepted(tolerance=25), pic.animation("GIF"), "gif")
photo_case("photo: animated WebP", Accepted(), pic.animation("WEBP"), "webp")
photo_case("photo: animated PNG", Accepted(), pic.animation("PNG"), "png")
photo_case("photo: TIFF of two pages", Accepted(), pic.animation("TIFF"), "tif")
photo_case("photo: two pictures in one (MPO)", Accepted(), pic.animation("MPO"))


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "a" * 50_000_000, zip=True)
    return pic.encoded(pic.photo_image(), "PNG", pnginfo=info)


photo_case("photo: PNG whose text unpacks to 50 MB", no_photo("not a readable|damaged", "png"), text_bomb(), "png")

# --- sizes

TOO_LARGE = f"more than {LIMIT} pixels"
photo_case("photo: PNG header of 30000x30000", no_photo(f"30000x30000 is {TOO_LARGE}"), pic.png_header(30000, 30000))
photo_case("photo: JPEG header of 30000x30000", no_photo(TOO_LARGE), pic.jpeg_header(30000, 30000))
photo_case("photo: GIF header of 30000x30000", no_photo(TOO_LARGE), pic.gif_header(30000, 30000))
photo_case("photo: BMP header of 30000x30000", no_photo(TOO_LARGE), pic.bmp_header(30000, 30000))
photo_case("photo: WebP header of 16000x16000", no_photo(TOO_LARGE), pic.webp_header(16000, 16000))
photo_case("photo: PNG header of 0x0", no_photo("not a readable|damaged"), pic.png_header(0, 0))
photo_case("photo: PNG header of 2147483647x1", no_photo(TOO_LARGE), pic.png_header(2**31 - 1, 1))
mask_case("mask: PNG header of 30000x30000", no_mask(TOO_LARGE), pic.png_header(30000, 30000))
add(
    "a pair of 1x1",
    Accepted(mask=lambda: np.ones((1, 1), bool), colours=False),
    pair(pic.encoded(np.full((1, 1, 3), 90, np.uint8), "PNG"), pic.mask_png(np.ones((1, 1), bool))),
)
add(
    "a pair of 1x300",
    Accepted(mask=lambda: np.arange(300)[:, None] < 99, colours=False),
    pair(pic.encoded(np.full((300, 1, 3), 90, np.uint8), "PNG"), pic.mask_png(np.arange(300)[:, None] < 99)),
)
add(
    "a pair longer than JPEG can be",
    Rejected({"masks/x.png": "JPEG"}),
    pair(pic.encoded(np.zeros((1, 70_000, 3), np.uint8), "PNG"), pic.mask_png(np.zeros((1, 70_000), bool))),
)

# --- masks

SOFT = np.clip(pic.person() * 180 + np.random.default_rng(3).integers(0, 60, (pic.HEIGHT, pic.WIDTH)), 0, 255)
mask_case("mask: soft grey", Accepted(), pic.encoded(SOFT.astype(np.uint8), "PNG"))
mask_case("mask: 0 and 1", Accepted(), pic.encoded(pic.person().astype(np.uint8), "PNG"))
mask_case("mask: 16-bit", Accepted(), pic.encoded(pic.person().astype(np.uint16) * np.uint16(65535), "PNG"))
mask_case("mask: one bit", Accepted(), pic.encoded(pic.person(), "PNG"))
mask_case("mask: JPEG with its ringing", Accepted(), pic.encoded(pic.mask_image(), "JPEG", quality=70), "jpg")
mask_case("mask: inverted is taken as it stands", Accepted(mask=lambda: ~pic.person()), pic.mask_png(~pic.person()))
mask_case("mask: RGB, white", Accepted(), pic.encoded(pic.mask_image().convert("RGB"), "PNG"))
RED = np.where(pic.person()[..., None], (200, 0, 0), (0, 0, 0)).astype(np.uint8)
mask_case("mask: RGB, red on black", Accepted(), pic.encoded(RED, "PNG"))
mask_case("mask: palette, dark red on black", Accepted(), pic.encoded(Image.fromarray(RED).quantize(2), "PNG"))
CUTOUT = np.dstack([pic.photo(), pic.person().astype(np.uint8) * 255])
mask_case("mask: a cutout's alpha", Accepted(), pic.encoded(CUTOUT, "PNG"))
mask_case("mask: CMYK JPEG", Accepted(), pic.encoded(pic.mask_image().convert("CMYK"), "JPEG", quality=95), "jpg")
mask_case("mask: empty", Accepted(mask=lambda: np.zeros_like(pic.person())), pic.mask_png(np.zeros_like(pic.person())))
mask_case("mask: full", Accepted(mask=lambda: np.ones_like(pic.person())), pic.mask_png(np.ones_like(pic.person())))
mask_case(
    "mask: shifted by one is taken as it stands",
    Accepted(mask=lambda: np.roll(pic.person(), 1, axis=1)),
    pic.mask_png(np.roll(pic.person(), 1, axis=1)),
)
SIZE = f"for a photo of {pic.WIDTH}x{pic.HEIGHT}"
mask_case("mask: one column more", no_mask(f"41x48 {SIZE}"), pic.mask_png(np.pad(pic.person(), ((0, 0), (0, 1)))))
mask_case("mask: one row less", no_mask(f"40x47 {SIZE}"), pic.mask_png(pic.person()[:-1]))
mask_case("mask: twice as large", no_mask(f"80x96 {SIZE}"), pic.mask_png(np.kron(pic.person(), np.ones((2, 2), bool))))
mask_case("mask: lying on its side", no_mask(f"48x40 {SIZE}"), pic.mask_png(pic.person().T))

# --- names


def named(stem: str, suffix: str = "jpg", mask_suffix: str = "png") -> Callable[[Path], None]:
    return pair(pic.jpeg(), pic.mask_png(), f"{stem}{suffix and '.'}{suffix}", f"{stem}.{mask_suffix}")


for title, stem in (
    ("spaces, also in front", " a  photo of me "),
    ("a line break", "two\nlines"),
    ("a carriage return", "two\r\nlines"),
    ("a tab", "a\tb"),
    ("Cyrillic", "Привет мир"),
    ("emoji", "👩‍🦰 holiday 🏖️"),
    ("right to left", "\u202egpj.photo"),
    ("a leading dash", "-rf"),
    ("a leading equals sign", "=1+1"),
    ("commas and quotes", "a,\"b\",'c'"),
    ("percent and braces", "%s {0} ${HOME} $(id) `id`"),
    ("a semicolon and a hash", "a;b#c"),
    ("a backslash", "a\\b"),
    ("dots", "a.b..c"),
    ("only dots before the suffix", "x..."),
    ("NA, which tables take for nothing", "NA"),
    ("leading zeros", "007"),
    ("a number too large", "9" * 60),
    ("digits of other scripts", "x²٣"),
    ("escape codes", "\x1b[31mred\x07"),
):
    add(f"name: {title}", Accepted((stem,)), named(stem))
add("name: upper-case suffixes", Accepted(), named("x", "JPG", "PNG"))
add("name: no suffix", Accepted(), named("x", ""))
add("name: 200 bytes", Accepted(("b" * 196,)), named("b" * 196))
add(
    "name: 255 bytes, for which the road has no room",
    Rejected({f"images/{'b' * 251}.jpg": "name is too long", f"masks/{'b' * 251}.png": "name is too long"}),
    named("b" * 251),
)
add(
    "name: 125 Cyrillic letters are 250 bytes",
    Rejected({f"images/{'ж' * 125}.jpg": "name is too long", f"masks/{'ж' * 125}.png": "name is too long"}),
    named("ж" * 125),
)


def not_utf8(root: Path) -> None:
    for folder, suffix, data in ((b"images", b".jpg", pic.jpeg()), (b"masks", b".png", pic.mask_png())):
        path = os.path.join(os.fsencode(root), folder, b"caf\xe9" + suffix)  # noqa: PTH118 (bytes)
        with open(path, "wb") as stream:  # noqa: PTH123
            stream.write(data)


add("name: Latin-1, which is not UTF-8", Refused("not UTF-8"), not_utf8)
add(
    "name: the same letter composed and decomposed",
    Rejected({"images/\u0439.jpg": "photo without a mask", "masks/\u0438\u0306.png": "mask without a photo"}),
    pair(pic.jpeg(), pic.mask_png(), "\u0439.jpg", "\u0438\u0306.png"),
)


def case_collision(root: Path) -> None:
    for stem in ("Ann", "ann"):
        named(stem)(root)


add("name: two that differ in case are two", Accepted(("Ann", "ann")), case_collision)
add(
    "name: photo and mask differ in case",
    Rejected({"images/Ann.jpg": "photo without a mask", "masks/ann.png": "mask without a photo"}),
    pair(pic.jpeg(), pic.mask_png(), "Ann.jpg", "ann.png"),
)


def two_suffixes(root: Path) -> None:
    named("x")(root)
    write(root / "images/x.png", pic.encoded(pic.photo(), "PNG"))


add(
    "name: two photos with one stem",
    Rejected({
        "images/x.jpg": "2 files share this stem",
        "images/x.png": "2 files share this stem",
        "masks/x.png": "partner's stem is not unique",
    }),
    two_suffixes,
)  # fmt: skip

# --- folders


def link(target: Callable[[Path], Path], name: str = "x.jpg") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        write(root / "masks/x.png", pic.mask_png())
        (root / "images" / name).symlink_to(target(root))

    return make


def secret(root: Path) -> Path:
    path = root.parent / "secret.jpg"
    path.write_bytes(pic.jpeg())
    return path


add("folder: a link out of it", Refused("is a link out of its folder"), link(secret))
add("folder: a link to /etc/passwd", Refused("is a link out of its folder"), link(lambda root: Path("/etc/passwd")))
add("folder: a link inside it", Accepted(), link(lambda root: root / "images/good1.jpg"))
add("folder: a link to nowhere", no_mask("mask without a photo"), link(lambda root: root / "images/none.jpg"))
add("folder: a link to itself", no_mask("mask without a photo"), link(lambda root: root / "images/x.jpg"))


def folder_as_photo(root: Path) -> None:
    write(root / "images/x.jpg/y.jpg", pic.jpeg())
    write(root / "masks/x.png", pic.mask_png())


def pipe_as_photo(root: Path) -> None:
    os.mkfifo(root / "images/x.jpg")
    write(root / "masks/x.png", pic.mask_png())


add("folder: a folder named x.jpg", no_mask("mask without a photo"), folder_as_photo)
add("folder: a pipe, which would never end", no_mask("mask without a photo"), pipe_as_photo)
add("folder: hidden files", Accepted(GOOD), lambda root: write(root / "images/.x.jpg", b"not a photo"))
add("folder: a folder below", Accepted(GOOD), lambda root: write(root / "images/old/x.jpg", pic.jpeg()))


def loop(root: Path) -> Path:
    around = root.parent / "around"
    around.mkdir()
    (around / "a").symlink_to(around)
    return around


def nothing(root: Path) -> Path:
    (root.parent / "nothing").mkdir()
    return root.parent / "nothing"


add("folder: a loop of links and no photo", Refused("should hold"), loop)
add("folder: nothing in it", Refused("found nothing"), nothing)
add("folder: not there", Refused("nothing at"), lambda root: root.parent / "gone")
add("a path too long for any file", Refused("cannot be read|nothing at"), lambda root: root.parent / ("p" * 5000))

# --- zips


def zipped(
    root: Path, extra: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED, good: bool = True
) -> Path:
    path = root.parent / "source.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        if good:
            for file in sorted(root.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(root).as_posix())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that occur twice
            for name, data in (extra or {}).items():
                archive.writestr(name, data)
    return path


def entry(name: str) -> Callable[[Path], Path]:
    """A zip with one entry more, under exactly this name: zipfile mends some while writing."""

    def make(root: Path) -> Path:
        stand_in = "Q" * len(name.encode())
        path = zipped(root, {stand_in: pic.jpeg()})
        path.write_bytes(path.read_bytes().replace(stand_in.encode(), name.encode()))
        return path

    return make


for title, name in (
    ("../", "images/../../evil.jpg"),
    ("an absolute path", "/tmp/evil.jpg"),
    ("..\\", "..\\..\\evil.jpg"),
    ("a drive letter", "C:\\images\\evil.jpg"),
):
    add(f"zip: {title}", Refused("would leave the folder"), entry(name))


def zip_link(root: Path) -> Path:
    path = zipped(root)
    info = zipfile.ZipInfo("images/x.jpg")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


def zip_twice(root: Path) -> Path:
    path = zipped(root, {"images/x.jpg": pic.jpeg()})
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("images/x.jpg", b"another")
    return path


def zip_encrypted(root: Path) -> Path:
    path = zipped(root)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    return path


def patched(change: Callable[[bytearray], None], method: int = zipfile.ZIP_STORED) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        path = zipped(root, method=method)
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)
        return path

    return make


def flip_content(data: bytearray) -> None:
    data[data.index(b"\xff\xda") + 40] ^= 0xFF  # inside a stored photo


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


def claim_utf8(data: bytearray) -> None:
    """The first name is not UTF-8, though its flag says so."""
    for signature, flag, name in ((b"PK\3\4", 6, 30), (b"PK\1\2", 8, 46)):
        at = data.index(signature)
        data[at + flag + 1] |= 0x08
        data[at + name + 7] = 0xFF


def unknown_method(data: bytearray) -> None:
    for signature, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        struct.pack_into("<H", data, data.index(signature) + offset, 97)


def overlap(data: bytearray) -> None:
    """Two entries of the directory point to one and the same data: the way of the smallest bombs."""
    first = data.index(b"PK\1\2")
    second = data.index(b"PK\1\2", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]


def huge_dictionary(data: bytearray) -> None:
    """An LZMA entry that asks for 4 GB before its first byte."""
    at = data.index(b"PK\3\4")
    start = at + 30 + sum(struct.unpack_from("<HH", data, at + 26)) + 4  # after version and size of the properties
    struct.pack_into("<I", data, start + 1, 2**32 - 1)


add("zip: a link", Refused("is a link"), zip_link)
add("zip: an entry twice", Refused("occurs twice"), zip_twice)
add("zip: an entry twice under two spellings", Refused("occurs twice"),
    lambda root: zipped(root, {"images//good1.jpg": b"another"}))  # fmt: skip
add("zip: encrypted", Refused("is encrypted"), zip_encrypted)
add("zip: a bomb in one entry", Refused("unpacks to"),
    lambda root: zipped(root, {"images/x.jpg": bytes(8 * 2**20)}, zipfile.ZIP_DEFLATED))  # fmt: skip
add(
    "zip: a bomb in many small entries",
    Refused("unpacks to"),
    lambda root: zipped(root, {f"images/{n}.bmp": bytes(2**20) for n in range(80)}, zipfile.ZIP_DEFLATED),
)
add("zip: a bomb of overlapping entries", Refused("damaged zip"), patched(overlap))
add("zip: a zip inside", Rejected({"images/x.zip": "photo without a mask"}),
    lambda root: zipped(root, {"images/x.zip": b"PK\5\6" + bytes(18)}))  # fmt: skip
add("zip: nothing but a zip inside", Refused("should hold"),
    lambda root: zipped(root, {"inner.zip": b"PK\5\6" + bytes(18)}, good=False))  # fmt: skip
add("zip: content that changed", Refused("damaged zip"), patched(flip_content))
add("zip: cut in half", Refused("neither a folder nor a zip|damaged zip"), patched(cut))
add("zip: a name that is not the UTF-8 it claims to be", Refused("damaged zip"), patched(claim_utf8))
add("zip: a method of compression nobody knows", Refused("damaged zip"), patched(unknown_method))
add("zip: a dictionary of 4 GB costs nothing", Accepted(GOOD), patched(huge_dictionary, zipfile.ZIP_LZMA))
add("zip: no entries", Refused("found nothing"), lambda root: zipped(root, good=False))
add("zip: photos without a folder", Refused("should hold"), lambda root: zipped(root, {"x.jpg": b""}, good=False))
add("zip: a text named .zip", Refused("neither a folder nor a zip"),
    lambda root: (root.parent / "source.zip").write_text("no") and root.parent / "source.zip")  # fmt: skip
add("zip: a program before it", Accepted(GOOD), patched(lambda data: data.__setitem__(slice(0, 0), b"#!/bin/sh\n" * 9)))
add("zip: a name of 300 bytes", Refused("name is too long"),
    lambda root: zipped(root, {f"images/{'n' * 296}.jpg": pic.jpeg()}))  # fmt: skip
add("zip: names that differ in case", Accepted(("Ann", "ann")), lambda root: zipped(root, {
    f"{folder}/{stem}{suffix}": data for stem in ("Ann", "ann")
    for folder, suffix, data in (("images", ".jpg", pic.jpeg()), ("masks", ".png", pic.mask_png()))}))  # fmt: skip
add("zip: a line break in a name", Accepted(("a\nb",)), lambda root: zipped(
    root, {"images/a\nb.jpg": pic.jpeg(), "masks/a\nb.png": pic.mask_png()}))  # fmt: skip
