"""A small network with random weights, photos of blobs, and everything exported once for several tests."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock
from torch.nn.functional import binary_cross_entropy_with_logits

from personseg.export import export
from personseg.files import read_json, write_json
from personseg.geometry import letterbox
from personseg.images import read_image, read_mask, write_image, write_mask
from personseg.model import build_model, save_model
from personseg.model_config import ModelConfig, PostprocessConfig
from tests.every import SHARED
from tests.networks import architecture

SIZE = (64, 64)
ARCHITECTURE = architecture(decoder_channels=[16, 16, 16, 8, 8], dropout=0.1)


@dataclass(frozen=True)
class Exported:
    model: Path
    folder: Path
    facts: dict[str, Any]
    pairs: list[tuple[Path, Path]]


def write_pairs(folder: Path, number: int) -> list[tuple[Path, Path]]:
    """Write photos of a light ellipse on a dark, noisy ground, 60x48, and their masks."""
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(number):
        mask = np.zeros((60, 48), np.uint8)
        centre, axes = (int(rng.integers(16, 32)), int(rng.integers(20, 40))), (int(rng.integers(6, 14)), 16)
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
        photo = rng.integers(20, 70, (60, 48, 3)) + mask[..., None] * rng.integers(120, 170, 3)
        pair = folder / f"{i}.jpg", folder / f"{i}_mask.png"
        write_image(pair[0], photo.astype(np.uint8))
        write_mask(pair[1], mask.astype(bool))
        pairs.append(pair)
    return pairs


def save_network(folder: Path, pairs: list[tuple[Path, Path]]) -> None:
    """Train a network on `pairs` for a moment, so that its masks mean something, and save it."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = build_model(ARCHITECTURE)
    photos = torch.from_numpy(np.stack([letterbox(read_image(photo), SIZE)[0] for photo, _ in pairs]))
    masks = torch.from_numpy(np.stack([letterbox(read_mask(mask), SIZE)[0] for _, mask in pairs]))[:, None].float()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    network.train()
    for _ in range(40):
        loss = binary_cross_entropy_with_logits(network(photos.permute(0, 3, 1, 2).float()), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    config = ModelConfig(
        architecture=ARCHITECTURE, input_size=SIZE, threshold=0.4, postprocess=PostprocessConfig(min_object=8)
    )
    save_model(folder, network.eval(), config)


def make(folder: Path) -> None:
    """Save the network in `folder` and export it, calibrated on eight photos; four others are for tests."""
    folder.mkdir(exist_ok=True)
    pairs = write_pairs(folder, 12)
    save_network(folder / "model", pairs[:8])
    photos = [photo for photo, _ in pairs[:8]]
    # Whatever int8 costs such a small network, it stays int8: falling back has a test of its own.
    facts = export(folder / "model", folder / "export", photos, pairs[:2], max_iou_drop=1.0, threads=1)
    write_json(folder / "facts.json", facts)


def read(folder: Path) -> Exported:
    pairs = [(folder / f"{i}.jpg", folder / f"{i}_mask.png") for i in range(8, 12)]
    return Exported(folder / "model", folder / "export", read_json(folder / "facts.json"), pairs)


_MADE: list[Exported] = []


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The export, made once for all the files that import this fixture; by `tests.every` once for all processes."""
    if not _MADE:
        folder = tmp_path_factory.mktemp("exported") / "own"
        if shared := os.environ.get(SHARED):
            common = Path(shared, "exported")
            with FileLock(f"{common}.lock"):
                if not (common / "facts.json").is_file():
                    make(common)
            shutil.copytree(common, folder)
        else:
            make(folder)
        _MADE.append(read(folder))
    return _MADE[0]
