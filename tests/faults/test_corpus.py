"""Every case of the corpus through the functions that stages fetch and convert call, and those of `predict`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from personseg.convert import convert
from personseg.errors import UserError
from personseg.files import read_table, sha256_file
from personseg.images import read_image, read_mask
from personseg.segmenter import read_photo
from personseg.sources import describe_source, fetch
from tests.faults import corpus
from tests.faults import pictures as pic
from tests.faults.corpus import CASES, GOOD, Accepted, Case, Refused, Rejected


@pytest.fixture(scope="module")
def good_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("good") / "source"
    corpus.good_pairs(root)
    return root


@pytest.fixture
def root(good_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source of three good pairs, in an empty current folder."""
    shutil.copytree(good_source, tmp_path / "source")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "source"


def through(source: Path) -> Path:
    """What stages source, fetch and convert do, but that any share may be rejected."""
    describe_source(str(source), None)
    fetch(str(source), None, Path("data/raw"), Path("downloads"))
    convert(Path("data/raw"), Path("data/jpg"), 95, corpus.LIMIT, 1.0, 1)
    return Path("data/jpg")


def tree(folder: Path) -> set[str]:
    return {path.as_posix() for path in folder.rglob("*")}


def check_pairs(out: Path, expected: set[str], outcome: Accepted | None) -> None:
    """The manifest lists exactly these stems; files, sizes and hashes are as it says."""
    manifest = read_table(out / "manifest.csv").set_index("stem")
    assert set(manifest.index) == expected
    for kind in ("images", "masks"):
        assert {path.name for path in (out / kind).iterdir()} == {f"{stem}.jpg" for stem in expected}
    for stem, row in manifest.iterrows():
        photo, mask = out / "images" / f"{stem}.jpg", out / "masks" / f"{stem}.jpg"
        assert (row["image_sha256"], row["mask_sha256"]) == (sha256_file(photo), sha256_file(mask))
        assert read_image(photo).shape[:2] == read_mask(mask).shape == (row["height"], row["width"])
    for stem in outcome.stems if outcome else ():
        assert outcome is not None
        np.testing.assert_array_equal(read_mask(out / "masks" / f"{stem}.jpg"), outcome.mask())
        if outcome.colours:
            difference = read_image(out / "images" / f"{stem}.jpg").astype(float) - pic.photo()
            assert np.abs(difference).mean() < outcome.tolerance


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.encode("ascii", "replace").decode())
def test_case(case: Case, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = case.make(root) or root
    before = tree(root.parent)
    outcome = case.outcome
    if isinstance(outcome, Refused):
        with pytest.raises(UserError) as caught:
            through(source)
        line = str(caught.value)
        assert re.search(outcome.words, line) and "\n" not in line and len(line) < 600
        assert tree(root.parent) - before <= {f"{root.parent}/data"}, (
            "nothing is left behind, nothing written elsewhere"
        )
        return
    out = through(source)
    assert tree(root.parent) - before == tree(Path("data").absolute()) | {str(Path("data").absolute())}
    reasons = dict(read_table(out / "rejected.csv").itertuples(index=False))
    if isinstance(outcome, Rejected):
        assert set(reasons) == set(outcome.reasons)
        for name, words in outcome.reasons.items():
            assert re.search(words, reasons[name]), reasons[name]
        check_pairs(out, {*GOOD, *outcome.accepted}, None)
    else:
        assert reasons == {}
        check_pairs(out, {*GOOD, *outcome.stems}, outcome)
    assert "Traceback" not in capfd.readouterr().err


PHOTOS = [case for case in CASES if case.name.startswith("photo: ")]


@pytest.mark.parametrize("case", PHOTOS, ids=lambda case: case.name)
def test_predict_takes_and_refuses_the_same_photos(case: Case, root: Path) -> None:
    case.make(root)
    (path,) = (root / "images").glob("x.*")
    if isinstance(case.outcome, Rejected):
        with pytest.raises(UserError) as caught:
            read_photo(path)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
    else:
        assert read_photo(path).shape == (pic.HEIGHT, pic.WIDTH, 3)


def test_corpus_is_as_large_as_promised_and_names_are_unique() -> None:
    assert len(CASES) >= 60
    assert f"\n{len(CASES)} cases, each" in Path("docs/reliability.md").read_text(encoding="utf-8")
    assert max(Counter(case.name for case in CASES).values()) == 1


def test_headers_of_huge_photos_cost_no_memory(tmp_path: Path) -> None:
    for number, data in enumerate(
        (pic.png_header(30000, 30000), pic.jpeg_header(30000, 30000), pic.gif_header(30000, 30000),
         pic.bmp_header(30000, 30000), pic.webp_header(16000, 16000))
    ):  # fmt: skip
        (tmp_path / str(number)).write_bytes(data)
    code = (
        "import resource, sys; from pathlib import Path; from personseg.images import open_supplied\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in Path(sys.argv[1]).iterdir():\n"
        "    try: open_supplied(path, 10**8)\n"
        "    except ValueError as error: assert 'more than' in str(error), error\n"
        "    else: sys.exit('taken')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=Path.cwd(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 30_000  # KiB
