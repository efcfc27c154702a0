"""Training: pairs in, the best weights and the history out. Lightning runs the loop."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    TQDMProgressBar,
    WeightAveraging,
)
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import BinaryJaccardIndex

from personseg.augment import build_augmentation
from personseg.cpu import float32_depthwise
from personseg.dataset import EpochSampler, PairDataset, Share
from personseg.devices import (
    choose_strategy,
    count_processes,
    of_all,
    one_line_of_the_dead,
    part_of_batch,
    with_common_statistics,
)
from personseg.errors import UserError
from personseg.hints import Hints
from personseg.losses import WeightedLoss
from personseg.memory import keep_freed_memory
from personseg.model import build_model, load_model, start_from
from personseg.model_config import ModelConfig, is_folder
from personseg.orphans import die_with_parent
from personseg.ranks import is_first, launched
from personseg.taught import Taught
from personseg.weights import normalisation

HISTORY_COLUMNS = ["epoch", "lr", "train_loss", "val_loss", "train_iou", "val_iou"]


class SegmentationTask(L.LightningModule):
    """A network, its loss and its optimiser; IoU is pooled over all pixels of an epoch, at threshold 0.5.

    Every process takes the loss and the IoU of the whole batch, put together from all: a loss that is no mean over
    photos, such as Dice, is then the same on any number of devices, and so is every figure. `hints` (personseg.hints),
    weighed by `hints_weight`, are added in training, each process's of its own photos, and stand in no figure.
    """

    def __init__(
        self, network: nn.Module, train: Mapping[str, Any], hints: nn.Module | None = None, hints_weight: float = 0
    ) -> None:
        super().__init__()
        self.network = network
        self.train_params = train
        self.hints, self.hints_weight = hints, hints_weight
        self.loss = WeightedLoss(train["loss"], train["focal_gamma"])
        # On logits: 0 is probability 0.5. Not synchronised, as every process has seen all.
        self.train_iou = BinaryJaccardIndex(threshold=0.0, sync_on_compute=False)
        self.val_iou = BinaryJaccardIndex(threshold=0.0, sync_on_compute=False)

    def _step(self, batch: tuple[Tensor, Tensor], name: str, metric: BinaryJaccardIndex, photos: int) -> Tensor:
        """`photos` is the size of the whole batch; what fills it up beyond that does not count."""
        images, target = batch
        images = images.float()
        if self.train_params["channels_last"]:
            images = images.contiguous(memory_format=torch.channels_last)
        hint: Tensor | float = 0.0
        if self.hints is not None and self.training:
            features, logits = self.network.both(images)  # type: ignore[operator]
            hint = self.hints_weight * self.hints(images, features)
        else:
            logits = self.network(images)
        if self.trainer.world_size > 1:
            logits = of_all(self.trainer, logits.float())[:photos]
            target = of_all(self.trainer, target)[:photos]
        loss = self.loss(logits, target)
        # Whole numbers in the metric's state stay exact; `update` with raw logits would apply a sigmoid.
        metric.update((logits.detach() > 0).int(), (target > 0.5).int())
        self.log(f"{name}_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(logits), sync_dist=True)
        self.log(f"{name}_iou", metric, on_step=False, on_epoch=True, prog_bar=True)
        # A process has the loss's gradient through its own photos alone, of which DDP takes the mean: it should be the
        # sum. Hints are of its own photos anyway.
        return loss * self.trainer.world_size + hint

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return self._step(batch, "train", self.train_iou, len(batch[0]) * self.trainer.world_size)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        size, loader = self.train_params["batch_size"], self.trainer.val_dataloaders
        assert loader is not None
        self._step(batch, "val", self.val_iou, min(size, len(loader.dataset) - index * size))

    def configure_optimizers(self) -> Any:
        params = self.train_params
        optimizer = build_optimizer(self, params)
        if params["schedule"] == "plateau":
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, mode="max", factor=params["plateau_factor"], patience=params["plateau_patience"]
            )
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_iou"}}
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=params["learning_rate"],
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=params["warmup_fraction"],
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def build_optimizer(network: nn.Module, params: Mapping[str, Any]) -> torch.optim.Optimizer:
    """AdamW, or the report's SGD with momentum; weight decay on weights only, not on biases and norms."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": params["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
    if params["optimizer"] == "sgd":
        return torch.optim.SGD(groups, lr=params["learning_rate"], momentum=params["momentum"])
    # Fused: one kernel instead of ten per weight. Lightning clips no gradient of a fused optimiser.
    return torch.optim.AdamW(groups, lr=params["learning_rate"], fused=not params["gradient_clip"])


