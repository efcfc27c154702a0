"""A small network with random weights, saved without an export: it runs on PyTorch, in any process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from personseg.images import write_image
from personseg.model import build_model, save_model
from personseg.model_config import ModelConfig
from tests.networks import architecture

SIZE = (64, 64)


def write_photos(folder: Path, names: list[str], side: int = 90) -> list[Path]:
    """Write photos of noise, `side` px high."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(names))
    for name in names:
        write_image(folder / name, rng.integers(0, 256, (side, side * 3 // 4, 3), dtype=np.uint8))
    return [folder / name for name in names]


def save(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    save_model(folder, build_model(architecture()), ModelConfig(architecture=architecture(), input_size=SIZE))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("model") / "person")
