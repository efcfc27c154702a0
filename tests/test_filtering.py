"""The clean set holds category 1 and what could be repaired, nothing else."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from personseg.audit import audit
from personseg.categories import Review, write_categories
from personseg.defects.hair_gap import REAL_GAP
from personseg.errors import UserError
from personseg.files import read_table
from personseg.filtering import UNDONE, filter_masks
from personseg.images import read_mask, write_image, write_mask
from tests.figures import LIMITS, disc, person, with_rim, write_folds


@pytest.fixture(scope="module")
def jpg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jpg")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    image, mask = person()
    masks = {
        "1": mask,
        "2": mask | disc(mask.shape, (25, 60), 6),
        "3": with_rim(mask, 6),
        "4": np.ones_like(mask),
        "5": np.zeros_like(mask),
        "10": mask,
    }
    for stem, each in masks.items():
        write_image(folder / "images" / f"{stem}.jpg", image)
        write_mask(folder / "masks" / f"{stem}.jpg", each)
    write_folds(folder / "folds", dict.fromkeys(masks, mask))
    audit(folder, folder / "folds", folder / "scores.csv", folder / "sheets", LIMITS, 1, 0)
    return folder


def clean(jpg: Path, out: Path, categories: Path | None = None, **options: object) -> dict[str, object]:
    return filter_masks(jpg, jpg / "folds", jpg / "scores.csv", categories, out, LIMITS, workers=1, **options)  # type: ignore[arg-type]


def test_suggested_categories(jpg: Path, tmp_path: Path) -> None:
    counts = clean(jpg, tmp_path / "clean")
    assert counts == {
        "category": {"1": 2, "2": 2, "3": 2},
        "repaired": 2,
        "repair_undone": 0,
        "kept": 4,
        "reviewed": 0,
        "suggested": 6,
    }
    manifest = read_table(tmp_path / "clean" / "manifest.csv").fillna("")
    assert list(manifest["stem"]) == ["1", "2", "3", "4", "5", "10"]
    assert list(manifest["kept"]) == [1, 1, 1, 0, 0, 1]
    assert manifest["repair"][1].startswith("spots removed (1,")
    for name in ("images", "masks"):
        assert {path.name for path in (tmp_path / "clean" / name).iterdir()} == {
            "1.jpg", "2.jpg", "3.jpg", "10.jpg",
        }  # fmt: skip
    np.testing.assert_array_equal(read_mask(tmp_path / "clean" / "masks" / "2.jpg"), person()[1])
    assert not (tmp_path / "clean" / "images" / "1.jpg").is_symlink()
    assert (jpg / "images" / "1.jpg").stat().st_nlink == 1


def test_reviewed_category_beats_the_suggestion(jpg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reviewed = tmp_path / "set.csv"
    write_categories(reviewed, [Review("1", 3), Review("4", 1), Review("10", 2)])
    counts = clean(jpg, tmp_path / "clean", reviewed)
    assert f"{reviewed}: no row for 3 of 6 masks, as 2: suggestions hold" in capsys.readouterr().out
    # 10 is clean: sent to repair by the reviewer, nothing is found to mend, so it is left out.
    assert counts["category"] == {"1": 1, "2": 2, "3": 3}
    assert (counts["repair_undone"], counts["reviewed"], counts["suggested"]) == (1, 3, 3)
    manifest = read_table(tmp_path / "clean" / "manifest.csv").set_index("stem")
    assert manifest.loc["10", "repair"] == UNDONE
    assert manifest.loc["10", "category"] == 3
    assert list(manifest["source_of_category"]) == [
        "reviewed", "suggested", "suggested", "reviewed", "suggested", "reviewed",
    ]  # fmt: skip


def test_without_repair_category_2_is_left_out(jpg: Path, tmp_path: Path) -> None:
    counts = clean(jpg, tmp_path / "clean", repair=False)
    assert counts["category"] == {"1": 2, "2": 2, "3": 2}
    assert (counts["repaired"], counts["kept"]) == (0, 2)


def test_same_bytes_with_any_number_of_workers_and_no_leftovers(jpg: Path, tmp_path: Path) -> None:
    clean(jpg, tmp_path / "a")
    (tmp_path / "b" / "masks").mkdir(parents=True)
    (tmp_path / "b" / "masks" / "old.jpg").write_bytes(b"old")
    filter_masks(jpg, jpg / "folds", jpg / "scores.csv", None, tmp_path / "b", LIMITS, workers=2)
    a, b = (
        {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "a", tmp_path / "b")
    )
    assert a == b


def test_nothing_left_is_a_user_error(jpg: Path, tmp_path: Path) -> None:
    reviewed = tmp_path / "set.csv"
    write_categories(reviewed, [Review(stem, 3) for stem in ("1", "2", "3", "4", "5", "10")])
    with pytest.raises(UserError, match="nothing is kept"):
        clean(jpg, tmp_path / "clean", reviewed)
    assert not (tmp_path / "clean").exists()


def test_undone_repair_becomes_category_3(jpg: Path, tmp_path: Path) -> None:
    # Limits under which even the mended mask counts as defective.
    strict = replace(LIMITS, coverage_max=0.2)
    counts = filter_masks(jpg, jpg / "folds", jpg / "scores.csv", None, tmp_path / "clean", strict, workers=1)
    assert counts["category"] == {"1": 2, "2": 0, "3": 4}
    assert counts["repair_undone"] == 2


def test_what_is_not_certain_is_mended_only_where_a_person_called_it_fixable(
    jpg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The module, that is: the package has a function of the same name.
    monkeypatch.setattr(sys.modules["personseg.defects.hair_gap"], "REAL_GAP", replace(REAL_GAP, certain=1.0))
    assert clean(jpg, tmp_path / "unseen")["repair_undone"] == 1
    write_categories(tmp_path / "categories.csv", [Review("3", 2, "hair_gap", "me")])
    assert clean(jpg, tmp_path / "seen", tmp_path / "categories.csv")["repair_undone"] == 0
    repairs = read_table(tmp_path / "seen" / "manifest.csv").set_index("stem")["repair"]
    assert repairs["3"].startswith("hair gap trimmed")