class AveragedWeights(WeightAveraging):
    """Exponential moving average of weights and norm statistics, validated and saved in place of the last weights.

    The decay is warmed up, min(`decay`, (1 + n) / (10 + n)) at the n-th update (as in TensorFlow's
    ExponentialMovingAverage and timm's ModelEmaV3), so one value suits a hundred steps and ten thousand.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=partial(_average, decay=decay))


def _average(means: list[Tensor], values: list[Tensor], updates: Tensor, decay: float) -> None:
    """Move `means`, all of one dtype, towards `values`, in place."""
    n = int(updates)
    if means[0].is_floating_point():
        torch._foreach_lerp_(means, values, 1 - min(decay, (1 + n) / (10 + n)))
    else:  # batch norm's counts of batches
        torch._foreach_copy_(means, values)


class History(Callback):
    """Keeps one row per epoch; saved in checkpoints, so a resumed training has the whole curve."""

    def __init__(self, label: str = "") -> None:
        self.label = label
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Dropout draws from the global generator: seeding it per epoch makes a resumed epoch the same.
        seed = pl_module.train_params["seed"] * 100_003 + trainer.current_epoch  # type: ignore[index]
        torch.manual_seed(seed + 1_000_003 * trainer.global_rank)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items() if name in HISTORY_COLUMNS}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.rows.append({"epoch": trainer.current_epoch + 1, "lr": rate, **values})
        if trainer.is_global_zero:
            print(
                f"{self.label}epoch"
                " {epoch:>3}  train loss {train_loss:.5f} IoU {train_iou:.4f}  "
                "val loss {val_loss:.5f} IoU {val_iou:.4f}".format(**self.rows[-1]),
                flush=True,
            )

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def table(self) -> pd.DataFrame:
        """One row per epoch: epoch (from 1), lr, train and val loss, train and val IoU."""
        return pd.DataFrame(self.rows, columns=HISTORY_COLUMNS)


class OfTheProcess(Callback):
    """What each process needs for itself: quiet libraries, quick kernels on a CPU, an end with the parent if any."""

    def __init__(self) -> None:
        self.undo: contextlib.ExitStack | None = None  # made late: it does not go from process to process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        quieten()  # in a process just started, before Lightning speaks

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if multiprocessing.parent_process() is not None:
            die_with_parent(signal.SIGKILL)
        self.undo = contextlib.ExitStack()
        if trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
            self.undo.enter_context(float32_depthwise(pl_module.network))  # type: ignore[arg-type]

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.undo is not None:
            self.undo.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")


def quieten() -> None:
    """Silence what Lightning tells every time."""
    for part in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    for noise in ("does not have many workers", "treespec", "LeafSpec", "exists and is not empty"):
        warnings.filterwarnings("ignore", message=f".*{noise}.*")
    # Deterministic mode would fill every new tensor with NaN, a fifth of the time, to show reads of unset memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def choose_precision(wanted: str, accelerator: str = "auto") -> str:
    """Turn `auto` into bf16-mixed where the device computes bf16 natively, else 32-true."""
    if wanted != "auto":
        return wanted
    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


def make_loaders(
    folder: Path,
    stems: Mapping[str, Sequence[str]],
    size: tuple[int, int],
    train: Mapping[str, Any],
    weights: Sequence[float] | None = None,
    taught: Taught | None = None,
    processes: int = 1,
    count: int | None = None,
) -> tuple[DataLoader[Any], DataLoader[Any], EpochSampler]:
    """Build the loaders of `stems["train"]` (shuffled by the sampler, augmented) and `stems["val"]`.

    In each of `processes` they give its part of every batch of `train.batch_size` photos; an epoch is `count` photos,
    or as many as are labelled.
    """
    seed, part = train["seed"], part_of_batch(train["batch_size"], processes)
    train_part = min(part, len(stems["train"]) // processes)
    augmentation = build_augmentation(train["augment"])

    def shared(workers: int) -> dict[str, Any]:
        return {
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": torch.cuda.is_available(),
        }

    scenes = {name: train["augment"][name] for name in ("copy_paste", "far_away")}
    train_set = PairDataset(folder, stems["train"], size, augmentation, seed, taught=taught, **scenes)
    val_set = PairDataset(folder, stems["val"], size)
    others = len(train_set) - train_set.labelled
    labelled_share = taught.labelled_share if taught else 1.0
    sampler = EpochSampler(train_set.labelled, seed, weights, others, labelled_share, count)
    shares = Share(sampler, train_part * processes, processes, drop_last=True)
    val_shares = Share(range(len(val_set)), train["batch_size"], processes, drop_last=False)
    return (
        DataLoader(train_set, train_part, sampler=shares, drop_last=True, **shared(train["workers"])),
        # Each worker costs half a gigabyte; without augmentation one keeps up.
        DataLoader(val_set, part, sampler=val_shares, **shared(min(1, train["workers"]))),
        sampler,
    )


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    L.seed_everything(seed, workers=False, verbose=False)


def train_model(
    model: Mapping[str, Any],
    train: Mapping[str, Any],
    folder: Path,
    stems: Mapping[str, Sequence[str]],
    state: Path,
    taught: Taught | None = None,
) -> tuple[nn.Module, ModelConfig, pd.DataFrame, int]:
    """Build the network of section `model`, whose weights may be a finished model's, and train it.

    Returns it, its configuration, history and best epoch; see `train_network` for the rest.
    """
    architecture = {key: value for key, value in model.items() if key not in ("weights", "input_size")}
    architecture["mean"], architecture["std"] = normalisation(model["encoder"])
    config = ModelConfig(architecture=architecture, input_size=(model["input_size"][0], model["input_size"][1]))
    seed_everything(train["seed"])  # the decoder starts from random weights
    if is_folder(model["weights"]):
        network = start_from(build_model(architecture), model["weights"])
    else:
        network = build_model(architecture, model["weights"])
    network, history, best = train_network(network, folder, stems, config.input_size, train, state, taught=taught)
    return network, config, history, best


def train_network(
    network: nn.Module,
    folder: Path,
    stems: Mapping[str, Sequence[str]],
    size: tuple[int, int],
    train: Mapping[str, Any],
    state: Path,
    weights: Sequence[float] | None = None,
    taught: Taught | None = None,
    label: str = "",
    count: int | None = None,
) -> tuple[nn.Module, pd.DataFrame, int]:
    """Train `network` in place on `folder`/{images,masks}/STEM.jpg; return it with the best weights.

    `stems` holds the lists `train` and `val`, `size` the input's (H, W), `train` the params section,
    `state` a folder for checkpoints: a `last.ckpt` found there is gone on from, `weights` how often each
    training photo is drawn (one number each; None: once an epoch), `taught` what a teacher left, `label` what is
    said before each epoch's line if several trainings run at once, instead of a progress bar, `count` the photos of an
    epoch (None: as many as `stems["train"]`). Returns the network, the history (a row per epoch) and the best epoch by
    val IoU of the averaged weights.
    """
    seed_everything(train["seed"])
    quieten()
    if train["channels_last"]:
        network.to(memory_format=torch.channels_last)
    history = History(label and f"{label}: ")
    kept: dict[str, Any] = {"dirpath": state, "save_on_train_epoch_end": True, "enable_version_counter": False}
    best = ModelCheckpoint(filename="best", monitor="val_iou", mode="max", **kept)
    # Of every epoch: `save_last` would write only when there is a new best.
    newest = ModelCheckpoint(filename="last", **kept)
    callbacks: list[Callback] = [OfTheProcess(), history, best, newest]
    if not label:
        callbacks.append(TQDMProgressBar(refresh_rate=5))
    if train["ema_decay"] > 0:
        callbacks.insert(0, AveragedWeights(train["ema_decay"]))
    callbacks.append(EarlyStopping("val_iou", mode="max", patience=train["patience"], check_on_train_epoch_end=True))
    trainer = build_trainer(train, callbacks)
    hints, hints_weight = read_hints(network, taught)
    if hints is not None:
        hints = with_common_statistics(hints, trainer)
    task = SegmentationTask(with_common_statistics(network, trainer), train, hints, hints_weight)
    processes = count_processes(trainer)
    train_loader, val_loader, sampler = make_loaders(folder, stems, size, train, weights, taught, processes, count)
    last = state / "last.ckpt"
    found = last.is_file()
    if launched():  # the first process decides, when it has looked through what is there
        trainer.strategy.setup_environment()
        found = trainer.strategy.broadcast(found)
    resumed = last if found else None
    if resumed:
        print(f"{history.label}going on from {last}", flush=True)
        # Lightning draws the first resumed epoch's order before it tells the sampler which epoch that is.
        sampler.set_epoch(int(torch.load(last, map_location="cpu", weights_only=True)["epoch"]) + 1)
    with one_line_of_the_dead():
        trainer.fit(task, train_loader, val_loader, ckpt_path=resumed, weights_only=True)
    if is_first():
        # Read back, as the training may have run in other processes than this one.
        history.load_state_dict(torch.load(last, map_location="cpu", weights_only=True)["callbacks"][history.state_key])
        _load_best(network, Path(best.best_model_path))
    table = history.table()
    best_epoch = int(table.loc[table["val_iou"].idxmax(), "epoch"])
    return network.to("cpu").eval(), table, best_epoch


def read_hints(network: nn.Module, taught: Taught | None) -> tuple[nn.Module | None, float]:
    """The hints that `taught` has for `network`, if it has any, and what they weigh beside the loss."""
    if taught is None or not taught.hints:
        return None, 0.0
    teacher, _ = load_model(taught.folder / "model")
    return Hints(teacher, network), taught.hints


def _load_best(network: nn.Module, checkpoint: Path) -> None:
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "network."
    network.load_state_dict({name[len(prefix) :]: v for name, v in saved.items() if name.startswith(prefix)})


def build_trainer(train: Mapping[str, Any], callbacks: list[Callback]) -> L.Trainer:
    """Build Lightning's trainer from section `train`; UserError for devices that are not there."""
    strategy = choose_strategy(train)
    try:
        return L.Trainer(
            max_epochs=train["epochs"],
            accelerator=train["accelerator"],
            devices=train["devices"],
            num_nodes=train["num_nodes"],
            strategy=strategy,
            use_distributed_sampler=False,  # our own deals every batch
            precision=choose_precision(train["precision"], train["accelerator"]),  # type: ignore[arg-type]
            callbacks=callbacks,
            logger=False,
            deterministic="warn",
            num_sanity_val_steps=0,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(each, TQDMProgressBar) for each in callbacks),
            gradient_clip_val=train["gradient_clip"] or None,
        )
    except (MisconfigurationException, ValueError) as error:
        raise UserError(
            f"train.accelerator {train['accelerator']}, train.devices {train['devices']}, train.num_nodes"
            f" {train['num_nodes']}: {error}"
        ) from None
