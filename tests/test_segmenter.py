"""A trained model in a user's hands: Python and shell."""

import contextlib
import csv
import errno
import json
import re
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from exported import SIZE, Exported, exported  # noqa: F401 (a fixture)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from personseg import Segmenter, rle
from personseg.batch import run_job
from personseg.cutouts import blurred, compose
from personseg.errors import UserError
from personseg.geometry import cover
from personseg.images import read_image, read_mask, to_rgb
from personseg.inputs import find_photos
from personseg.model import load_model
from personseg.postprocess import finish
from personseg.prediction import predict_pairs
from personseg.segmenter import PREFERENCE, PREFERENCE_ON_GPU, read_photo
from personseg.strips import STRIP, strips
from personseg.writers import RECORD, Job, Writer


@pytest.fixture(scope="module")
def small(exported: Exported):  # noqa: F811
    return exported


@pytest.fixture(scope="module")
def segmenter(small):
    return Segmenter.load(small.model, "pytorch_fp32", export_folder=small.folder)


def test_prediction_is_what_evaluation_scores(small, segmenter, tmp_path):
    photo, mask = small.pairs[0]
    for kind, source in (("images", photo), ("masks", mask)):
        (tmp_path / kind).mkdir()
        shutil.copy(source, tmp_path / kind / "a.jpg")
    (_, values, placement, _), *_ = predict_pairs(*load_model(small.model), tmp_path, ["a"], "test")
    found = segmenter.predict(photo)
    np.testing.assert_allclose(found.probability, placement.restore(values), atol=1e-5)
    np.testing.assert_array_equal(found.mask, finish(values, placement, segmenter.config))
    assert found.mask.any() and not found.mask.all()


def test_paths_images_arrays_and_lists_give_the_same(small, segmenter):
    photo = small.pairs[0][0]
    pixels = read_image(photo)
    expected = segmenter.predict(photo).mask
    for given_photo in (str(photo), Image.open(photo), pixels, pixels / 255.0, pixels.astype(np.uint16) * 257):
        assert (segmenter.predict(given_photo).mask == expected).mean() > 0.995
    several = segmenter.predict([photo, *(pair[0] for pair in small.pairs), pixels])
    np.testing.assert_array_equal(several[0].mask, expected)
    np.testing.assert_array_equal(several[-1].mask, expected)
    assert len(several) == len(small.pairs) + 2


@pytest.mark.parametrize("shape", [(700, 300), (33, 500), (64, 64), (1, 1)])
def test_masks_have_the_photos_own_size(segmenter, shape):
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = segmenter.predict(photo)
    assert found.mask.shape == found.probability.shape == shape
    assert found.probability.dtype == np.float32 and 0 <= found.probability.min() <= found.probability.max() <= 1


def test_postprocessing_of_a_large_photo_is_that_of_the_network(small, segmenter):
    photo = read_image(small.pairs[0][0])
    large = np.asarray(
        Image.fromarray(photo).resize((photo.shape[1] * 8, photo.shape[0] * 8), Image.Resampling.NEAREST)
    )
    spotted = large.copy()
    spotted[8:48, 8:48] = 200  # a spot of 5x5 px at the network's resolution
    section = segmenter.config.postprocess
    usual = section.min_object
    segmenter.zoom = False  # a closer look at the spot would tell it from a person before any cleaning
    try:
        section.min_object = 0
        assert segmenter.predict(spotted).mask[:60, :60].any(), "without cleaning the spot must show"
        section.min_object = 60
        alone, cleaned = segmenter.predict(large).mask, segmenter.predict(spotted).mask
    finally:
        section.min_object = usual
        segmenter.zoom = True
    assert alone.any()
    assert not cleaned[:60, :60].any()


def test_runtimes_agree_and_auto_says_what_it_skipped(small, segmenter):
    photo = small.pairs[1][0]
    auto = Segmenter.load(small.model, export_folder=small.folder)
    assert auto.runtime_name in ("openvino_bf16", "openvino_f32", "tensorrt_fp16")
    preferred = PREFERENCE_ON_GPU if auto.runtime_name.startswith("tensorrt") else PREFERENCE
    assert list(auto.skipped) == list(preferred[: preferred.index(auto.runtime_name)])
    assert (auto.predict(photo).mask != segmenter.predict(photo).mask).mean() < 0.02


