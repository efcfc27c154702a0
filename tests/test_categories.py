"""The reviewed file is read as written, and every fault is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from personseg.categories import Review, read_categories, write_categories
from personseg.errors import UserError

KNOWN = ["1", "2", "10"]


def test_round_trip_in_natural_order(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "set.csv"
    reviews = [Review("10", 3, "hair gap, spots", "ann", 'so "bad"'), Review("2", 1)]
    write_categories(path, reviews)
    assert path.read_text().splitlines()[:2] == ["stem,category,defects,reviewer,note", "2,1,,,"]
    assert read_categories(path, KNOWN) == {"2": reviews[1], "10": reviews[0]}


def test_missing_file_means_no_reviews(tmp_path: Path) -> None:
    assert read_categories(tmp_path / "none.csv", KNOWN) == {}


def test_short_file_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_bytes(b"\xef\xbb\xbfstem,category\r\n1, 2\r\n")
    assert read_categories(path, KNOWN) == {"1": Review("1", 2)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stem,category\n1,1\n77,1\n", "set.csv, line 3: no mask has the stem '77'"),
        ("stem,category\n1,4\n", "set.csv, line 2: stem 1 has category '4'; use 1, 2 or 3"),
        ("stem,category\n1,\n", "set.csv, line 2: stem 1 has category ''"),
        ("stem,category\n1,1\n2,2\n1,3\n", "set.csv, line 4: stem 1 is already on line 2"),
        ("stem,class\n1,1\n", "set.csv: no column category"),
        ("", "set.csv: no column category, stem"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "set.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_categories(path, KNOWN)
    assert message in str(caught.value)


def test_binary_file_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_bytes(b"stem,category\n\xff\xfe\x00,1\n")
    with pytest.raises(UserError, match="not a readable UTF-8 CSV"):
        read_categories(path, KNOWN)


def test_impossible_category_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="category 0"):
        write_categories(tmp_path / "set.csv", [Review("1", 0)])
    assert list(tmp_path.iterdir()) == []
