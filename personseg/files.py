"""Files that are either complete or absent, hashes, and small tables."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personseg.errors import UserError

if TYPE_CHECKING:  # read_table alone needs pandas: stages without a table start at once
    import pandas as pd


def _temporary(path: Path) -> Path:
    # Beside its target, so that the final rename never crosses a file system; the suffix stays for encoders.
    return path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")


_LEFT = re.compile(r"\..+\.(\d+)\.tmp(\.[^.]*)?")


def sweep(folder: str | Path) -> None:
    """Remove what a process that was killed left half-written in `folder`; what a living one writes stays."""
    for entry in Path(folder).glob(".*.tmp*"):
        found = _LEFT.fullmatch(entry.name)
        if found and not _lives(int(found[1])):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary file name to write to; it becomes `path` only if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def fresh_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty temporary folder to fill; it replaces `path` only if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{path.stem}.*.tmp{path.suffix}"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity, which are not JSON, raise ValueError."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read JSON; a missing or damaged file is a UserError."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro` to make it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and run `dvc repro`") from None


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a CSV atomically, floats with six significant digits."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def read_table(path: str | Path, columns: Iterable[str] = ()) -> pd.DataFrame:
    """Read a CSV; columns of stems are text even where stems are numbers.

    UserError if the file is missing, damaged, or lacks one of `columns`, in its head or in any row.
    """
    import pandas as pd

    try:
        # Only an empty cell is missing, and in `stem` not even that: a photo may be called `NA`.
        missing = {column: [""] for column in pd.read_csv(path, nrows=0).columns if column != "stem"}
        table = pd.read_csv(path, dtype={"stem": str, "near_duplicates": str}, keep_default_na=False, na_values=missing)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro` to make it") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV ({error})") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas' reading of rows that are longer than the head
        raise UserError(f"{path}: not a readable CSV (rows longer than its head)")
    for column in columns:
        if column not in table or table[column].isna().any():
            raise UserError(f"{path}: column {column} is missing or has gaps; delete the file and run `dvc repro`")
    return table


def sha256_file(path: str | Path) -> str:
    """Return the hexadecimal sha256 of a file, read in blocks."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def natural_key(stem: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which `9` comes before `10` and `img9` before `img10`."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", stem) if part)
