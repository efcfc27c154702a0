"""Both models are cut off by what val says, and scored on the same photos."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import peers
from benchmarks.peers import calibrated, compare
from personseg.files import write_json
from personseg.geometry import letterbox
from personseg.images import write_image, write_mask
from personseg.model_config import ModelConfig, PostprocessConfig
from stages.params import Calibrate

SIZES = Calibrate(flip_average=False, min_object=[0, 30], min_hole=[0, 30])
SPLITS = {"train": ["0"], "val": ["1", "2"], "test": ["3", "4", "5"]}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A light square as person, a speck as light beside it; raw masks lack the square's upper half."""
    monkeypatch.chdir(tmp_path)
    for split, stems in SPLITS.items():
        Path("data/splits").mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"stem": stems}).to_csv(f"data/splits/{split}.csv", index=False)
        for number, stem in enumerate(stems):
            truth = np.zeros((64, 64), bool)
            truth[16:56, 8 + number : 48] = True
            photo = np.full((64, 64, 3), 40, np.uint8)
            photo[truth] = 200
            photo[2:7, 56:61] = 200
            for folder, first in (("data/clean", 0), ("data/jpg", 36)):
                mask = truth.copy()
                mask[:first] = False
                write_image(Path(folder, "images", f"{stem}.jpg"), photo)
                write_mask(Path(folder, "masks", f"{stem}.jpg"), mask)
    return tmp_path


def by_light(image: np.ndarray) -> np.ndarray:
    """A network that is unsure: 0.16 on the ground, 0.78 on what is light."""
    return image[..., 0].astype(np.float32) / 255


def test_threshold_and_sizes_come_from_val(project: Path) -> None:
    peer = calibrated(by_light, SPLITS["val"], SIZES)
    assert 40 / 255 < peer.threshold < 200 / 255
    assert peer.postprocess == PostprocessConfig(min_object=30, min_hole=0), "of no use is not done"
    photo = np.full((64, 64, 3), 40, np.uint8)
    photo[20:40, 20:40] = photo[2:6, 2:6] = 200
    assert peer(photo).sum() == 400


def test_both_are_scored_on_the_same_photos_clean_and_raw(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(architecture={}, input_size=(64, 64), threshold=0.9)  # ours finds nobody
    asked = []

    def predict_pairs(model, config, folder, stems, label):
        asked.append((folder, stems))
        for stem in stems:
            image = peers.read_image(folder / "images" / f"{stem}.jpg")
            small, placement = letterbox(image, config.input_size)
            yield stem, by_light(small), placement, peers.read_mask(folder / "masks" / f"{stem}.jpg")

    monkeypatch.setattr(peers, "load_model", lambda folder: (None, config))
    monkeypatch.setattr(peers, "predict_pairs", predict_pairs)
    found = compare(Path("models/person"), by_light, Path("data/splits"), SIZES, 200, 1)
    write_json("peers.json", found)
    clean, raw = Path("data/clean"), Path("data/jpg")
    assert asked == [
        *((folder, SPLITS[split]) for folder in (clean, raw) for split in ("test", "val")),
        (clean, SPLITS["val"]),
    ]
    assert found["images"] == {"test": 3, "val": 2, "raw_test": 3, "raw_val": 2, "raw_val_test": 5}
    ours, theirs = found["ours"], found["mediapipe"]
    assert ours["threshold"] == 0.9 and (ours["min_object"], theirs["min_object"]) == (0, 30)
    assert ours["test_iou"] == 0 and theirs["test_iou"] > 0.95, "the speck is not in the mask"
    assert theirs["raw_val_test_iou"] == pytest.approx(0.5, abs=0.02)
    lead = found["difference"]["raw_val_test"]["iou"]
    assert lead["difference"] == pytest.approx(-theirs["raw_val_test_iou"])
    assert lead["ci95_low"] <= lead["difference"] <= lead["ci95_high"] < 0


def test_the_mean_is_better_where_the_two_err_in_different_places(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is sure of the true square but for a strip of its own, where it says a little too little."""

    def with_gap(truth: np.ndarray, rows: slice) -> np.ndarray:
        probability = truth.astype(np.float32)
        probability[rows][truth[rows]] = 0.3
        probability[~truth] = 0.4
        return probability

    def truth_of(image: np.ndarray) -> np.ndarray:
        light = image[..., 0] > 100
        light[:8] = False  # the speck
        return light

    def predict_pairs(model, config, folder, stems, label):
        for stem in stems:
            image = peers.read_image(folder / "images" / f"{stem}.jpg")
            small, placement = letterbox(image, (64, 64))
            yield stem, with_gap(truth_of(small), slice(16, 20)), placement, truth_of(image)

    monkeypatch.setattr(peers, "predict_pairs", predict_pairs)
    found = peers.together(None, None, lambda image: with_gap(truth_of(image), slice(50, 56)), SPLITS["val"])
    assert found["mean"] == 1 and 0.7 < found["mediapipe"] < found["ours"] < 1
