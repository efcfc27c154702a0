"""Threshold and sizes are chosen for photos as they are used, whatever their size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from personseg import calibrate as module
from personseg.calibrate import calibrate
from personseg.geometry import Placement, letterbox, place
from personseg.images import Mask, write_image, write_mask
from personseg.model import build_model, load_model, save_model
from personseg.model_config import ModelConfig, read_config
from personseg.postprocess import finish
from tests.networks import architecture

SIZE = (64, 64)
FLIPS = (False, True)
Pair = tuple[str, NDArray[np.float32], Placement, Mask]


def predictions(enlarged: int) -> list[Pair]:
    """A body with a spot of 20 px beside it and a hole of 9 px; the truth, so many times as large, has neither."""
    probability = np.full(SIZE, 0.1, np.float32)
    probability[10:50, 10:40] = 0.6
    truth = (probability > 0.5).astype(np.uint8)[:, :48]
    probability[50:54, 43:48] = 0.6
    probability[20:23, 20:23] = 0.1
    shape = (64 * enlarged, 48 * enlarged)
    large = cv2.resize(truth, shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return [("a", probability, place(*shape, SIZE), large)]


@pytest.mark.parametrize("enlarged", [1, 5])
def test_sizes_are_of_the_networks_resolution(enlarged: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = architecture(decoder_channels=[16, 8, 8, 8, 8])
    save_model(tmp_path / "trained", build_model(small), ModelConfig(architecture=small, input_size=SIZE))
    monkeypatch.setattr(module, "predict_pairs", lambda *_: predictions(enlarged))
    chosen = calibrate(tmp_path / "trained", tmp_path / "person", tmp_path, ["a"], [0, 15, 30, 90], [0, 5, 12], False)
    config = read_config(tmp_path / "person")
    assert (chosen["min_object"], chosen["min_hole"]) == (30, 12)
    assert (config.postprocess.min_object, config.postprocess.min_hole) == (30, 12)
    assert 0.1 < config.threshold < 0.6 and chosen["threshold"] == config.threshold
    assert chosen["val_iou_plain"] < chosen["val_iou"] == 1
    ((_, probability, placement, truth),) = predictions(enlarged)
    found = finish(probability, placement, config)
    # Enlarging bends the contour between the network's pixels; neither spot nor hole is left.
    assert (found != truth).mean() < (0 if enlarged == 1 else 0.02) + 1e-9
    assert cv2.connectedComponents(found.astype(np.uint8))[0] == 2
    assert cv2.connectedComponents((~found).astype(np.uint8))[0] == 2


def network_input(photo: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(letterbox(photo, SIZE)[0]).permute(2, 0, 1)[None].float()


def test_flip_average_is_chosen_here_and_needs_no_other_training(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = architecture(decoder_channels=[16, 8, 8, 8, 8])
    network = build_model(small)
    network.head[1].weight.data *= 100  # random weights would be of one opinion everywhere
    save_model(tmp_path / "trained", network, ModelConfig(architecture=small, input_size=SIZE))
    image = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    write_image(tmp_path / "images/a.jpg", image)
    write_mask(tmp_path / "masks/a.jpg", np.tri(64, 48, dtype=bool))
    chosen = [calibrate(tmp_path / "trained", tmp_path / str(flip), tmp_path, ["a"], [0], [0], flip) for flip in FLIPS]
    assert chosen[0] != chosen[1], "threshold and IoU are those of the mean"
    x, mirrored = (network_input(photo) for photo in (image, image[:, ::-1]))
    once, mean = (load_model(tmp_path / str(flip))[0].coarse(x)[..., :48] for flip in FLIPS)
    other = load_model(tmp_path / "trained")[0].coarse(mirrored)[..., :48].flip(-1)
    torch.testing.assert_close(mean, (once + other) / 2)
