"""Where photos and masks come from: the generated sample, a folder, a zip, or a URL of a zip."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import lzma
import os
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from personseg.errors import UserError
from personseg.files import atomic_path, fresh_folder, sha256_file

SAMPLE = "sample"
# PicsArt's, and the usual one: photos, their masks, and, where there are any, photos without masks.
LAYOUTS = (("train", "train_mask", "test"), ("images", "masks", "unlabelled"))
NAMES = ("images", "masks", "unlabelled")  # of the folders that `fetch` makes
JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini"}
MAX_UNPACKED_BYTES = 200 * 2**30
MAX_RATIO = 200  # deflate cannot pass about 1000; photos hardly compress at all
SMALL_BYTES = 2**26  # an archive that unpacks to no more is let be, whatever its ratio
MAX_NAME_BYTES = 255  # of most file systems
HASHED_BELOW_BYTES = 2**30
# What a damaged zip raises; UnicodeDecodeError for a name that is not the UTF-8 it is marked as, MemoryError for a
# dictionary of gigabytes.
DAMAGE = (
    *(zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error, lzma.LZMAError, UnicodeDecodeError),
    MemoryError,
)


def is_url(source: str) -> bool:
    """Tell whether `source` is an http(s) address."""
    return source.startswith(("http://", "https://"))


def describe_source(source: str, sha256: str | None) -> dict[str, Any]:
    """Return a small description that changes when the source's content does.

    UserError when nothing usable is there. Folders are described by names, sizes and times, not read.
    """
    if source == SAMPLE:
        return {"kind": "sample"}
    if is_url(source):
        if "@" in source.split("/", 3)[2]:
            raise UserError(
                "data.source: a URL with a user name or password would be kept in dvc.lock and in MLflow; fetch the"
                " file yourself and give its path"
            )
        if sha256 is None:
            raise UserError("data.sha256: a URL needs the sha256 of its file, so that the data is known")
        return {"kind": "url", "url": source, "sha256": sha256}
    path = Path(source)
    try:
        there = path.exists()
    except OSError as error:  # say a name longer than any file's
        raise UserError(f"data.source: {source[:200]} cannot be read ({error.strerror}); check the path") from None
    if not there:
        raise UserError(f"data.source: nothing at {source}; give the path of a folder or zip, or `{SAMPLE}`")
    if path.is_dir():
        digest = hashlib.sha256()
        for folder in _folders(path).values():
            for name in _files(folder):
                info = (folder / name).stat()
                digest.update(f"{folder.name}/{name}\0{info.st_size}\0{info.st_mtime_ns}\n".encode())
        return {"kind": "folder", "listing_sha256": digest.hexdigest()}
    if not zipfile.is_zipfile(path):
        raise UserError(f"data.source: {source} is neither a folder nor a zip file")
    info = path.stat()
    if sha256 is not None or info.st_size < HASHED_BELOW_BYTES:
        found = sha256_file(path)
        if sha256 not in (None, found):
            raise UserError(f"data.sha256: {source} has sha256 {found}; correct the key or the file")
        return {"kind": "zip", "sha256": found}
    return {"kind": "zip", "bytes": info.st_size, "mtime_ns": info.st_mtime_ns}


def fetch(source: str, sha256: str | None, out: Path, downloads: Path) -> None:
    """Bring the source's files, unchanged, into `out`/{images,masks} and, where it has photos without masks,
    `out`/unlabelled; `downloads` keeps fetched archives."""
    with fresh_folder(out) as temporary:
        if is_url(source):
            source = str(download(source, sha256 or "", downloads))
        path = Path(source)
        if path.is_dir():
            for name, folder in _folders(path).items():
                (temporary / name).mkdir()
                for file in tqdm(_files(folder), desc=f"fetch {name}", mininterval=1.0, unit="file"):
                    shutil.copyfile(folder / file, temporary / name / file)
        else:
            unzip(path, temporary)


def _files(folder: Path) -> list[str]:
    """Names of regular files, sorted; hidden ones and junk are left out. UserError: a link out of the folder, a name
    that tables, DVC and the next machine could not hold."""
    root, names = folder.resolve(), []
    for name in sorted(path.name for path in folder.iterdir()):  # paths take ten times the memory
        entry = folder / name
        if name.startswith(".") or name in JUNK or not entry.is_file():
            continue
        if not entry.resolve().is_relative_to(root):
            raise UserError(f"data.source: {entry} is a link out of its folder; copy the file there instead")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(f"data.source: {os.fsencode(name)!r} in {folder} is not UTF-8; rename it") from None
        names.append(name)
    return names


def _pick_layout(folders: Iterable[str], where: str) -> dict[str, str]:
    """The source's folder of each of NAMES that it has."""
    names = set(folders)
    for layout in LAYOUTS:
        if names.issuperset(layout[:2]):
            return {name: folder for name, folder in zip(NAMES, layout, strict=True) if folder in names}
    wanted = " or ".join(f"{images}/ and {masks}/" for images, masks, _ in LAYOUTS)
    found = ", ".join(sorted(names)[:6]) or "nothing"
    raise UserError(f"data.source: {where} should hold {wanted}; found {found}")


def _folders(path: Path) -> dict[str, Path]:
    entries = [entry for entry in path.iterdir() if entry.is_dir() and entry.name not in JUNK and entry.name[0] != "."]
    if len(entries) == 1 and not _is_layout(entries[0].name):
        return _folders(entries[0])  # everything inside one more folder
    return {name: path / folder for name, folder in _pick_layout((entry.name for entry in entries), str(path)).items()}


