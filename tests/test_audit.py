"""Each measure finds what was planted, in px at 320 px height, and nothing on a clean mask."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from personseg import defects
from personseg.audit import Case, audit, burden, inspect, judge, label_quality, quality
from personseg.defects.hair_gap import STEP, contour_step
from personseg.defects.shared import to_lab
from personseg.errors import UserError
from personseg.files import read_table
from personseg.images import read_image, write_image, write_mask
from tests.figures import LIMITS, SKIN, case, disc, expected_of, person, with_rim, write_folds


@pytest.mark.parametrize("seed", range(4))
def test_clean_mask_has_no_defect(seed: int) -> None:
    image, mask = person(seed)
    found = inspect(case(image, mask, mask), LIMITS)
    assert (found.spots.count, found.holes.count, found.gap.length) == (0, 0, 0)
    assert (found.extra_background.count, found.missing_part.count) == (0, 0)
    assert found.ragged_edge == pytest.approx(1.02, abs=0.03)
    assert judge(found, LIMITS) == (1, [])
    assert quality(found, LIMITS) > 0.7


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_spots_are_counted_exactly_at_any_size(scale: int) -> None:
    image, mask = person(scale=scale)
    planted = disc(mask.shape, (25 * scale, 60 * scale), 7 * scale)
    planted |= disc(mask.shape, (210 * scale, 90 * scale), 3 * scale)
    spots = defects.spots(image, mask | planted, expected_of(mask))
    assert spots.count == 2
    assert spots.area == pytest.approx(planted.sum() / scale**2)
    np.testing.assert_array_equal(spots.where, planted)


def test_hand_is_not_a_spot() -> None:
    image, mask = person()
    hand = disc(mask.shape, (225, 60), 12)
    image[hand] = SKIN
    for expected in (expected_of(mask | hand), expected_of(mask)):
        assert defects.spots(image, mask | hand, expected).count == 0


@pytest.mark.parametrize("scale", [1, 2])
def test_hole_in_the_shirt_is_counted_exactly(scale: int) -> None:
    image, mask = person(scale=scale)
    planted = disc(mask.shape, (120 * scale, 270 * scale), 5 * scale)
    holes = defects.holes(image, mask & ~planted, expected_of(mask))
    assert holes.count == 1
    assert holes.area == pytest.approx(planted.sum() / scale**2)


def test_hole_cut_by_the_frame_is_found() -> None:
    image, mask = person()
    planted = disc(mask.shape, (120, 319), 5)
    assert defects.holes(image, mask & ~planted, expected_of(mask)).area == planted.sum()


@pytest.mark.parametrize("radius", [3, 12])
def test_gap_that_shows_the_wall_is_not_a_hole(radius: int) -> None:
    image, mask = person()
    gap = disc(mask.shape, (120, 270), radius)
    image[gap] = image[5, 5]
    assert defects.holes(image, mask & ~gap, expected_of(mask & ~gap)).count == 0


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("width", [5, 7, 10])
def test_hair_gap_width(width: int, scale: int) -> None:
    image, mask = person(scale=scale)
    gap = defects.hair_gap(image, with_rim(mask, width * scale), expected_of(mask))
    assert gap.width == pytest.approx(width, abs=1.5)
    assert gap.length > 120
    assert gap.sure_area > 300
    assert (gap.wide_length > 100) == (width == 10)
    planted = with_rim(mask, width * scale) & ~mask
    assert (gap.where & planted).sum() > 0.8 * planted.sum()
    assert (gap.where & mask).sum() < 0.1 * planted.sum()


def test_lump_of_wall_is_extra_background_and_a_lost_shoulder_a_missing_part() -> None:
    image, mask = person()
    lump = disc(mask.shape, (60, 215), 22) & ~mask
    found = inspect(case(image, mask | lump, mask), LIMITS)
    # At the contour it may be called a gap: then it is trimmed.
    assert ((found.extra_background.where | found.gap.where) & lump).sum() > 0.8 * lump.sum()
    assert found.extra_background.count
    shoulder = disc(mask.shape, (190, 250), 22) & mask
    lost = inspect(case(image, mask & ~shoulder, mask), LIMITS).missing_part
    assert (lost.where & shoulder).sum() > 0.6 * shoulder.sum()
    assert not (lost.where & ~shoulder).any()


def test_frayed_outline_is_ragged() -> None:
    _, mask = person()
    frayed = mask.copy()
    frayed[:140, ::4] &= cv2.erode(mask.astype(np.uint8), np.ones((13, 13)))[:140, ::4] > 0
    assert defects.ragged_edge(frayed) > 1.3 > defects.ragged_edge(mask)


def test_label_quality_ranks_a_broken_mask_below_a_good_one() -> None:
    _, mask = person()
    broken = mask & ~disc(mask.shape, (120, 270), 40)
    good, bad = (label_quality(each, expected_of(mask)) for each in (mask, broken))
    assert 0 <= bad < good <= 1


@pytest.mark.parametrize(("value", "reason"), [(False, "empty mask"), (True, "full mask")])
def test_empty_and_full_masks_are_category_3(value: bool, reason: str) -> None:
    image, mask = person()
    found = inspect(case(image, np.full_like(mask, value), mask), LIMITS)
    assert judge(found, LIMITS) == (3, [reason])
    assert quality(found, LIMITS) == 0


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (40, 30), (320, 3)])
def test_odd_sizes_do_not_crash(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    mask = rng.random(shape) > 0.5
    found = inspect(Case(image, mask, rng.random(shape).astype(np.float32)), LIMITS)
    assert 0 <= quality(found, LIMITS) <= 1


def test_reasons_in_words_and_categories() -> None:
    image, mask = person()
    spots = disc(mask.shape, (25, 60), 6) | disc(mask.shape, (25, 100), 4)
    category, reasons = judge(inspect(case(image, mask | spots, mask), LIMITS), LIMITS)
    assert (category, reasons) == (2, [f"2 spots, {spots.sum()} px"])
    category, reasons = judge(inspect(case(image, with_rim(mask, 6), mask), LIMITS), LIMITS)
    assert category == 2
    assert re.match(r"hair gap, \d+ px \(5 px wide over \d+ px\)", reasons[0])
    strict = replace(LIMITS, severe=1.5)
    assert judge(inspect(case(image, with_rim(mask, 11), mask), strict), strict)[0] == 3
    speck = disc(mask.shape, (25, 60), 1)
    assert judge(inspect(case(image, mask | speck, mask), LIMITS), LIMITS) == (1, [])


def test_no_mask_is_category_2_without_a_reason() -> None:
    image, mask = person()
    found = inspect(case(image, mask | disc(mask.shape, (25, 60), 1), mask), LIMITS)
    assert judge(found, replace(LIMITS, spots=1000, ragged_edge=found.ragged_edge - 1)) == (
        2,
        [f"ragged edge {found.ragged_edge:.2f}"],
    )
    # Five small burdens that only together make category 2: the largest is named.
    part = defects.Region(found.spots.where, 1, 20.0)
    small = replace(
        found, spots=part, holes=part, extra_background=part, missing_part=part, gap=replace(found.gap, sure_area=22.0)
    )
    limits = replace(LIMITS, spots=200, holes=205, hair_gap=225, extra_background=80, missing_part=80, ragged_edge=1000)
    assert max(burden(small, limits).values()) < 0.35
    category, reasons = judge(small, limits)
    assert (category, len(reasons)) == (2, 1)


def _folder(path: Path) -> Path:
    for name in ("images", "masks"):
        (path / name).mkdir()
    image, mask = person()
    masks = {"9": mask, "10": with_rim(mask, 11), "11": np.zeros_like(mask)}
    for stem, each in masks.items():
        write_image(path / "images" / f"{stem}.jpg", image)
        write_mask(path / "masks" / f"{stem}.jpg", each)
    write_folds(path / "folds", dict.fromkeys(masks, mask))
    return path


def test_audit_writes_the_same_table_with_any_number_of_workers(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    texts = []
    for workers in (1, 2):
        out = tmp_path / f"scores{workers}.csv"
        audit(folder, folder / "folds", out, tmp_path / "sheets", LIMITS, workers, worst=2)
        texts.append(out.read_text())
    assert texts[0] == texts[1]
    table = read_table(tmp_path / "scores1.csv")
    assert list(table["stem"]) == ["9", "10", "11"]
    assert list(table["suggested"]) == [1, 2, 3]
    assert table["reasons"][2] == "empty mask"
    sheets = sorted((tmp_path / "sheets").iterdir())
    assert [sheet.name for sheet in sheets] == ["sheet_001.jpg"]
    sheet = read_image(sheets[0])
    assert sheet.shape[0] > 480
    assert sheet.shape[1] > 2 * 360


def test_audit_names_what_is_wrong(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    write_image(folder / "images" / "9.jpg", np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(UserError, match=r"9\.jpg: mask is 240x320, its photo 10x10"):
        audit(folder, folder / "folds", tmp_path / "s.csv", tmp_path / "sheets", LIMITS, 1)
    (folder / "folds" / "10.png").write_bytes(b"")
    write_image(folder / "images" / "9.jpg", person()[0])
    with pytest.raises(UserError, match=r"10\.png: missing or not readable"):
        audit(folder, folder / "folds", tmp_path / "s.csv", tmp_path / "sheets", LIMITS, 1)
    with pytest.raises(UserError, match="no masks"):
        audit(tmp_path / "none", folder / "folds", tmp_path / "s.csv", tmp_path / "sheets", LIMITS, 1)


def test_a_contour_along_an_edge_of_the_photo_is_no_certain_gap() -> None:
    image, mask = person()
    rim = with_rim(mask, 6) & ~mask
    plain = contour_step(to_lab(image), mask | rim, rim)
    painted = image.copy()
    painted[rim] = (200, 60, 60)
    edge = contour_step(to_lab(painted), mask | rim, rim)
    assert plain < STEP < edge
