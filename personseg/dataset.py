"""Pairs on disk to tensors, reproducibly shuffled and augmented."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from personseg.augment import Compose
from personseg.far_away import far_away
from personseg.geometry import letterbox
from personseg.images import RGB, read_image, read_mask
from personseg.paste import Target, paste
from personseg.probability import read_probability
from personseg.taught import Taught

Key = tuple[int, int]


class PairDataset(Dataset[tuple[Tensor, Tensor]]):
    """Photos and masks of `folder`/{images,masks}/STEM.jpg, read when asked for.

    An item is the uint8 image [3, H, W] and the float32 target [1, H, W], letterboxed to `size`. The target is 0 or 1;
    with a teacher (`taught`) it is between, and the photos that only the teacher has masks of come after the others.
    With probability `copy_paste` a photo's person is pasted over another photo, with probability `far_away` shrunk
    into an empty scene. An item's key is (pass, index): augmentation is a function of seed, pass and index alone, so
    neither the number of workers nor an interruption changes what the network sees.
    """

    def __init__(
        self,
        folder: Path,
        stems: Sequence[str],
        size: tuple[int, int],
        augmentation: Compose | None = None,
        seed: int = 0,
        copy_paste: float = 0,
        far_away: float = 0,
        taught: Taught | None = None,
    ) -> None:
        self.folder = folder
        self.labelled = len(stems)
        self.stems = [*stems, *(taught.unlabelled if taught else [])]
        self.size = size
        self.augmentation = augmentation
        self.seed = seed
        self.copy_paste = copy_paste
        self.far_away = far_away
        self.taught = taught
        self.level = 255 if taught else 1  # of a target before it becomes a float

    def __len__(self) -> int:
        return len(self.stems)

    def _read(self, index: int) -> tuple[RGB, Target]:
        stem, taught = self.stems[index], self.taught
        if taught is None:
            image = read_image(self.folder / "images" / f"{stem}.jpg")
            return image, read_mask(self.folder / "masks" / f"{stem}.jpg").astype(np.uint8)
        labelled = index < self.labelled
        image = read_image((self.folder if labelled else taught.folder) / "images" / f"{stem}.jpg")
        target = read_probability(taught.folder / "soft" / f"{stem}.png", image.shape[:2])
        if labelled:
            label = read_mask(self.folder / "masks" / f"{stem}.jpg")
            target = taught.weight * target + (1 - taught.weight) * label
        return image, np.rint(target * self.level).astype(np.uint8)

    def __getitem__(self, key: Key | int) -> tuple[Tensor, Tensor]:
        number, index = key if isinstance(key, tuple) else (0, key)
        image, mask = self._read(index)
        if self.copy_paste or self.far_away:
            rng = np.random.default_rng([self.seed, number, index])
            chance = rng.random()
            if chance < self.copy_paste + self.far_away:
                other = self._read((index + int(rng.integers(1, max(2, len(self))))) % len(self))
                if chance < self.copy_paste:
                    image, mask = paste(image, mask, *other, self.level)
                else:
                    image, mask = far_away(image, mask, *other, self.size, rng, self.level)
        if self.augmentation is not None:
            entropy = np.random.SeedSequence([self.seed, number, index]).generate_state(1)[0]
            self.augmentation.set_random_seed(int(entropy))
            pair = self.augmentation(image=image, mask=mask)
            image, mask = pair["image"], pair["mask"]
        image, _ = letterbox(image, self.size)
        mask, _ = letterbox(mask, self.size)
        return torch.from_numpy(image).permute(2, 0, 1).contiguous(), torch.from_numpy(mask[None]) / self.level


class EpochSampler(Sampler[Key]):
    """Yields (pass, index), shuffled, in an order that depends on seed and epoch alone.

    There are `length` labelled items and behind them `unlabelled` others. An epoch is `count` items, or as many as are
    labelled, whatever the others; with others it is made of `labelled_share` labelled items and the rest of them. Each
    kind is gone through whole before one comes again, across epochs; the pass counts how often it has been.
    With `weights` a labelled item is drawn with replacement instead, as often as its weight is large.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        weights: Sequence[float] | None = None,
        unlabelled: int = 0,
        labelled_share: float = 1.0,
        count: int | None = None,
    ) -> None:
        self.length = length
        self.count = count or length
        self.seed = seed
        self.unlabelled = unlabelled
        self.labelled = round(self.count * labelled_share) if unlabelled else self.count
        self.shares = None if weights is None else np.asarray(weights, dtype=np.float64) / np.sum(weights)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def _stretch(self, length: int, count: int, *seed: int) -> list[Key]:
        """This epoch's stretch of endless passes over `length` items, `count` an epoch."""
        keys: list[Key] = []
        position = self.epoch * count
        while len(keys) < count:
            number, start = divmod(position + len(keys), length)
            order = np.random.default_rng([self.seed, number, *seed]).permutation(length)
            keys += [(number, int(index)) for index in order[start : start + count - len(keys)]]
        return keys

    def __iter__(self) -> Iterator[Key]:
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.shares is not None:
            drawn = rng.choice(self.length, self.labelled, p=self.shares)
            # A number of its own for each: an item drawn twice is augmented in two ways.
            keys = list(enumerate(map(int, drawn), self.epoch * self.labelled))
        else:
            keys = self._stretch(self.length, self.labelled)
        if self.unlabelled:
            others = self._stretch(self.unlabelled, self.count - self.labelled, 1)
            keys += [(number, self.length + index) for number, index in others]
            keys = [keys[position] for position in rng.permutation(len(keys))]
        return iter(keys)


class Share(Sampler[Key]):
    """This process's part of every batch of `batch_size` keys: all processes together see the batches of one.

    With `processes` of them, each takes a stretch of the same length from a batch. A last batch that is not full is
    left out (`drop_last`), or filled up with its last key until it can be dealt: the duplicates come last in the batch
    when it is put together again, to be cut off.
    """

    def __init__(self, keys: EpochSampler | Sequence[int], batch_size: int, processes: int, drop_last: bool) -> None:
        self.keys = keys
        self.batch_size = batch_size
        self.processes = processes
        self.drop_last = drop_last

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this before each one."""
        if isinstance(self.keys, EpochSampler):
            self.keys.set_epoch(epoch)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.keys), self.batch_size)
        per_batch = self.batch_size // self.processes
        return whole * per_batch + (0 if self.drop_last else math.ceil(rest / self.processes))

    def part(self, rank: int) -> Iterator[Key | int]:
        """Yield the keys of the process `rank`, from 0."""
        keys: list[Key | int] = list(self.keys)
        for start in range(0, len(keys), self.batch_size):
            batch = keys[start : start + self.batch_size]
            if self.drop_last and len(batch) < self.batch_size:
                return
            each = math.ceil(len(batch) / self.processes)
            batch += batch[-1:] * (each * self.processes - len(batch))
            yield from batch[rank * each : (rank + 1) * each]

    def __iter__(self) -> Iterator[Key]:
        # Asked for only now: a process is started after its loaders were made.
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        return self.part(rank)  # type: ignore[return-value]