def unzip(path: Path, out: Path) -> None:
    """Extract the photo and mask folders of a zip into `out`/{images,masks}, photos without masks into unlabelled.

    UserError for entries that would leave the folder, links, encryption, damage, or sizes that no
    photo archive has; nothing is written outside `out`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
            _refuse_hostile(path, entries)
            entries = [entry for entry in entries if not JUNK & set(PurePosixPath(entry.filename).parts)]
            parents = {PurePosixPath(entry.filename).parent for entry in entries}
            _, base = min(((len(p.parts), p.parent) for p in parents if _is_layout(p.name)), default=(0, None))
            siblings = {p.name for p in parents if p.parent == base} if base is not None else {p.name for p in parents}
            layout = _pick_layout(siblings, str(path))
            wanted = {(base or PurePosixPath()) / folder: name for name, folder in layout.items()}
            for name in wanted.values():
                (out / name).mkdir()
            for entry in tqdm(entries, desc="fetch", mininterval=1.0, unit="file"):
                place = PurePosixPath(entry.filename)
                if place.parent in wanted and not place.name.startswith("."):
                    with archive.open(entry) as inside:
                        _copy_limited(inside, out / wanted[place.parent] / place.name, entry.file_size)
    except (*DAMAGE, OSError) as error:
        # Damage shows as an OSError without number (bz2) or as a seek to nowhere; a full disk is another matter.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise UserError(f"data.source: {path} is a damaged zip ({error}); fetch it anew") from None


def _is_layout(name: str) -> bool:
    return any(name in layout[:2] for layout in LAYOUTS)


def _refuse_hostile(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    total = 0
    counts = Counter(str(PurePosixPath(entry.filename)) for entry in entries)  # a//b and a/b are one file
    for name, count in counts.items():
        if count > 1:
            raise UserError(f"data.source: {path}: entry {name!r} occurs twice; archive refused")
    for entry in entries:
        place = PurePosixPath(entry.filename.replace("\\", "/"))
        if not place.parts or place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
            raise UserError(f"data.source: {path}: entry {entry.filename!r} would leave the folder; archive refused")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UserError(f"data.source: {path}: entry {entry.filename!r} is a link; archive refused")
        if len(place.name.encode()) > MAX_NAME_BYTES:
            raise UserError(f"data.source: {path}: the name is too long of entry {place.name[:60]!r}...; shorten it")
        if entry.flag_bits & 1:
            raise UserError(f"data.source: {path}: entry {entry.filename!r} is encrypted; unpack it first")
        total += entry.file_size
        if entry.file_size > 2**20 and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
            raise UserError(f"data.source: {path}: entry {entry.filename!r} unpacks to {entry.file_size} B; refused")
    # Thousands of small entries, each below the limit of one, make a bomb too.
    if total > max(SMALL_BYTES, MAX_RATIO * path.stat().st_size):
        raise UserError(f"data.source: {path} of {path.stat().st_size} bytes unpacks to {total}; refused")
    if total > MAX_UNPACKED_BYTES:
        raise UserError(f"data.source: {path} unpacks to {total} bytes, more than {MAX_UNPACKED_BYTES}; refused")


def _copy_limited(inside: Any, target: Path, size: int) -> None:
    with target.open("xb") as stream:
        shutil.copyfileobj(inside, stream, 2**20)
        if stream.tell() != size:
            raise EOFError(f"{target.name} is {stream.tell()} bytes, its header says {size}")


def download(url: str, sha256: str, folder: Path) -> Path:
    """Fetch `url` into `folder`/SHA256.zip unless it is there already; UserError if its hash differs."""
    target = folder / f"{sha256}.zip"
    if target.is_file() and sha256_file(target) == sha256:
        return target
    with atomic_path(target) as temporary:
        digest = hashlib.sha256()
        try:
            with urllib.request.urlopen(url, timeout=60) as answer, temporary.open("wb") as stream:
                size = int(answer.headers.get("Content-Length") or 0) or None
                with tqdm(total=size, desc="download", unit="B", unit_scale=True, mininterval=1.0) as bar:
                    while block := answer.read(2**20):
                        digest.update(block)
                        stream.write(block)
                        bar.update(len(block))
        except (http.client.HTTPException, ValueError, urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise UserError(f"data.source: {url} cannot be fetched ({error}); check the address and network") from None
        if digest.hexdigest() != sha256:
            raise UserError(f"data.sha256: {url} has sha256 {digest.hexdigest()}, not the expected {sha256}")
    return target


def resolve(source: str, root: str | None = None) -> str:
    """Make a relative path absolute against `root` (default: DVC_ROOT, else the current folder).

    Experiments queued by DVC run in a copy of the workspace, where a relative path would lead nowhere.
    """
    if source == SAMPLE or is_url(source):
        return source
    base = Path(root or os.environ.get("DVC_ROOT") or Path.cwd())
    try:
        return os.path.normpath(base / Path(source).expanduser())
    except RuntimeError:
        raise UserError(f"data.source: {source}: there is no such user; give the full path") from None


def dump(description: dict[str, Any]) -> str:
    """Canonical JSON of a description, for hashing and comparing."""
    return json.dumps(description, sort_keys=True)
