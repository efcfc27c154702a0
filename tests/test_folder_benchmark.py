"""A folder done at once gives the masks of its photos done alone; the benchmark of it counts and compares rightly."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import folder as folder_benchmark
from personseg import batch
from personseg.batch import Folder, run_job
from personseg.errors import UserError
from personseg.files import read_json
from personseg.images import read_mask, write_image, write_mask
from personseg.inputs import Item, find_photos
from personseg.segmenter import Segmenter
from personseg.writers import Job, Writer
from tests.exported import Exported, exported

__all__ = ["exported"]


@pytest.fixture(scope="module")
def model(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with its exports beside it, as the command looks for them."""
    place = tmp_path_factory.mktemp("models")
    shutil.copytree(exported.folder, place / "export")
    return Path(shutil.copytree(exported.model, place / "person"))


@pytest.fixture
def photos(exported: Exported, tmp_path: Path) -> Path:
    """18 photos: those of the export's, enlarged ones in between, so that the network's batch of windows comes too."""
    (tmp_path / "photos").mkdir()
    for i in range(18):
        source = exported.pairs[i % 4][0]
        if i % 5:
            shutil.copy(source, tmp_path / f"photos/{i}.jpg")
        else:
            image = batch.read_photo(source)
            write_image(tmp_path / f"photos/{i}.jpg", np.ascontiguousarray(image.repeat(6, 0).repeat(6, 1)))
    return tmp_path / "photos"


@pytest.mark.parametrize("runtime", ["pytorch_fp32", "onnxruntime_fp32", "openvino_f32", "openvino_int8"])
def test_photos_at_once_have_the_masks_they_have_alone(model: Path, photos: Path, tmp_path: Path, runtime: str) -> None:
    out = tmp_path / "masks"
    assert run_job(Job([str(photos)], out, "mask"), model, runtime, 2) == 0
    alone = Segmenter.load(model, runtime, 1)
    for photo in photos.iterdir():
        np.testing.assert_array_equal(read_mask(out / f"{photo.stem}.png"), alone.predict(photo).mask)


@pytest.mark.parametrize(("threads", "count", "streams"), [(2, 18, 2), (2, 15, 1), (1, 1000, 1), (64, 1000, 8)])
def test_streams_are_as_many_as_pay(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, count: int, streams: int
) -> None:
    monkeypatch.setattr(Folder, "load", lambda self, streams: None)
    assert Folder(Writer(Job([], tmp_path, "mask"), []), model, "auto", threads, count).streams == streams


