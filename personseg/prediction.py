"""Batched prediction over a folder of pairs with the saved network, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from personseg.geometry import Placement, letterbox
from personseg.images import read_image, read_mask
from personseg.model import load_model

Item = tuple[str, NDArray[np.uint8], Placement, NDArray[np.bool_]]


class _Pairs(Dataset[Item]):
    def __init__(self, folder: Path, stems: Sequence[str], size: tuple[int, int]) -> None:
        self.folder, self.stems, self.size = folder, list(stems), size

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, index: int) -> Item:
        stem = self.stems[index]
        image, placement = letterbox(read_image(self.folder / "images" / f"{stem}.jpg"), self.size)
        return stem, image, placement, read_mask(self.folder / "masks" / f"{stem}.jpg")


def predict_pairs(
    model_folder: Path, folder: Path, stems: Sequence[str], label: str, batch_size: int = 8
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.bool_]]]:
    """Yield (stem, float32 probability HxW at the photo's size, bool truth HxW), one batch in memory.

    `folder` holds images/STEM.jpg and masks/STEM.jpg; the model is the one saved in `model_folder`.
    """
    model, config = load_model(model_folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pairs: DataLoader[Any] = DataLoader(
        _Pairs(folder, stems, config.input_size), batch_size, num_workers=1, collate_fn=list
    )
    with tqdm(total=len(stems), desc=label, mininterval=1.0, unit="img") as bar:
        for batch in pairs:
            images = torch.from_numpy(np.stack([image for _, image, _, _ in batch]))
            with torch.inference_mode():
                logits = model(images.to(device).permute(0, 3, 1, 2).float())
                probabilities = torch.sigmoid(logits)[:, 0].float().cpu().numpy()
            for (stem, _, placement, mask), probability in zip(batch, probabilities, strict=True):
                yield stem, placement.restore(probability), mask
            bar.update(len(batch))
