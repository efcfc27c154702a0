"""Pairs become checked JPEGs, exactly; every file that cannot is named with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personseg.convert import convert
from personseg.errors import UserError
from personseg.files import read_table, sha256_file
from personseg.images import read_image, read_mask

HEIGHT, WIDTH = 24, 16


def photo(seed: int, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8))


def mask(seed: int, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).random(shape) < 0.5).convert("L")


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty good pairs, 1 to 20, in data/raw of an empty current folder."""
    monkeypatch.chdir(tmp_path)
    folder = Path("data/raw")
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(1, 21):
        photo(number).save(folder / "images" / f"{number}.jpg")
        mask(number).save(folder / "masks" / f"{number}.png")
    return folder


def run(raw: Path, limit: float = 0.5, workers: int = 1, out: str = "data/jpg", max_pixels: int = 10**6) -> Path:
    convert(raw, Path(out), 95, max_pixels, limit, workers)
    return Path(out)


def rejected(out: Path) -> dict[str, str]:
    return dict(read_table(out / "rejected.csv").itertuples(index=False))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_good_pairs(raw: Path) -> None:
    out = run(raw)
    manifest = read_table(out / "manifest.csv")
    stems = [str(number) for number in range(1, 21)]
    assert manifest["stem"].tolist() == stems
    assert rejected(out) == {}
    assert sorted(path.name for path in out.iterdir()) == ["images", "manifest.csv", "masks", "rejected.csv"]
    for row in manifest.itertuples():
        image, pixels = out / "images" / f"{row.stem}.jpg", out / "masks" / f"{row.stem}.jpg"
        assert (row.width, row.height, row.source) == (WIDTH, HEIGHT, f"{row.stem}.jpg")
        assert (row.image_sha256, row.mask_sha256) == (sha256_file(image), sha256_file(pixels))
        assert image.read_bytes() == (raw / "images" / f"{row.stem}.jpg").read_bytes(), (
            "JPEG photos are not coded twice"
        )
        supplied = np.asarray(Image.open(raw / "masks" / f"{row.stem}.png")) > 127
        np.testing.assert_array_equal(read_mask(pixels), supplied)
    for kind in ("images", "masks"):
        assert sorted(path.stem for path in (out / kind).iterdir()) == sorted(stems)


def test_one_and_two_workers_write_the_same(raw: Path) -> None:
    (raw / "images" / "21.jpg").touch()
    mask(21).save(raw / "masks" / "21.png")
    one, two = (files(run(raw, workers=workers, out=f"jpg{workers}")) for workers in (1, 2))
    assert len(one) == 42
    assert one == two


def test_rejected_files_are_named_with_their_reason(raw: Path) -> None:
    photo(30).save(raw / "images" / "alone.jpg")
    mask(31).save(raw / "masks" / "lonely.png")
    (raw / "images" / "1.jpg").write_bytes(b"no image")
    (raw / "images" / "2.jpg").write_bytes((raw / "images" / "2.jpg").read_bytes()[:-200])
    (raw / "masks" / "3.png").write_bytes(b"")
    mask(4, (HEIGHT, WIDTH + 1)).save(raw / "masks" / "4.png")
    photo(5).save(raw / "images" / "5.png")
    photo(6, (100, 100)).save(raw / "images" / "6.jpg")
    out = run(raw, max_pixels=9999)
    assert rejected(out) == {
        "images/alone.jpg": "photo without a mask",
        "masks/lonely.png": "mask without a photo",
        "images/1.jpg": "not a readable image",
        "images/2.jpg": "truncated or damaged image",
        "masks/3.png": "empty file",
        "masks/4.png": "mask is 17x24 for a photo of 16x24 px",
        "images/5.jpg": "2 files share this stem",
        "images/5.png": "2 files share this stem",
        "masks/5.png": "its partner's stem is not unique",
        "images/6.jpg": "100x100 is more than 9999 pixels",
    }
    kept = [str(number) for number in range(7, 21)]
    assert read_table(out / "manifest.csv")["stem"].tolist() == kept
    for kind in ("images", "masks"):
        assert {path.stem for path in (out / kind).iterdir()} == set(kept)
    assert not Path("logs").exists()


def test_two_masks_with_one_stem(raw: Path) -> None:
    mask(1).save(raw / "masks" / "1.bmp")
    assert rejected(run(raw)) == {
        "masks/1.bmp": "2 files share this stem",
        "masks/1.png": "2 files share this stem",
        "images/1.jpg": "its partner's stem is not unique",
    }


@pytest.mark.parametrize(("limit", "stops"), [(0.05, True), (0.09, True), (0.1, False)])
def test_too_many_rejected_stop_the_stage(raw: Path, limit: float, stops: bool) -> None:
    for number in (1, 2):
        (raw / "images" / f"{number}.jpg").write_bytes(b"no image")
    if not stops:
        assert len(rejected(run(raw, limit))) == 2
        return
    with pytest.raises(UserError, match=r"convert: 2 of 20 rejected \(images/1\.jpg: not a readable image; ") as caught:
        run(raw, limit)
    assert "convert.max_reject_fraction" in str(caught.value)
    assert "logs/rejected.csv" in str(caught.value)
    assert [path.name for path in Path("data").iterdir()] == ["raw"], "nothing half-written"
    assert rejected(Path("logs")) == {f"images/{number}.jpg": "not a readable image" for number in (1, 2)}


def test_earlier_output_survives_a_failure(raw: Path) -> None:
    before = files(run(raw))
    for number in range(1, 21):
        (raw / "masks" / f"{number}.png").unlink()
    with pytest.raises(UserError, match="20 of 20 rejected"):
        run(raw, limit=1.0)
    assert files(Path("data/jpg")) == before


def test_no_files_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("images", "masks"):
        (tmp_path / "raw" / kind).mkdir(parents=True)
    with pytest.raises(UserError, match="convert: "):
        run(tmp_path / "raw", limit=1.0)
    assert not Path("data/jpg").exists()


def test_exif_orientation_is_applied(raw: Path) -> None:
    stored = np.zeros((WIDTH, HEIGHT, 3), np.uint8)
    stored[:, : HEIGHT // 2] = 255  # the left half; upright, the top half
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(raw / "images" / "1.jpg", exif=exif)
    out = run(raw)
    assert "images/1.jpg" not in rejected(out)
    image = read_image(out / "images" / "1.jpg")
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image[: HEIGHT // 2 - 4].min() > 200
    assert image[HEIGHT // 2 + 4 :].max() < 55
    with Image.open(out / "images" / "1.jpg") as written:
        assert written.getexif().get(0x0112, 1) == 1, "no reader may turn it again"
    row = read_table(out / "manifest.csv").set_index("stem").loc["1"]
    assert (row["width"], row["height"]) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "I;16"])
def test_other_modes_become_rgb_jpeg(raw: Path, mode: str) -> None:
    (raw / "images" / "1.jpg").unlink()
    if mode == "I;16":
        image = Image.fromarray(np.full((HEIGHT, WIDTH), 150 * 257, np.uint16))
    else:
        grey = Image.new("RGB", (WIDTH, HEIGHT), (150, 150, 150))
        image = grey.quantize(2) if mode == "P" else grey.convert(mode)  # convert("P") would dither
    image.save(raw / "images" / ("1.tif" if mode == "CMYK" else "1.png"))
    out = run(raw)
    assert rejected(out) == {}
    with Image.open(out / "images" / "1.jpg") as written:
        assert (written.format, written.mode) == ("JPEG", "RGB")
        np.testing.assert_allclose(np.asarray(written).astype(int), 150, atol=3)