def test_what_is_wrong_with_single_photos_is_said_in_their_order(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("3.jpg", "11.jpg"):
        (photos / name).write_text("no photo")
    assert run_job(Job([str(photos)], tmp_path / "masks", "mask"), model, "pytorch_fp32", 2) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert [Path(line.split(":")[1].strip()).name for line in said] == ["3.jpg", "11.jpg"]
    assert len(list((tmp_path / "masks").glob("*.png"))) == 16


def test_a_full_disk_stops_all_at_once(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def full(self: Writer, item: Item, *rest: Any) -> None:
        tried.append(item.name)
        time.sleep(0.05)
        raise OSError(28, "No space left on device", str(self.path(item)))

    monkeypatch.setattr(Writer, "write", full)
    with pytest.raises(UserError, match=r"0\.png: No space left on device"):
        run_job(Job([str(photos)], tmp_path / "masks", "mask"), model, "pytorch_fp32", 2)
    assert len(tried) < 10


def test_large_photos_take_turns(model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The enlarged ones count as large here; the others go on meanwhile."""
    monkeypatch.setattr(batch, "LARGE", 10_000)
    inside, most, read = [0], [0], batch.read_photo
    guard = threading.Lock()

    def watched(path: Any) -> Any:
        image = read(path)
        if image.size < 3 * 10_000:
            return image
        with guard:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.05)
        with guard:
            inside[0] -= 1
        return image

    monkeypatch.setattr(batch, "read_photo", watched)
    assert run_job(Job([str(photos)], tmp_path / "masks", "mask"), model, "pytorch_fp32", 2) == 0
    assert most == [1]


def test_every_part_of_the_road_is_watched(model: Path, photos: Path, tmp_path: Path) -> None:
    found = folder_benchmark.profile(find_photos([str(photos)], False), tmp_path, model, "pytorch_fp32", 1)
    parts = found["ms"]
    assert all(parts[part] > 0 for part in folder_benchmark.PARTS)
    assert sum(parts[part] for part in (*folder_benchmark.PARTS, "between")) == pytest.approx(parts["in_all"])
    assert 0 <= parts["between"] < parts["in_all"] / 2
    expected = 1 - parts["network"] / (parts["in_all"] - parts["encode"])
    assert found["outside_network"] == pytest.approx(expected) and found["photos"] == 18


def test_ratio_is_of_the_whole_folder_to_both_halves_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos take 0.1 s before the folder and 0.3 s after it; 8 photos at once take 0.4 s."""
    photos = [Item(tmp_path / f"{i}.jpg", str(i)) for i in range(8)]
    calls: list[tuple[str, int]] = []

    def apart(function: Any, some: list[Item], out: Path, model: Path, runtime: str, threads: int) -> Any:
        calls.append((function.__name__, len(some)))
        out.mkdir(exist_ok=True, parents=True)
        for item in some:
            mask = np.zeros((4, 4), bool)
            mask[0, :2] = function is folder_benchmark.whole_folder and item.name == "1"
            write_mask(out / f"{item.name}.png", mask)
        if function is folder_benchmark.whole_folder:
            return {"runtime": "openvino_f32", "images_per_s": 20.0, "photos": 8, "seconds": 0.4, "streams": 2}
        if function is folder_benchmark.profile:
            return {"ms": {"network": 5.0}, "outside_network": 0.2}
        return [0.1 if len(calls) == 1 else 0.3] * len(some)

    monkeypatch.setattr(folder_benchmark, "in_own_process", apart)
    found = folder_benchmark.measure(photos, 4, tmp_path, "auto", 2)
    assert calls == [("one_by_one", 2), ("whole_folder", 8), ("one_by_one", 2), ("one_by_one", 4), ("profile", 4)]
    assert found["one_by_one"]["images_per_s"] == pytest.approx(5) and found["ratio"] == pytest.approx(4)
    assert found["same_runtime_one_by_one"]["pixels_that_differ"] == 2
    text = folder_benchmark.table(found)
    assert "ratio 4.0, goal 12: MISSED" in text and "outside the network 20%, goal 30%: reached" in text


def test_command_measures_a_folder_from_end_to_end(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_benchmark, "in_own_process", lambda function, *arguments: function(*arguments))
    arguments = ["folder", str(photos), "--limit", "6", "--one-by-one", "4", "--runtime", "openvino_f32"]
    monkeypatch.setattr("sys.argv", [*arguments, "--model", str(model), "--out", str(tmp_path / "folder.json")])
    folder_benchmark.main()
    found = read_json(tmp_path / "folder.json")
    assert found["photos"] == 6 and found["one_by_one"]["photos"] == 4 and found["profile"]["photos"] == 4
    assert found["same_runtime_one_by_one"]["pixels_that_differ"] == 0
    assert found["ratio"] == pytest.approx(found["images_per_s"] / found["one_by_one"]["images_per_s"])


@pytest.mark.parametrize(("photos_there", "reason"), [(0, "no photos"), (1, "fewer than two photos")])
def test_too_few_photos_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    photos_there: int,
    reason: str,
) -> None:
    for i in range(photos_there):
        (tmp_path / f"{i}.jpg").touch()
    monkeypatch.setattr("sys.argv", ["folder", str(tmp_path)])
    with pytest.raises(SystemExit):
        folder_benchmark.main()
    error = capsys.readouterr().err
    assert error.startswith("error: ") and reason in error and error.count("\n") == 1
