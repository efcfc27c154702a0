"""Training state that outlives a kill: one trainer at a time, and only state that belongs to this training."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from personseg.errors import UserError
from personseg.files import sha256_file, write_json

MARK, LAST, BEST = "fingerprint.json", "last.ckpt", "best.ckpt"  # the latter two as training.py names them


def fingerprint(values: Any, data: Iterable[Path]) -> str:
    """Hash what decides an outcome: params (JSON values), data files and the library's code; state of anything
    else is void."""
    digest = hashlib.sha256(json.dumps(values).encode())
    for path in [*data, *sorted(Path(__file__).parent.rglob("*.py"))]:
        digest.update(f"{path.name}:{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _is_whole(checkpoint: Path) -> bool:
    """PyTorch's files are zips, whose checksums tell damage."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except Exception:  # zipfile has many words for damage
        return False


def _is_usable(folder: Path, mark: bytes) -> bool:
    """Whether `folder` holds state under this mark, all of it whole, and no last state without its best weights."""
    if not (folder / MARK).is_file() or (folder / MARK).read_bytes().strip() != mark:
        return False
    checkpoints = sorted(folder.rglob("*.ckpt"))
    lost = [path for path in checkpoints if not _is_whole(path)]
    lost += [path for path in checkpoints if path.name == LAST and not path.with_name(BEST).is_file()]
    if lost:
        print(f"{lost[0]}: damaged, or its {BEST} is gone; the training starts anew", flush=True)
    return not lost


@contextmanager
def resume_folder(folder: Path, fingerprint: str) -> Iterator[Path]:
    """Give the folder of resume state, emptied if it is not `fingerprint`'s, was moved (checkpoints hold paths), or
    is damaged; deleted if the block succeeds.

    A lock beside it is held throughout: a second trainer, say from a repro whose parent was killed, gets
    a UserError instead of writing into the same files.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another training is running; wait for it or stop it, then run again") from None
        mark = [fingerprint, str(folder.resolve())]
        if not _is_usable(folder, json.dumps(mark, indent=2, ensure_ascii=False).encode()):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            write_json(folder / MARK, mark)
        yield folder
        # Renamed first: a kill during the deletion must not leave a half-deleted folder under the old mark.
        trash = folder.with_suffix(f".{os.getpid()}.trash")
        folder.replace(trash)
        shutil.rmtree(trash, ignore_errors=True)
