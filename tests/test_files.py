"""A file is complete or absent, whatever happens while it is written; tables keep their stems."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from personseg.errors import UserError
from personseg.files import (
    atomic_path,
    fresh_folder,
    natural_key,
    read_json,
    read_table,
    sha256_file,
    write_json,
    write_table,
)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_atomic_path_makes_the_file_and_its_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == target.parent, "a rename must not cross file systems"
        assert temporary.suffix == ".txt"
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a", "a/b.txt"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_atomic_path_keeps_the_old_file_after_a_failure(tmp_path: Path, fault: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(fault), atomic_path(target) as temporary:
        temporary.write_text("hal")
        raise fault
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_fresh_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").touch()
    with fresh_folder(target) as temporary:
        assert list(temporary.iterdir()) == []
        (temporary / "sub").mkdir()
        (temporary / "sub" / "new.txt").touch()
        assert names(target) == ["old.txt"], "the old folder stays until the new one is complete"
    assert names(tmp_path) == ["out", "out/sub", "out/sub/new.txt"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_fresh_folder_keeps_the_old_one_after_a_failure(tmp_path: Path, fault: type[BaseException]) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").touch()
    with pytest.raises(fault), fresh_folder(target) as temporary:
        (temporary / "half.txt").touch()
        raise fault
    assert names(tmp_path) == ["out", "out/old.txt"]


def test_fresh_folder_clears_what_a_killed_run_left(tmp_path: Path) -> None:
    killed = tmp_path / ".out.999999.tmp"
    neighbour = tmp_path / ".other.999999.tmp"
    for folder in (killed, neighbour):
        folder.mkdir()
        (folder / "half.txt").touch()
    with fresh_folder(tmp_path / "out"):
        pass
    assert names(tmp_path) == [".other.999999.tmp", ".other.999999.tmp/half.txt", "out"]


def test_natural_key_sorts_numbers_as_numbers() -> None:
    stems = ["img10", "10", "img9b", "9", "b", "img9", "100", "img", "a2b10", "a2b9"]
    expected = ["9", "10", "100", "a2b9", "a2b10", "b", "img", "img9", "img9b", "img10"]
    assert sorted(stems, key=natural_key) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_what_is_not_json(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"iou": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"iou": [value]})
    assert read_json(path) == {"iou": 0.5}
    assert names(tmp_path) == ["a.json"]


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"iou": 0.1 + 0.2, "images": 51, "device": "prüfstand", "none": None, "list": [True]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert (tmp_path / "a.json").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("data", [b"", b'{"iou": 0.5', b"\xff\xfe"])
def test_damaged_json_is_a_user_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("read", [read_json, read_table])
def test_missing_file_says_how_to_make_it(tmp_path: Path, read) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"a\.x: not found; run `dvc repro`"):
        read(tmp_path / "a.x")


def test_table_keeps_stems_as_text_and_rounds_floats(tmp_path: Path) -> None:
    table = pd.DataFrame({"stem": ["007", "7", "1e3", "a,b"], "iou": [1 / 3, 1.0, 0.0, None], "count": [1, 2, 3, 4]})
    write_table(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_bytes().splitlines()[1] == b"007,0.333333,1"
    back = read_table(tmp_path / "a.csv")
    assert back["stem"].tolist() == ["007", "7", "1e3", "a,b"]
    assert back["count"].tolist() == [1, 2, 3, 4]
    assert back["iou"].isna().tolist() == [False, False, False, True]


def test_stems_that_look_like_missing_values_are_text(tmp_path: Path) -> None:
    stems = ["NA", "null", "nan", "None"]
    write_table(tmp_path / "a.csv", pd.DataFrame({"stem": stems}))
    assert read_table(tmp_path / "a.csv")["stem"].tolist() == stems


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2,3\n4\n1,2,3,4\n", b"stem\n\xff\xff\n"])
def test_damaged_table_is_a_user_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.csv: not a readable CSV"):
        read_table(tmp_path / "a.csv")


def test_failed_table_leaves_nothing(tmp_path: Path) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_table(tmp_path / "a.csv", pd.DataFrame({"stem": ["1", Unprintable()]}))
    assert names(tmp_path) == []


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()
