"""A teacher's soft masks reach the training, and nothing of val or test does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from personseg.dataset import PairDataset
from personseg.errors import UserError
from personseg.files import read_table, write_table
from personseg.images import RGB, read_image, read_mask, write_image, write_mask
from personseg.model import build_model, load_model, save_model
from personseg.model_config import ModelConfig
from personseg.probability import read_probability
from personseg.taught import SELF, describe_teacher, read_taught
from personseg.teaching import collect, photos_without_masks, teach
from tests.networks import architecture

SIZE = (64, 64)
SMALL = architecture(decoder_channels=[16, 8, 8, 8, 8], dropout=0.0)
CONFIG = ModelConfig(architecture=SMALL, input_size=SIZE)
STEMS = {"train": ["0", "1", "2"], "val": ["3"], "test": ["4"]}


def photo(seed: int) -> RGB:
    """Unlike that of any other seed: large random patches."""
    patches = np.random.default_rng(seed).integers(0, 255, (7, 6, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(patches, (48, 56), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for stem in "01234":
        mask = np.zeros((56, 48), dtype=bool)
        mask[10:40, 8 : 20 + 4 * int(stem)] = True
        write_image(tmp_path / "clean/images" / f"{stem}.jpg", photo(int(stem)))
        write_mask(tmp_path / "clean/masks" / f"{stem}.jpg", mask)
    (tmp_path / "raw").mkdir()
    write_image(tmp_path / "raw/0.jpg", photo(100))  # the name of a labelled photo, but another one
    write_image(tmp_path / "raw/new.png", photo(101))
    write_image(tmp_path / "raw/seen.jpg", np.clip(photo(3).astype(int) + 12, 0, 255).astype(np.uint8))
    write_image(tmp_path / "raw/tested.jpg", cv2.resize(photo(4), (96, 112)))
    (tmp_path / "raw/broken.jpg").write_bytes(b"no picture")
    # Two whose masks were left out, the second like a photo of val.
    write_image(tmp_path / "jpg/images/5.jpg", photo(5))
    write_image(tmp_path / "jpg/images/6.jpg", np.clip(photo(3).astype(int) + 9, 0, 255).astype(np.uint8))
    write_table(tmp_path / "manifest.csv", pd.DataFrame({"stem": list("0123456"), "kept": [1] * 5 + [0] * 2}))
    return tmp_path


def test_photos_that_resemble_val_or_test_are_left_out(folders: Path) -> None:
    out = folders / "out"
    out.mkdir()
    photos = photos_without_masks(folders / "raw", folders / "jpg", folders / "manifest.csv")
    found = collect(photos, folders / "clean/images", ["3", "4"], out, 95, 10**6, 4, 1)
    assert found == [
        ("unlabelled_0", 1, ""),
        ("unlabelled_broken", 0, "not a readable image"),
        ("unlabelled_new", 1, ""),
        ("unlabelled_seen", 0, "resembles a photo of val or test"),
        ("unlabelled_tested", 0, "resembles a photo of val or test"),
        ("left_out_5", 1, ""),
        ("left_out_6", 0, "resembles a photo of val or test"),
    ]
    assert sorted(path.stem for path in out.iterdir()) == ["left_out_5", "unlabelled_0", "unlabelled_new"]
    photos = photos_without_masks(folders / "nothing", folders / "jpg", folders / "manifest.csv")
    assert list(photos) == ["left_out_5", "left_out_6"]


def _saved_teacher(folder: Path) -> str:
    torch.manual_seed(0)
    save_model(folder / "teacher", build_model(SMALL), CONFIG)
    return str(folder / "teacher")


def _teach(folders: Path, teacher: nn.Module | None, *second: Any, name: str = "taught") -> Path:
    out = folders / name
    photos = photos_without_masks(folders / "raw", folders / "jpg", folders / "manifest.csv")
    teach(teacher and (teacher, CONFIG), STEMS, folders / "clean", photos, out, 95, 10**6, 4, 1, *second)
    return out


class LeftHalf:
    """A second opinion: whatever the photo, a person in its left half."""

    def both_ways(self, image: RGB) -> NDArray[np.float32]:
        half = np.zeros(image.shape[:2], np.float32)
        half[:, : image.shape[1] // 2] = 1
        return half


def test_a_second_opinion_has_its_share(folders: Path) -> None:
    teacher = load_model(_saved_teacher(folders))[0]
    alone = _teach(folders, teacher)
    both = _teach(folders, teacher, LeftHalf(), 0.25, name="both")
    for stem in ("1", "unlabelled_0"):
        first, mixed = (read_probability(out / f"soft/{stem}.png", (56, 48)) for out in (alone, both))
        image = np.zeros((56, 48, 3), np.uint8)
        np.testing.assert_allclose(mixed, 0.75 * first + 0.25 * LeftHalf().both_ways(image), atol=0.003)


def test_targets_are_a_mean_of_label_and_teacher(folders: Path) -> None:
    out = _teach(folders, load_model(_saved_teacher(folders))[0])
    soft_stems = ["0", "1", "2", "left_out_5", "unlabelled_0", "unlabelled_new"]
    assert sorted(path.stem for path in (out / "soft").iterdir()) == soft_stems
    photos = read_table(out / "photos.csv")
    assert photos.loc[photos["labelled"] == 1, "stem"].tolist() == STEMS["train"]
    soft = read_probability(out / "soft/1.png", (56, 48))
    label = read_mask(folders / "clean/masks/1.jpg")
    for weight in (0.0, 0.25, 1.0):
        taught = read_taught(out, weight, labelled_share=0.5)
        assert taught is not None and taught.unlabelled == ["unlabelled_0", "unlabelled_new", "left_out_5"]
        dataset = PairDataset(folders / "clean", STEMS["train"], SIZE, taught=taught)
        assert len(dataset) == 6
        image, target = dataset[1]
        assert np.array_equal(image[:, :56, :48].permute(1, 2, 0).numpy(), read_image(folders / "clean/images/1.jpg"))
        expected = weight * soft + (1 - weight) * label
        np.testing.assert_allclose(target[0, :56, :48].numpy(), expected, atol=0.003)
        image, target = dataset[3]
        own = read_image(out / "images/unlabelled_0.jpg")
        assert np.array_equal(image[:, :56, :48].permute(1, 2, 0).numpy(), own)
        np.testing.assert_allclose(
            target[0, :56, :48].numpy(), read_probability(out / "soft/unlabelled_0.png", (56, 48)), atol=0.003
        )
    labelled_only = read_taught(out, 0.5, labelled_share=1.0)
    assert labelled_only is not None and labelled_only.unlabelled == []


def test_without_a_teacher_targets_are_the_labels(folders: Path) -> None:
    taught = read_taught(_teach(folders, None), 0.5, labelled_share=0.5)
    assert taught is None
    dataset = PairDataset(folders / "clean", STEMS["train"], SIZE, taught=taught)
    assert len(dataset) == 3
    assert np.array_equal(dataset[2][1][0, :56, :48].numpy(), read_mask(folders / "clean/masks/2.jpg"))


def test_only_a_teacher_trained_here_depends_on_how(folders: Path) -> None:
    """Else a student's own params would have a finished teacher, or none, do its work again."""
    first, second = ({"train": {"epochs": epochs}} for epochs in (2, 3))
    finished = _saved_teacher(folders)
    assert describe_teacher(None, None, first) == {"model": None}
    assert describe_teacher(finished, None, first) == describe_teacher(finished, None, second)
    assert len(describe_teacher(finished, None, first)["model"]) == 64
    assert describe_teacher(SELF, None, first) == {"model": "self", "train": {"epochs": 2}}


def test_a_model_cannot_teach_itself(folders: Path) -> None:
    with pytest.raises(UserError, match="models/person is what the training will replace"):
        describe_teacher("models/person", None, {})
    with pytest.raises(UserError, match="config"):
        describe_teacher(str(folders / "nowhere"), None, {})


def test_a_second_opinion_is_known_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "selfie_segmentation.tflite"
    with pytest.raises(UserError, match=r"teacher\.mediapipe: .*: not found"):
        describe_teacher(SELF, str(path), {})
    path.write_bytes(b"one")
    described = describe_teacher(SELF, str(path), {})
    assert described["model"] == "self" and len(described["mediapipe"]) == 64
    path.write_bytes(b"two")
    assert describe_teacher(SELF, str(path), {}) != described