def test_exports_of_another_model_are_not_used(small, tmp_path):
    shutil.copytree(small.folder, tmp_path / "export")
    manifest = json.loads((tmp_path / "export" / "export.json").read_text())
    (tmp_path / "export" / "export.json").write_text(json.dumps({**manifest, "model_sha256": "0" * 64}))
    found = Segmenter.load(small.model, export_folder=tmp_path / "export")
    assert found.runtime_name.startswith("pytorch")
    assert "another model" in found.skipped["openvino_f32"]
    with pytest.raises(UserError, match="another model"):
        Segmenter.load(small.model, "openvino_f32", export_folder=tmp_path / "export")


def test_an_altered_export_or_model_is_refused(small, tmp_path):
    shutil.copytree(small.folder, tmp_path / "export")
    weights = tmp_path / "export" / "openvino_f32.bin"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match="altered"):
        Segmenter.load(small.model, "openvino_f32", export_folder=tmp_path / "export")
    shutil.copytree(small.model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="sha256"):
        Segmenter.load(tmp_path / "model")


def test_unknown_runtime_and_missing_photo_are_named(small, segmenter, tmp_path):
    with pytest.raises(UserError, match=r"nope.*openvino_f32"):
        Segmenter.load(small.model, "nope")
    with pytest.raises(UserError, match=r"gone\.jpg: no such file"):
        segmenter.predict(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match="shape"):
        segmenter.predict(np.zeros((0, 5, 3), np.uint8))


def test_cutout_keeps_the_person_and_composes(small, segmenter):
    photo = small.pairs[0][0]
    image, mask = read_image(photo), segmenter.predict(photo).mask
    hard = segmenter.cutout(photo)
    np.testing.assert_array_equal(hard[..., 3] > 0, mask)
    np.testing.assert_array_equal(hard[mask, :3], image[mask])
    green = np.array([[[0, 255, 0]]], np.uint8)
    over = segmenter.cutout(photo, background=green)
    assert (over[~mask] == (0, 255, 0)).all()
    np.testing.assert_array_equal(over[mask], image[mask])


def test_matting_takes_the_old_background_out_of_the_edge():
    rows, columns = np.mgrid[:120, :100]
    alpha = np.clip((35 - np.hypot(rows - 60, columns - 50)) / 5 + 0.5, 0, 1)
    image = (alpha[..., None] * (180, 40, 40) + (1 - alpha[..., None]) * (250, 250, 250)).round().astype(np.uint8)
    truth = alpha[..., None] * (180, 40, 40)
    black = np.zeros((1, 1, 3), np.uint8)
    errors = {m: np.abs(compose(image, alpha > 0.3, black, m) - truth).mean() for m in (False, True)}
    assert errors[True] < 0.5 * errors[False]


@pytest.mark.parametrize("height", [1, STRIP, STRIP + 1, 3 * STRIP - 1])
def test_strips_are_all_rows_once_and_in_order(height):
    found = list(strips(height))
    assert [row for rows in found for row in range(height)[rows]] == list(range(height))
    assert all(rows.stop <= height and rows.stop - rows.start <= STRIP for rows in found)


@pytest.mark.parametrize("size", [(40, 70), (900, 500), (1, 1)])
def test_a_background_made_in_strips_is_the_covering_one(size):
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    behind = np.dstack([200 * x, 200 * y, 100 + 50 * x]).astype(np.uint8)
    nobody = np.zeros((STRIP + 90, 200), bool)
    made = compose(np.zeros((*nobody.shape, 3), np.uint8), nobody, behind)
    expected = cover(behind, *nobody.shape, cv2.INTER_LINEAR).astype(int)
    assert np.abs(made - expected).max() <= 3


