"""Training state that outlives a kill: one trainer at a time, and only state that belongs to this training."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from personseg.errors import UserError
from personseg.files import sha256_file, write_json


def fingerprint(values: Any, data: Iterable[Path]) -> str:
    """Hash what decides an outcome: params (JSON values), data files and the library's code; state of anything
    else is void."""
    digest = hashlib.sha256(json.dumps(values).encode())
    for path in [*data, *sorted(Path(__file__).parent.rglob("*.py"))]:
        digest.update(f"{path.name}:{sha256_file(path)}\n".encode())
    return digest.hexdigest()


@contextmanager
def resume_folder(folder: Path, fingerprint: str) -> Iterator[Path]:
    """Give the folder of resume state, emptied if it is not `fingerprint`'s, deleted if the block succeeds.

    A lock beside it is held throughout: a second trainer, say from a repro whose parent was killed, gets
    a UserError instead of writing into the same files.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another training is running; wait for it or stop it, then run again") from None
        mark = folder / "fingerprint.json"
        if not mark.is_file() or mark.read_text(encoding="utf-8").strip() != f'"{fingerprint}"':
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            write_json(mark, fingerprint)
        yield folder
        # Renamed first: a kill during the deletion must not leave a half-deleted folder under the old mark.
        trash = folder.with_suffix(f".{os.getpid()}.trash")
        folder.replace(trash)
        shutil.rmtree(trash, ignore_errors=True)
