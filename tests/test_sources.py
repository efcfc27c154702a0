"""Every layout and archive a user may bring is read or refused in one line, and nothing is left half-written."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from personseg.errors import UserError
from personseg.sources import describe_source, download, fetch, resolve

LAYOUTS = [("train", "train_mask"), ("images", "masks")]
CONTENT = {"images/1.jpg": b"photo 1", "images/2.jpg": b"photo 2", "masks/1.png": b"mask 1", "masks/2.png": b"mask 2"}


def laid_out(images: str = "images", masks: str = "masks", prefix: str = "") -> dict[str, bytes]:
    """CONTENT under the names of another layout."""
    folders = {"images": images, "masks": masks}
    return {prefix + folders[name.split("/")[0]] + "/" + name.split("/")[1]: data for name, data in CONTENT.items()}


def make_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def make_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def fetched(source: Path, tmp_path: Path) -> dict[str, bytes]:
    fetch(str(source), None, tmp_path / "raw", tmp_path / "downloads")
    return contents(tmp_path / "raw")


def assert_refused(source: Path, tmp_path: Path, message: str) -> None:
    """The source is refused in one line; raw/ keeps what it held and nothing else appears anywhere."""
    make_folder(tmp_path / "raw", {"old.txt": b"old"})
    before = contents(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        fetch(str(source), None, tmp_path / "raw", tmp_path / "downloads")
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir() if path != source) == ["raw"]


@pytest.mark.parametrize("prefix", ["", "set/", "outer/set/"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_layouts_and_nesting(kind: str, layout: tuple[str, str], prefix: str, tmp_path: Path) -> None:
    files = laid_out(*layout, prefix)
    source = make_folder(tmp_path / "in", files) if kind == "folder" else make_zip(tmp_path / "in.zip", files)
    assert describe_source(str(source), None)["kind"] == kind
    assert fetched(source, tmp_path) == CONTENT


@pytest.mark.parametrize("prefix", ["", "test/"])
@pytest.mark.parametrize(
    ("layout", "unlabelled"), [(("train", "train_mask"), "test"), (("images", "masks"), "unlabelled")]
)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_photos_without_masks_come_along(
    kind: str, layout: tuple[str, str], unlabelled: str, prefix: str, tmp_path: Path
) -> None:
    files = laid_out(*layout, prefix) | {f"{prefix}{unlabelled}/3.jpg": b"photo 3"}
    source = make_folder(tmp_path / "in", files) if kind == "folder" else make_zip(tmp_path / "in.zip", files)
    before = describe_source(str(source), None)
    assert fetched(source, tmp_path) == CONTENT | {"unlabelled/3.jpg": b"photo 3"}
    if kind == "folder":
        (source / f"{prefix}{unlabelled}/4.jpg").write_bytes(b"photo 4")
        assert describe_source(str(source), None) != before


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_junk_is_left_out(kind: str, tmp_path: Path) -> None:
    junk = {
        "__MACOSX/set/train/._1.jpg": b"x",
        "__MACOSX/train/1.jpg": b"x",
        "set/train/.DS_Store": b"x",
        "set/train/Thumbs.db": b"x",
        "set/train_mask/desktop.ini": b"x",
        ".cache/state": b"x",
    }
    files = junk | laid_out("train", "train_mask", "set/")
    source = make_folder(tmp_path / "in", files) if kind == "folder" else make_zip(tmp_path / "in.zip", files)
    describe_source(str(source), None)
    assert fetched(source, tmp_path) == CONTENT


def test_new_fetch_replaces_the_old_one(tmp_path: Path) -> None:
    make_folder(tmp_path / "raw", {"images/stale.jpg": b"old"})
    assert fetched(make_folder(tmp_path / "in", CONTENT), tmp_path) == CONTENT


@pytest.mark.parametrize(
    "name", ["../evil.jpg", "images/../../evil.jpg", "/tmp/evil.jpg", "..\\evil.jpg", "C:\\evil.jpg", "", "./."]
)
def test_entry_that_leaves_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "in.zip", {"Q" * max(3, len(name)): b"x"} | CONTENT)
    # zipfile mends some names while writing, so the stored name is put there afterwards.
    stored = name.encode() if name else b"\0\0\0"
    path.write_bytes(path.read_bytes().replace(b"Q" * max(3, len(name)), stored.ljust(max(3, len(name)), b".")))
    assert_refused(path, tmp_path, "would leave the folder; archive refused")


def test_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "in.zip", CONTENT)
    link = zipfile.ZipInfo("images/3.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert_refused(path, tmp_path, "'images/3.jpg' is a link")


def test_link_out_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    source = make_folder(tmp_path / "in", CONTENT)
    secret = tmp_path / "raw" / "old.txt"
    secret.touch()
    (source / "images" / "3.jpg").symlink_to(secret)
    with pytest.raises(UserError, match=r"3\.jpg is a link out of its folder"):
        describe_source(str(source), None)
    assert_refused(source, tmp_path, "is a link out of its folder")


def test_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "in.zip", CONTENT)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    assert_refused(path, tmp_path, "'images/1.jpg' is encrypted")


@pytest.mark.parametrize("twin", ["images/1.jpg", "images//1.jpg", "./images/1.jpg"])
def test_duplicate_entry_is_refused(twin: str, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "in.zip", CONTENT)
    with zipfile.ZipFile(path, "a") as archive, pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **options: None)
        archive.writestr(twin, b"other")
    assert_refused(path, tmp_path, r"'images/1\.jpg' occurs twice")


def test_bomb_is_refused(tmp_path: Path) -> None:
    files = CONTENT | {"images/3.jpg": bytes(4 * 2**20)}
    path = make_zip(tmp_path / "in.zip", files, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    assert_refused(path, tmp_path, r"'images/3\.jpg' unpacks to 4194304 B")


def test_archive_larger_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personseg.sources.MAX_UNPACKED_BYTES", 20)
    assert_refused(make_zip(tmp_path / "in.zip", CONTENT), tmp_path, "unpacks to 26 bytes, more than 20")


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_changed_content_is_noticed(method: int, tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(500)
    path = make_zip(tmp_path / "in.zip", CONTENT | {"images/1.jpg": noise}, method)
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF  # inside the first entry's data
    path.write_bytes(data)
    assert_refused(path, tmp_path, "is a damaged zip")


@pytest.mark.parametrize("method", METHODS)
def test_any_damage_is_a_user_error_or_harmless(method: int, tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "in.zip", CONTENT | {"images/1.jpg": b"ab" * 200}, method).read_bytes()
    rng = random.Random(method)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "in.zip").write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        try:
            fetch(str(tmp_path / "in.zip"), None, tmp_path / "raw", tmp_path / "downloads")
        except UserError:
            refused += 1
    assert refused > 30
    assert {path.name for path in tmp_path.iterdir()} <= {"in.zip", "raw"}


def test_no_data_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.source: nothing at .*/none; give the path"):
        describe_source(str(tmp_path / "none"), None)


def test_file_that_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "in.zip").write_bytes(b"not a zip")
    with pytest.raises(UserError, match=r"in\.zip is neither a folder nor a zip"):
        describe_source(str(tmp_path / "in.zip"), None)
    assert_refused(tmp_path / "in.zip", tmp_path, "is a damaged zip")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "nothing"),
        ({"photos/1.jpg": b"", "labels/1.png": b""}, "labels, photos"),
        ({"images/1.jpg": b""}, "images"),
        ({"train/1.jpg": b"", "masks/1.png": b""}, "masks, train"),
    ],
)
def test_other_layout(files: dict[str, bytes], found: str, tmp_path: Path) -> None:
    wanted = f"should hold train/ and train_mask/ or images/ and masks/; found {found}$"
    (tmp_path / "in").mkdir()
    folder = make_folder(tmp_path / "in", files)
    with pytest.raises(UserError, match=wanted):
        describe_source(str(folder), None)
    assert_refused(folder, tmp_path, wanted)


def test_zip_of_another_layout(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "in.zip", {"set/photos/1.jpg": b"", "set/labels/1.png": b""})
    assert_refused(path, tmp_path, "should hold train/ and train_mask/ or images/ and masks/; found labels, photos")


def test_folder_description_changes_with_the_content_only(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", CONTENT)
    first = describe_source(str(source), None)
    (source / "notes.txt").write_text("no part of the data")
    (source / "images" / ".DS_Store").touch()
    assert describe_source(str(source), None) == first
    seen = [first]

    def assert_new() -> None:
        description = describe_source(str(source), None)
        assert description not in seen
        seen.append(description)

    (source / "masks" / "1.png").write_bytes(b"longer mask 1")
    assert_new()
    os.utime(source / "masks" / "1.png", ns=(1, 1))  # same size, written at another time
    assert_new()
    (source / "images" / "3.jpg").write_bytes(b"photo 3")
    assert_new()
    (source / "images" / "3.jpg").rename(source / "images" / "4.jpg")
    assert_new()
    (source / "images" / "4.jpg").rename(source / "masks" / "4.jpg")
    assert_new()


def test_zip_description_is_its_hash(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "in.zip", CONTENT)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert describe_source(str(path), None) == describe_source(str(path), digest) == {"kind": "zip", "sha256": digest}
    with pytest.raises(UserError, match=rf"data\.sha256: .* has sha256 {digest}"):
        describe_source(str(path), "0" * 64)


def test_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert resolve("sample", "/project") == "sample"
    assert resolve("https://host/a.zip", "/project") == "https://host/a.zip"
    assert resolve("../data/a.zip", "/project") == "/data/a.zip"
    assert resolve("/data/a.zip", "/project") == "/data/a.zip"
    assert resolve("~/a.zip", "/project") == "/home/ann/a.zip"
    monkeypatch.setenv("DVC_ROOT", "/workspace")
    assert resolve("a.zip") == "/workspace/a.zip"
    with pytest.raises(UserError, match=r"data\.source: ~no-such-user/a\.zip"):
        resolve("~no-such-user/a.zip")


class Server(ThreadingHTTPServer):
    """Serves its `pages`; a page's promised length may differ from its data."""

    pages: dict[str, tuple[bytes, int]]
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path not in self.server.pages:
            self.send_error(404)
            return
        data, promised = self.server.pages[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.pages, running.asked = {}, []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def serve(server: Server, data: bytes, promised: int | None = None) -> str:
    server.pages["/set.zip"] = (data, len(data) if promised is None else promised)
    return f"http://127.0.0.1:{server.server_address[1]}/set.zip"


def test_url_without_sha256() -> None:
    with pytest.raises(UserError, match=r"data\.sha256: a URL needs the sha256"):
        describe_source("https://127.0.0.1/a.zip", None)


def test_url_with_the_right_sha256(server: Server, tmp_path: Path) -> None:
    data = make_zip(tmp_path / "in.zip", laid_out("train", "train_mask")).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    url = serve(server, data)
    assert describe_source(url, digest) == {"kind": "url", "url": url, "sha256": digest}
    for _ in range(2):
        fetch(url, digest, tmp_path / "raw", tmp_path / "downloads")
        assert contents(tmp_path / "raw") == CONTENT
    assert server.asked == ["/set.zip"], "a file that is there already is not fetched again"
    (tmp_path / "downloads" / f"{digest}.zip").write_bytes(b"damaged")
    fetch(url, digest, tmp_path / "raw", tmp_path / "downloads")
    assert len(server.asked) == 2
    assert contents(tmp_path / "downloads") == {f"{digest}.zip": data}


def test_url_with_a_wrong_sha256(server: Server, tmp_path: Path) -> None:
    data = make_zip(tmp_path / "in.zip", CONTENT).read_bytes()
    url = serve(server, data)
    make_folder(tmp_path / "raw", {"old.txt": b"old"})
    with pytest.raises(UserError, match=rf"has sha256 {hashlib.sha256(data).hexdigest()}, not the expected 000"):
        fetch(url, "0" * 64, tmp_path / "raw", tmp_path / "downloads")
    assert contents(tmp_path / "raw") == {"old.txt": b"old"}
    assert contents(tmp_path / "downloads") == {}


def test_interrupted_download_leaves_nothing(server: Server, tmp_path: Path) -> None:
    data = make_zip(tmp_path / "in.zip", CONTENT).read_bytes()
    url = serve(server, data[:-50], promised=len(data))
    with pytest.raises(UserError, match=r"has sha256|cannot be fetched"):
        download(url, hashlib.sha256(data).hexdigest(), tmp_path / "downloads")
    assert contents(tmp_path / "downloads") == {}


@pytest.mark.parametrize("path", ["/none.zip", "/a b.zip", "/ü.zip"])
def test_url_that_cannot_be_fetched(path: str, server: Server, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}{path}"
    with pytest.raises(UserError, match=r"cannot be fetched .*check the address and network"):
        download(url, "0" * 64, tmp_path / "downloads")
    assert contents(tmp_path / "downloads") == {}


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:port/a.zip", "http://[::1/a.zip"])
def test_malformed_url(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be fetched"):
        download(url, "0" * 64, tmp_path / "downloads")