def test_a_large_photos_own_background_covers_it():
    x = np.linspace(0, 255, 1400).astype(np.uint8)
    image = np.dstack(
        [np.tile(x, (2100, 1)), np.tile(np.linspace(0, 255, 2100).astype(np.uint8)[:, None], (1, 1400))] * 2
    )
    nobody = np.zeros(image.shape[:2], bool)
    assert blurred(image[..., :3], nobody).size < image[..., :3].size / 10, "a strong blur needs few pixels"
    made = compose(image[..., :3], nobody, "blur").astype(int)
    assert np.abs(made - image[..., :3])[60:-60, 60:-60].max() <= 3, "a ramp stays where it is"


def test_a_blurred_background_holds_nothing_of_the_person():
    image = np.full((200, 150, 3), 30, np.uint8)
    mask = np.zeros((200, 150), bool)
    mask[60:150, 40:110] = True
    image[mask] = 250
    assert blurred(image, mask)[~mask].max() < 60


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=30)))
@settings(deadline=None)
def test_run_length_codes_round_trip(mask):
    np.testing.assert_array_equal(rle.decode(rle.encode(mask), mask.shape), mask)


def test_run_length_code_is_the_competitions():
    mask = np.zeros((3, 240), bool)
    mask[:, :100] = True
    assert rle.encode(mask) == "1 100 241 100 481 100"
    assert rle.encode(np.zeros((2, 2), bool)) == ""


@given(st.text(alphabet="0123456789 -x", max_size=20))
def test_bad_run_length_codes_are_refused_or_fit(code):
    with contextlib.suppress(UserError):
        assert rle.decode(code, (4, 5)).shape == (4, 5)


def png_header(width, height):
    """A PNG of a few bytes that says it is so large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def run(*arguments, cwd, **options):
    command = [sys.executable, "-m", "personseg", *map(str, arguments)]
    environment = {"PYTHONPATH": str(Path.cwd()), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, **options)


def results(folder):
    """Names of the files in `folder`, without the note of how they were made."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != RECORD)


@pytest.fixture
def photos(small, tmp_path):
    folder = tmp_path / "my photos"
    (folder / "deep er").mkdir(parents=True)
    shutil.copy(small.pairs[0][0], folder / "Привет 1.jpg")
    shutil.copy(small.pairs[1][0], folder / "deep er" / "-b.jpg")
    (folder / "note.txt").write_text("no photo")
    return folder


def test_command_writes_every_kind_and_skips_what_is_done(small, photos, tmp_path):
    common = ("--model", small.model, "--runtime", "pytorch_fp32")
    first = run("predict", photos, "-r", "-o", tmp_path / "out", *common, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    masks = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png"))
    assert masks == ["deep er/-b.png", "Привет 1.png"]
    expected = Segmenter.load(small.model, "pytorch_fp32").predict(small.pairs[0][0]).mask
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "Привет 1.png"), expected)
    again = run("predict", photos, "-r", "-o", tmp_path / "out", *common, cwd=tmp_path)
    assert again.returncode == 0 and "2 done before" in again.stderr and "runtime" not in again.stderr

    table = tmp_path / "codes.csv"
    assert run("predict", photos, "-r", "--as", "rle", "-o", table, *common, cwd=tmp_path).returncode == 0
    with table.open(encoding="utf-8", newline="") as stream:
        rows = {row["image"]: row["rle_mask"] for row in csv.DictReader(stream)}
    np.testing.assert_array_equal(rle.decode(rows["Привет 1"], expected.shape), expected)

    options = ("--as", "cutout", "--background", "blur", "--matting")
    done = run("predict", f"{photos}/*.jpg", "-o", tmp_path / "cut", *options, *common, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "cut" / "Привет 1.jpg").size == expected.shape[::-1]


