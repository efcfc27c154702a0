"""Videos in, videos out: frame for frame, steady, nothing half-written."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from exported import Exported, exported  # noqa: F401 (a fixture)
from numpy.typing import NDArray

from personseg import Segmenter
from personseg.batch import run_job
from personseg.errors import UserError
from personseg.images import RGB
from personseg.inputs import find_photos
from personseg.video import segment_video, with_sound
from personseg.writers import RECORD, Job

FRAMES = 13  # more than a batch


def frames(noise: float, step: int = 2) -> list[RGB]:
    """A light ellipse walking over a dark ground, `step` px a frame."""
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(FRAMES):
        body = np.zeros((120, 96), np.uint8)
        cv2.ellipse(body, (30 + step * number, 60), (18, 32), 0, 0, 360, 1, -1)
        picture = 45 + body[..., None] * 145 + rng.normal(0, noise, (120, 96, 3))
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (96, 120))
    assert writer.isOpened()
    for picture in frames(10):
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture(scope="module")
def segmenter(exported: Exported) -> Segmenter:  # noqa: F811
    return Segmenter.load(exported.model, "pytorch_fp32", export_folder=exported.folder)


def read_video(path: Path) -> tuple[list[NDArray[np.uint8]], float]:
    video = cv2.VideoCapture(str(path))
    pictures = []
    while True:
        there, frame = video.read()
        if not there:
            return pictures, video.get(cv2.CAP_PROP_FPS)
        pictures.append(np.asarray(frame, np.uint8))


def results(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != RECORD]


def job(inputs: list[str], out: Path, kind: str, background: str = "") -> Job:
    return Job(inputs=inputs, out=out, kind=kind, background=background)


@pytest.mark.parametrize(("kind", "background"), [("mask", ""), ("overlay", ""), ("cutout", "#0000ff")])
def test_frames_are_what_photos_would_be(
    kind: str,
    background: str,
    clip: Path,
    exported: Exported,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert run_job(job([str(clip)], tmp_path / "out", kind, background), exported.model, "pytorch_fp32", 1) == 0
    assert results(tmp_path / "out") == ["walk.mp4"], "nothing else is left"
    made, rate = read_video(tmp_path / "out/walk.mp4")
    assert len(made) == FRAMES and rate == 12.5 and made[0].shape == (120, 96, 3)
    segmenter = Segmenter.load(exported.model, "pytorch_fp32", export_folder=exported.folder)
    sources, _ = read_video(clip)
    for number in (0, FRAMES - 1):
        mask = segmenter.predict(cv2.cvtColor(sources[number], cv2.COLOR_BGR2RGB)).mask
        assert mask.any() and not mask.all()
        inside = cv2.erode(mask.astype(np.uint8), np.ones((9, 9))) > 0
        outside = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) == 0
        blue, green, red = (made[number][..., channel].astype(int) for channel in range(3))
        if kind == "mask":
            assert green[inside].min() > 200 and green[outside].max() < 55
        elif kind == "cutout":
            assert np.median(blue[outside]) > 200 and np.median(red[outside]) < 50
            assert abs(np.median(red[inside]) - np.median(sources[number][inside])) < 20
        else:
            assert np.median(green[inside] - red[inside]) > 30 and abs(np.median(green[outside] - red[outside])) < 15


def test_a_finished_video_is_not_done_again(clip: Path, exported: Exported, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "walk.mp4").write_bytes(b"done")
    assert run_job(job([str(clip)], tmp_path, "mask"), exported.model, "pytorch_fp32", 1) == 0
    assert (tmp_path / "walk.mp4").read_bytes() == b"done"


def test_masks_flicker_less(segmenter: Segmenter) -> None:
    noisy = frames(70, step=0)

    def changes(smoothing: float) -> float:
        masks = [found.mask for _, found in segmenter.frames(noisy, smoothing)]
        return float(np.mean([(a != b).mean() for a, b in pairwise(masks)]))

    assert changes(0.8) < 0.9 * changes(0)
    plain = [segmenter.predict(picture).mask for picture in noisy]
    for expected, (_, found) in zip(plain, segmenter.frames(noisy, 0), strict=True):
        np.testing.assert_array_equal(found.mask, expected)


def test_what_cannot_be_done_is_named_and_the_rest_goes_on(
    clip: Path,
    exported: Exported,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(clip, folder / "good.avi")
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.mov").touch()
    assert run_job(job([str(folder)], tmp_path / "out", "mask"), exported.model, "pytorch_fp32", 1) == 1
    told = capsys.readouterr().err
    assert told.count("not a video that can be read") == 2 and "1 written" in told and "2 failed" in told
    assert results(tmp_path / "out") == ["good.mp4"]
    assert run_job(job([str(clip)], tmp_path / "rgba", "cutout"), exported.model, "pytorch_fp32", 1) == 1
    assert "with --background" in capsys.readouterr().err


def test_a_kill_leaves_no_video(clip: Path, segmenter: Segmenter, tmp_path: Path) -> None:
    def stop(*_: object) -> RGB:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_video(segmenter, clip, tmp_path / "out.mp4", stop)
    assert not list(tmp_path.iterdir())


def test_a_photo_and_a_video_may_have_one_name(clip: Path, exported: Exported, tmp_path: Path) -> None:  # noqa: F811
    shutil.copy(clip, tmp_path / "a.avi")
    shutil.copy(exported.pairs[0][0], tmp_path / "a.jpg")
    assert sorted(item.is_video for item in find_photos([str(tmp_path)], recursive=False)) == [False, True]
    shutil.copy(clip, tmp_path / "a.mov")
    with pytest.raises(UserError, match="the same file"):
        find_photos([str(tmp_path)], recursive=False)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: videos are written without sound")
def test_sound_is_kept(clip: Path, segmenter: Segmenter, tmp_path: Path) -> None:
    loud = tmp_path / "loud.mkv"
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(clip), *tone, "-c:v", "copy", str(loud)], check=True)
    segment_video(segmenter, loud, tmp_path / "out.mp4", lambda frame, found: frame)
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type", "-of", "csv=p=0"]
    kinds = subprocess.run([*probe, str(tmp_path / "out.mp4")], check=True, capture_output=True, text=True).stdout
    assert sorted(kinds.split()) == ["audio", "video"]


def test_without_ffmpeg_the_picture_remains(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not with_sound(clip, clip, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
