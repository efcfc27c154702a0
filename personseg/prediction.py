"""Batched prediction over a folder of photos, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from personseg.geometry import Placement, letterbox
from personseg.images import read_image, read_mask
from personseg.model_config import ModelConfig

Item = tuple[str, NDArray[np.uint8], Placement]


class _Photos(Dataset[Item]):
    def __init__(self, images: Path, stems: Sequence[str], size: tuple[int, int]) -> None:
        self.images, self.stems, self.size = images, list(stems), size

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, index: int) -> Item:
        stem = self.stems[index]
        return stem, *letterbox(read_image(self.images / f"{stem}.jpg"), self.size)


def predict_photos(
    model: nn.Module,
    images: Path,
    stems: Sequence[str],
    size: tuple[int, int],
    label: str,
    batch_size: int = 8,
) -> Iterator[tuple[str, NDArray[np.float32], Placement]]:
    """Yield (stem, float32 probability [H, W] of `images`/STEM.jpg letterboxed to `size`, its placement).

    One batch is in memory at a time; the model is moved to the GPU if there is one.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    photos: DataLoader[Any] = DataLoader(_Photos(images, stems, size), batch_size, num_workers=1, collate_fn=list)
    with tqdm(total=len(stems), desc=label, mininterval=1.0, unit="img") as bar:
        for batch in photos:
            inputs = torch.from_numpy(np.stack([image for _, image, _ in batch]))
            with torch.inference_mode():
                logits = model(inputs.to(device).permute(0, 3, 1, 2).float())
                probabilities = torch.sigmoid(logits)[:, 0].float().cpu().numpy()
            for (stem, _, placement), probability in zip(batch, probabilities, strict=True):
                yield stem, probability, placement
            bar.update(len(batch))


def predict_pairs(
    model: nn.Module, config: ModelConfig, folder: Path, stems: Sequence[str], label: str
) -> Iterator[tuple[str, NDArray[np.float32], Placement, NDArray[np.bool_]]]:
    """Yield (stem, float32 probability [H, W] of the network's size, its placement, bool truth of the photo's size).

    `folder` holds images/STEM.jpg and masks/STEM.jpg; model and configuration are as `load_model` gives them.
    `postprocess.finish` makes a mask of the probability.
    """
    predictions = predict_photos(model, folder / "images", stems, config.input_size, label)
    for stem, probability, placement in predictions:
        yield stem, probability, placement, read_mask(folder / "masks" / f"{stem}.jpg")