def test_command_names_bad_photos_and_goes_on(small, photos, tmp_path):
    (photos / "empty.png").touch()
    (photos / "text.jpg").write_text("hello")
    (photos / "half.jpg").write_bytes(small.pairs[0][0].read_bytes()[:1000])
    (photos / "bomb.png").write_bytes(png_header(30_000, 30_000))
    result = run(
        "predict", photos, "-o", tmp_path / "out", "--as", "json", "-m", small.model, "--runtime", "pytorch_fp32",
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 1
    assert "empty.png: empty file" in result.stderr and "text.jpg: not a readable image" in result.stderr
    assert "half.jpg: truncated or damaged image" in result.stderr
    assert re.search(r"bomb\.png: (30000x30000 is )?more than 150000000 pixels", result.stderr)
    assert "1 written" in result.stderr and "Traceback" not in result.stderr
    facts = json.loads((tmp_path / "out" / "Привет 1.json").read_text(encoding="utf-8"))
    assert (facts["height"], facts["width"]) == (60, 48) and facts["box"] and 0 < facts["person_share"] < 1
    assert results(tmp_path / "out") == ["Привет 1.json"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("predict", "gone.jpg", "-o", "out"), "gone.jpg: no such file"),
        (("predict", ".", "-o", "out"), "no photos or videos in it"),
        (("info", "nowhere"), "nowhere"),
    ],
)
def test_command_says_one_line(tmp_path, arguments, reason):
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and reason in result.stderr and result.stderr.count("\n") == 1


def test_an_output_that_cannot_be_written_stops_with_one_line_and_leaves_nothing(small, photos, tmp_path):
    common = ("--model", small.model, "--runtime", "pytorch_fp32")
    (tmp_path / "taken").touch()
    result = run("predict", photos, "-o", tmp_path / "taken", *common, cwd=tmp_path)
    assert result.returncode == 1 and "taken" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr

    def no_room():  # as on a full disk, a file ends after so many bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))

    result = run("predict", photos, "-o", tmp_path / "out", "--as", "cutout", *common, cwd=tmp_path, preexec_fn=no_room)
    assert result.returncode == 1 and result.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.stderr
    assert results(tmp_path / "out") == []
    result = run("predict", photos, "-o", "/proc/nowhere", *common, cwd=tmp_path)
    assert (
        result.returncode == 1 and result.stderr.startswith("error: /proc/nowhere") and "runtime" not in result.stderr
    )


def test_a_table_that_cannot_be_written_is_one_line(small, photos, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "codes.csv")

    monkeypatch.setattr("personseg.writers.atomic_path", full)
    with pytest.raises(UserError, match="No space left"):
        run_job(Job([str(photos)], tmp_path / "codes.csv", "rle"), small.model, "pytorch_fp32", 1)
    assert "written" not in capsys.readouterr().err


def test_a_stopped_run_says_what_is_done_and_goes_on(small, photos, tmp_path, monkeypatch, capsys):
    job, write = Job([str(photos)], tmp_path / "out", "mask", recursive=True), Writer.write

    def stop(self, item, *rest):
        if results(tmp_path / "out"):
            raise KeyboardInterrupt
        write(self, item, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "write", stop)
        assert run_job(job, small.model, "pytorch_fp32", 1) == 130
    assert "stopped, 1 of 2 written" in capsys.readouterr().err
    assert run_job(job, small.model, "pytorch_fp32", 1) == 0 and "1 done before" in capsys.readouterr().err


def test_two_photos_of_one_name_are_refused(tmp_path):
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="same file"):
        find_photos([str(tmp_path)], recursive=False)


def test_one_photo_may_be_given_a_files_name(small, photos, tmp_path):
    photo = str(photos / "Привет 1.jpg")

    def do(out, kind="mask", **options):
        return run_job(Job([options.pop("photo", photo)], tmp_path / out, kind, **options), small.model, "auto", 1)

    assert do("me.png") == do("me.png", "cutout") == do("deep/over.jpg", "cutout", background="white") == 0
    assert Image.open(tmp_path / "me.png").mode == "RGBA", "a named file is written anew"
    assert results(tmp_path / "deep") == ["over.jpg"] and not (tmp_path / RECORD).exists()
    for out, kind, reason in (
        ("me.jpg", "cutout", r"written as \.png, with --background also \.jpg"),
        ("me.webp", "mask", r"written as \.png or \.jpg"),
        ("me.png", "rle", r"written as \.csv"),
        ("me.csv", "mask", r"\.csv is written by --as rle"),
    ):
        with pytest.raises(UserError, match=reason):
            do(out, kind)
    with pytest.raises(UserError, match="there are 2 photos"):
        do("all.png", photo=str(photos), recursive=True)


