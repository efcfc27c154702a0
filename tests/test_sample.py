"""The generated data: reproducible, and its table says exactly what was planted."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from personseg.errors import UserError
from personseg.files import read_table, sha256_file
from personseg.images import Mask, read_image, read_mask
from personseg.sample.defects import COLUMNS, KINDS, rim_size
from personseg.sample.generate import generate

COUNT = 24  # from here on two processes are used


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_file(path) for path in sorted(folder.rglob("*.*"))}


def components(where: Mask) -> list[Mask]:
    count, labels = cv2.connectedComponents(where.astype(np.uint8), connectivity=8)
    return [labels == label for label in range(1, count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set in which every mask is defective, so that few images hold all kinds."""
    folder = tmp_path_factory.mktemp("sample") / "set"
    generate(folder, COUNT, seed=3, defect_fraction=1.0)
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return read_table(folder / "truth" / "truth.csv")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "mixed"
    generate(folder, 12, seed=5)
    return folder


def test_files_and_formats(folder: Path) -> None:
    stems = [f"{number:04d}" for number in range(1, COUNT + 1)]
    assert {path.name for path in folder.iterdir()} == {"images", "masks", "truth"}
    for name, suffix in (("images", ".jpg"), ("masks", ".png"), ("truth", ".png")):
        assert sorted(path.stem for path in (folder / name).glob(f"*{suffix}")) == stems
    for stem in stems:
        assert read_image(folder / "images" / f"{stem}.jpg").shape == (320, 240, 3)
        for name in ("masks", "truth"):
            mask = cv2.imread(str(folder / name / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
            assert mask is not None and mask.shape == (320, 240)
            assert set(np.unique(mask)) == {0, 255}


def test_same_seed_same_bytes_in_one_process_as_in_two(folder: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", COUNT, seed=3, defect_fraction=1.0, workers=1)
    assert digests(tmp_path / "again") == digests(folder)


def test_a_pair_depends_on_seed_and_number_alone(mixed: Path, tmp_path: Path) -> None:
    generate(tmp_path / "fewer", 4, seed=5)
    pairs = {name: digest for name, digest in digests(tmp_path / "fewer").items() if "csv" not in name}
    assert pairs.items() <= digests(mixed).items()
    generate(tmp_path / "other", 4, seed=6)
    other = digests(tmp_path / "other")
    assert all(other[name] != digest for name, digest in pairs.items())


def test_the_photo_does_not_depend_on_its_defects(mixed: Path, tmp_path: Path) -> None:
    generate(tmp_path / "clean", 4, seed=5, defect_fraction=0.0)
    clean, whole = digests(tmp_path / "clean"), digests(mixed)
    kept = [name for name in clean if not name.startswith("masks") and not name.endswith(".csv")]
    assert len(kept) == 8 and all(clean[name] == whole[name] for name in kept)
    assert read_table(tmp_path / "clean" / "truth" / "truth.csv").empty


def test_every_row_is_one_component_of_the_difference(folder: Path, table: pd.DataFrame) -> None:
    assert list(table.columns) == COLUMNS
    for number in range(1, COUNT + 1):
        stem = f"{number:04d}"
        mask, truth = (read_mask(folder / name / f"{stem}.png") for name in ("masks", "truth"))
        rows = table[table.stem == stem]
        pieces = components(mask ^ truth)
        assert len(pieces) == len(rows) > 0
        for row in rows.itertuples():
            centres = [np.argwhere(piece).mean(axis=0) for piece in pieces]
            piece = pieces[int(np.argmin([np.hypot(y - row.y, x - row.x) for y, x in centres]))]
            y, x = np.argwhere(piece).mean(axis=0)
            assert piece.sum() == row.size_px
            assert (x, y) == (pytest.approx(row.x, 1e-4), pytest.approx(row.y, 1e-4))
            assert truth[piece].all() == (row.defect == "holes")
            if row.defect == "hair_gap":
                width, length = rim_size(piece, truth)
                assert (width, length) == (pytest.approx(row.gap_px, 1e-4), row.contour_px)


def test_defects_are_what_their_names_say(folder: Path, table: pd.DataFrame) -> None:
    assert set(table.defect) == set(KINDS)
    size = table.groupby("defect").size_px
    assert size.min()["spots"] >= 12 and size.max()["spots"] <= 400
    assert size.min()["holes"] >= 12 and size.max()["holes"] <= 300
    assert size.min()["extra_background"] >= 150
    gaps = table[table.defect == "hair_gap"]
    assert (gaps.contour_px >= 20).all() and gaps.gap_px.between(1, 13).all()
    assert (gaps.gap_px >= 4).any() and (gaps.gap_px < 4).any()
    assert table[table.defect != "hair_gap"][["gap_px", "contour_px"]].isna().all(axis=None)
    for stem, rows in table.groupby("stem"):
        mask, truth = (read_mask(folder / name / f"{stem}.png") for name in ("masks", "truth"))
        detached = [piece for piece in components(mask) if not (piece & truth).any()]
        assert sorted(int(piece.sum()) for piece in detached) == sorted(rows[rows.defect == "spots"].size_px)


def test_masks_without_a_row_equal_the_truth(mixed: Path) -> None:
    defective = set(read_table(mixed / "truth" / "truth.csv").stem)
    assert 0 < len(defective) < 12
    for path in (mixed / "masks").iterdir():
        same = np.array_equal(read_mask(path), read_mask(mixed / "truth" / path.name))
        assert same == (path.stem not in defective)


def test_the_figure_is_a_fair_part_of_the_picture(folder: Path) -> None:
    coverage = [read_mask(path).mean() for path in (folder / "truth").glob("*.png")]
    assert 0.05 < min(coverage) < 0.25 and 0.45 < max(coverage) < 0.9


def test_another_size(tmp_path: Path) -> None:
    generate(tmp_path / "small", 3, seed=1, size=(128, 96))
    assert read_image(tmp_path / "small" / "images" / "0001.jpg").shape == (128, 96, 3)


def test_replaces_a_set_but_nothing_else(tmp_path: Path) -> None:
    generate(tmp_path / "set", 2, seed=1)
    generate(tmp_path / "set", 1, seed=1)
    assert [path.name for path in (tmp_path / "set" / "masks").iterdir()] == ["0001.png"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(UserError, match="mine"):
        generate(tmp_path / "mine", 1, seed=1)
    assert (tmp_path / "mine" / "letter.txt").exists()
