"""A training dealt to several processes is the training of one. Two CPU processes (gloo) stand for two GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml
from timm.layers import BatchNormAct2d, convert_sync_batchnorm

from personseg.dataset import EpochSampler, Share
from personseg.devices import choose_strategy, count_devices, part_of_batch
from personseg.errors import UserError
from personseg.images import write_image, write_mask
from personseg.model import build_model
from personseg.training import OfTheProcess, build_trainer, choose_precision, seed_everything, train_network
from tests.networks import Small, architecture
from tests.project import ROOT

SIZE = (64, 96)
STEMS = {"train": [f"t{n}" for n in range(10)], "val": [f"v{n}" for n in range(5)]}  # batches of 4, 4 and 4, 1
TRAIN = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["train"] | {
    "epochs": 2,
    "batch_size": 4,
    "workers": 0,
    "learning_rate": 0.01,
    "schedule": "plateau",  # one_cycle's rate would depend on how many epochs are planned
    "precision": "32-true",
    "accelerator": "cpu",
    "ema_decay": 0.9,
}
ONE, TWO = {"devices": 1}, {"devices": 2}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for stem in chain(*STEMS.values()):
        mask = np.zeros((60, 90), bool)
        top, left = rng.integers(4, 20, 2)
        mask[top : top + 34, left : left + 46] = True
        image = rng.integers(0, 90, (60, 90, 3)).astype(np.uint8)
        image[mask] += 130
        write_image(folder / "images" / f"{stem}.jpg", image)
        write_mask(folder / "masks" / f"{stem}.jpg", mask)
    return folder


def fit(pairs: Path, state: Path, dies_at: int | None = None, **changes: Any) -> tuple[dict[str, Any], pd.DataFrame]:
    """Weights and history of a training, begun or gone on with in `state`."""
    state.mkdir(exist_ok=True)
    seed_everything(1)
    network, history, _ = train_network(Small(dies_at), pairs, STEMS, SIZE, TRAIN | changes, state)
    return network.state_dict(), history


def same_history(one: pd.DataFrame, other: pd.DataFrame) -> None:
    # Sums are taken in another order, which is all that may differ: a little in the losses, a pixel of 2400 in the IoU.
    counted = [name for name in one if name.endswith("_iou")]
    pd.testing.assert_frame_equal(one.drop(columns=counted), other.drop(columns=counted), rtol=1e-4, atol=1e-5)
    pd.testing.assert_frame_equal(one[counted], other[counted], rtol=0, atol=5e-4)


def same(one: tuple[dict[str, Any], pd.DataFrame], other: tuple[dict[str, Any], pd.DataFrame]) -> None:
    same_history(one[1], other[1])
    for name, value in one[0].items():
        torch.testing.assert_close(value, other[0][name], rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def alone(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], pd.DataFrame]:
    """Two epochs of one process."""
    return fit(pairs, tmp_path_factory.mktemp("alone"), **ONE)


def test_two_processes_learn_what_one_learns_and_one_goes_on_from_their_checkpoint(
    pairs: Path, alone: tuple[dict[str, Any], pd.DataFrame], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _, first = fit(pairs, tmp_path / "state", **TWO, epochs=1)
    same_history(first, alone[1][:1])
    assert capfd.readouterr().out.count("epoch   1") == 1, "the first process alone speaks"
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["best.ckpt", "last.ckpt"]
    same(fit(pairs, tmp_path / "state", **ONE), alone)
    assert alone[1]["train_loss"].iloc[1] < alone[1]["train_loss"].iloc[0]


def test_two_processes_go_on_from_the_checkpoint_of_one(
    pairs: Path, alone: tuple[dict[str, Any], pd.DataFrame], tmp_path: Path
) -> None:
    fit(pairs, tmp_path / "state", **ONE, epochs=1)
    same(fit(pairs, tmp_path / "state", **TWO), alone)


def say_who_and_wait(index: int, callback: OfTheProcess) -> None:
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")))
    callback.setup(trainer, L.LightningModule(), "fit")
    print(os.getpid(), flush=True)
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_the_processes_of_a_killed_training_end_with_it() -> None:
    # Programs in the background of a script inherit that SIGINT, which PyTorch asks for, is ignored.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "from torch.multiprocessing.spawn import start_processes; from tests import test_devices as t;"
        "start_processes(t.say_who_and_wait, (t.OfTheProcess(),), 2)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        children = [psutil.Process(int(training.stdout.readline())) for _ in range(2)]
        training.kill()
        gone, left = psutil.wait_procs(children, timeout=10)
        for child in left:
            child.kill()
    assert len(gone) == 2


def test_a_process_that_dies_ends_the_others_with_one_line(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training process 1 died \(SIGKILL\) and the others were ended"):
        fit(pairs, tmp_path / "state", dies_at=2, **TWO)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if children.exists():
        named = [Path(f"/proc/{pid}/cmdline").read_text() for pid in children.read_text().split()]
        assert not [name for name in named if "spawn_main" in name]


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("length", [12, 13, 15])
def test_parts_put_together_are_the_batches_of_one_process(length: int, processes: int) -> None:
    shuffled = EpochSampler(length, seed=5)
    for epoch in range(3):
        shuffled.set_epoch(epoch)
        keys = list(shuffled)
        share = Share(shuffled, 4, processes, drop_last=True)
        parts = [list(share.part(rank)) for rank in range(processes)]
        assert all(len(part) == len(share) for part in parts)
        assert len(set(chain(*parts))) == len(list(chain(*parts))), "none is seen twice"
        each = 4 // processes
        for number in range(length // 4):
            dealt = [key for part in parts for key in part[number * each : (number + 1) * each]]
            assert dealt == keys[number * 4 : number * 4 + 4]


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("length", [1, 5, 6, 8])
def test_what_fills_up_the_last_batch_comes_last_in_it(length: int, processes: int) -> None:
    share = Share(range(length), 4, processes, drop_last=False)
    parts = [list(share.part(rank)) for rank in range(processes)]
    assert {len(part) for part in parts} == {len(share)}
    each = 4 // processes
    seen = []
    for start in range(0, len(share), each):
        batch = [key for part in parts for key in part[start : start + each]]
        seen += batch[: min(4, length - len(seen))]
    assert seen == list(range(length))


def test_a_batch_that_cannot_be_dealt_is_named() -> None:
    assert part_of_batch(8, 4) == 2
    with pytest.raises(UserError, match=r"train\.batch_size: 8 photos cannot be dealt evenly to 3 devices"):
        part_of_batch(8, 3)


def test_how_processes_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert choose_strategy(TRAIN | ONE) == "auto"
    assert choose_strategy(TRAIN | TWO) == choose_strategy(TRAIN | ONE | {"strategy": "ddp"}) == "ddp_spawn"
    assert count_devices(TRAIN | {"devices": "auto"}) == 1
    with pytest.raises(UserError, match=r"train\.num_nodes is 2: start the stage by torchrun"):
        choose_strategy(TRAIN | {"num_nodes": 2})
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert choose_strategy(TRAIN | {"num_nodes": 2}) == "ddp"


def test_devices_that_are_not_there_are_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there are GPUs here")
    with pytest.raises(UserError, match=r"train\.accelerator gpu, train\.devices 2"):
        build_trainer(TRAIN | {"accelerator": "gpu", "devices": 2}, [])


def test_precision_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert choose_precision("auto") == "32-true" and choose_precision("auto", "cpu") == "bf16-mixed"


def test_batch_norm_of_several_gpus_is_the_same_network() -> None:
    """The conversion alone: its statistics need GPUs."""
    network = build_model(architecture("tu-tf_efficientnet_lite0", decoder_channels=[16, 16, 8, 8, 8])).eval()
    photos = torch.rand(1, 3, 64, 64) * 255
    with torch.inference_mode():
        before = network(photos)
    kept = network.state_dict()
    assert any(isinstance(module, BatchNormAct2d) for module in network.modules())
    converted = convert_sync_batchnorm(network)
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in converted.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in converted.modules())
    assert list(converted.state_dict()) == list(kept)
    with torch.inference_mode():
        torch.testing.assert_close(converted(photos), before)