def test_a_photo_is_never_replaced_by_its_result(small, tmp_path):
    image = Image.open(small.pairs[0][0])
    image.save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    for out in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(UserError, match=r"a\.png is a photo"):
            run_job(Job([str(tmp_path)], out, "mask", overwrite=True), small.model, "pytorch_fp32", 1)
    assert (tmp_path / "a.png").read_bytes() == before


def test_results_inside_the_searched_folder_are_no_photos(small, photos, tmp_path):
    (photos / "folder.jpg").mkdir()
    (photos / ".hidden.jpg").touch()
    job = Job([str(photos)], photos / "out", "mask", recursive=True)
    assert run_job(job, small.model, "pytorch_fp32", 1) == run_job(job, small.model, "pytorch_fp32", 1) == 0
    assert results(photos / "out") == ["deep er/-b.png", "Привет 1.png"]
    found = find_photos([f"{photos}/**/*"], recursive=False, out=photos / "out")
    assert [item.name for item in found] == ["deep er/-b", "Привет 1"], "a pattern means photos too"
    assert [item.path.name for item in find_photos([f"{photos}/*.txt"], False)] == ["note.txt"]


def test_results_of_another_model_or_options_do_not_pass_for_these(small, photos, tmp_path, capsys):
    def do(kind="mask", overwrite=False, **options):
        return run_job(Job([str(photos)], tmp_path / "out", kind, overwrite=overwrite, **options), model, "auto", 1)

    model = shutil.copytree(small.model, tmp_path / "models" / "person")
    assert do() == do() == do("overlay") == do(threshold=0.4, overwrite=True) == 0
    with pytest.raises(UserError, match=r"another --threshold; .*--overwrite"):
        do()
    with pytest.raises(UserError, match="another --as, --threshold"):
        do("cutout")
    with pytest.raises(UserError, match="another --threshold, --runtime"):
        run_job(Job([str(photos)], tmp_path / "out", "mask"), model, "pytorch_fp32", 1)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "sha256": "0" * 64}))
    with pytest.raises(UserError, match="another model"):
        do("overlay")
    (tmp_path / "out" / RECORD).unlink()
    assert do("overlay") == 0 and "1 done before" in capsys.readouterr().err


def test_phone_photos_that_cannot_be_read_are_named(small, photos, tmp_path, capsys):
    (photos / "IMG_1.HEIC").write_bytes(b"\0\0\0 ftypheic")
    assert run_job(Job([str(photos)], tmp_path / "out", "mask"), small.model, "pytorch_fp32", 1) == 1
    assert "IMG_1.HEIC: HEIC cannot be read; save it as JPEG" in capsys.readouterr().err


def test_a_name_too_long_for_the_disk_fails_alone(small, photos, tmp_path, capsys):
    shutil.copy(small.pairs[0][0], photos / f"{'n' * 250}.jpg")
    assert run_job(Job([str(photos)], tmp_path / "out", "mask"), small.model, "pytorch_fp32", 1) == 1
    assert "name too long" in capsys.readouterr().err and results(tmp_path / "out") == ["Привет 1.png"]
    with pytest.raises(UserError, match="name too long"):
        find_photos(["n" * 300], recursive=False)


def test_a_submission_is_in_the_order_of_its_numbers_and_goes_on(small, tmp_path, monkeypatch):
    folder, table = tmp_path / "test", tmp_path / "submission.csv"
    folder.mkdir()
    for name in ("10", "9", "1492"):
        shutil.copy(small.pairs[0][0], folder / f"{name}.jpg")
    table.write_text("image,rle_mask\n" + f"9,{'1 1 ' * 50_000}\n")  # longer than the csv module takes by default
    monkeypatch.setattr("personseg.writers.SAVE_EVERY", -1)
    assert run_job(Job([str(folder)], table, "rle"), small.model, "pytorch_fp32", 1) == 0
    lines = table.read_text().splitlines()
    assert lines[0] == "image,rle_mask" and [line.split(",")[0] for line in lines[1:]] == ["9", "10", "1492"]
    assert lines[1].count("1 1 ") == 50_000, "done before"
    assert re.fullmatch(r"10,\d+ \d+( \d+ \d+)*", lines[2])


@pytest.mark.parametrize("content", [b"foo,bar\n1,2\n", b"image,rle_mask\n1,2,3\n", b"\xff\xfe"])
def test_a_table_of_something_else_is_not_replaced(small, photos, tmp_path, content):
    table = tmp_path / "mine.csv"
    table.write_bytes(content)
    with pytest.raises(UserError, match="not a submission file"):
        run_job(Job([str(photos)], table, "rle"), small.model, "pytorch_fp32", 1)
    assert table.read_bytes() == content


@pytest.mark.parametrize(
    ("background", "pixel"),
    [("white", (255, 255, 255)), ("#20a0ff", (32, 160, 255)), ("behind.png", (9, 90, 9)), ("blur", None)],
)
def test_backgrounds_are_the_same_in_shell_and_python(small, segmenter, tmp_path, monkeypatch, background, pixel):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 10), (9, 90, 9)).save("behind.png")
    photo = small.pairs[0][0]
    made = segmenter.cutout(photo, background=background)
    job = Job([str(photo)], Path("out.png"), "cutout", background=background)
    assert run_job(job, small.model, "pytorch_fp32", 1) == 0
    np.testing.assert_array_equal(read_image("out.png"), made)
    mask = segmenter.predict(photo).mask
    assert pixel is None or (made[~mask] == pixel).all()
    np.testing.assert_array_equal(made[mask], read_image(photo)[mask])


@pytest.mark.parametrize("background", ["nope.jpg", "not a colour", "x" * 300])
def test_a_background_that_is_none_is_one_line(small, photos, tmp_path, background):
    job = Job([str(photos)], tmp_path / "out", "cutout", background=background)
    with pytest.raises(UserError, match=r"^--background .*neither a colour, nor a picture, nor blur"):
        run_job(job, small.model, "pytorch_fp32", 1)
    for option in ({"matting": True}, {"background": "white"}):
        with pytest.raises(UserError, match="is for --as cutout"):
            run_job(Job([str(photos)], tmp_path / "out", "mask", **option), small.model, "pytorch_fp32", 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "1", "P", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("levels", [200, 65535])
def test_photos_read_in_strips_are_those_read_whole(mode, levels):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (STRIP + 40, 30), dtype=np.uint8)
    grey[:STRIP] //= 3  # the strips are not equally bright
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray((grey.astype(np.float64) * levels / 255).astype(kind))
    else:
        image = Image.fromarray(rng.integers(0, 256, (*grey.shape, 4), dtype=np.uint8)).convert(mode)
    assert image.mode == mode
    np.testing.assert_array_equal(read_photo(image), to_rgb(image))


def test_arrays_that_are_no_photos_are_refused(segmenter):
    photo = np.full((9, 9, 3), 200.0)
    with pytest.raises(UserError, match=r"0\.\.1"):
        segmenter.predict(photo)
    assert segmenter.predict(photo / 255).mask.shape == (9, 9)
    several = segmenter.predict(np.zeros((3, 9, 7, 3), np.uint8))
    assert [found.mask.shape for found in several] == [(9, 7)] * 3
    assert len(segmenter.predict((photo / 255, photo / 255))) == 2
    assert "pytorch_fp32" in repr(segmenter)


def test_help_and_info(small, tmp_path):
    assert "predict" in run("--help", cwd=tmp_path).stdout
    assert run("--version", cwd=tmp_path).stdout.startswith("personseg ")
    text = run("info", small.model, cwd=tmp_path).stdout
    assert f"{SIZE[0]}x{SIZE[1]}" in text and "pytorch_fp32       yes" in text
