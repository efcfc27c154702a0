"""The stopwatch is right on a runtime whose delays are known, and rows say all they must."""

from __future__ import annotations

import gc
import json
import platform
import subprocess
from collections.abc import Iterator
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from personseg import benchmark as benchmark_module
from personseg import environment as environment_module
from personseg.benchmark import (
    Protocol,
    accuracy,
    benchmark,
    benchmark_project,
    drift,
    engine_facts,
    in_turns,
    segment_file,
    summarise,
    time_files,
    time_runs,
)
from personseg.environment import environment, gpu
from personseg.errors import UserError
from personseg.files import write_json
from personseg.images import read_mask
from personseg.metrics import counts, iou
from personseg.model_config import ModelConfig, PostprocessConfig, read_config
from personseg.runtimes import BACKENDS, Runtime, make_runtime
from tests.exported import Exported, exported, write_pairs

__all__ = ["exported"]

IMAGES = np.zeros((1, 64, 64, 3), np.uint8)
QUICK = Protocol(runs=20, warmup_runs=2, warmup_s=0, max_seconds=60, threads=1)


class Clock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeRuntime(Runtime):
    """Takes 1 ms to upload, 2 ms to download, and `delays` (seconds, one per run) to compute.

    Its logits are the photo's red channel minus 100.
    """

    def __init__(self, clock: Clock, delays: Iterator[float]) -> None:
        super().__init__(BACKENDS["pytorch_fp32"])
        self.clock, self.delays, self.runs = clock, delays, 0
        self.collecting: list[bool] = []
        self.input_size = (64, 64)

    def available(self) -> None:
        return None

    def load(self, model_folder: Path, export_folder: Path, threads: int, streams: int = 1) -> None: ...

    def upload(self, images: NDArray[np.uint8]) -> Any:
        self.clock.now += 0.001
        return images

    def run(self, inputs: Any) -> Any:
        self.runs += 1
        self.collecting.append(gc.isenabled())
        self.clock.now += next(self.delays)
        return inputs[..., 0].astype(np.float32) - 100

    def download(self, outputs: Any) -> NDArray[np.float32]:
        self.clock.now += 0.002
        return outputs


def test_warm_up_is_left_out_and_transfers_are_told_apart() -> None:
    clock = Clock()
    runtime = FakeRuntime(clock, chain(repeat(5.0, 10), cycle([0.010, 0.020])))
    table = time_runs(runtime, IMAGES, Protocol(200, 10, 0.2, 1000, 1), clock)
    assert runtime.runs == 210
    assert table["run"].tolist() == list(range(1, 201))
    np.testing.assert_allclose(table["seconds"], [0.013, 0.023] * 100)
    np.testing.assert_allclose(table["compute_seconds"], [0.010, 0.020] * 100)
    assert runtime.collecting == [True] * 10 + [False] * 200
    assert gc.isenabled()


def test_a_devices_own_clock_is_believed() -> None:
    clock = Clock()
    runtime = FakeRuntime(clock, repeat(0.010))
    runtime.device_seconds = lambda: 0.004  # type: ignore[method-assign]
    table = time_runs(runtime, IMAGES, QUICK, clock)
    np.testing.assert_allclose(table["compute_seconds"], 0.004)
    np.testing.assert_allclose(table["seconds"], 0.013)


def test_warm_up_lasts_until_both_limits_are_met() -> None:
    clock = Clock()
    runtime = FakeRuntime(clock, repeat(0.002))  # 5 ms a run: 10 runs are 50 ms, 200 ms are 40
    time_runs(runtime, IMAGES, Protocol(30, 10, 0.1999, 1000, 1), clock)
    assert runtime.runs == 40 + 30


@pytest.mark.parametrize(("max_seconds", "runs"), [(0.5, 20), (30.2, 31), (1000, 200)])
def test_a_slow_backend_stops_early_but_not_before_20_runs(max_seconds: float, runs: int) -> None:
    clock = Clock()
    runtime = FakeRuntime(clock, repeat(0.997))
    assert len(time_runs(runtime, IMAGES, Protocol(200, 10, 0.2, max_seconds, 1), clock)) == runs


def test_a_slow_while_does_not_change_how_many_times_as_fast_a_backend_is() -> None:
    """The machine takes twice as long from the third turn on."""
    clock = Clock()
    runs = [(10 + 6, 1), (2 + 6, 1), *[(2 + 6, 2)] * 3]  # warm-up and timed runs of a turn, how slow the machine is
    quick, slow = ([step * factor for count, factor in runs for _ in range(count)] for step in (0.010, 0.040))
    runtime, reference = FakeRuntime(clock, iter(quick)), FakeRuntime(clock, iter(slow))
    found = in_turns(runtime, reference, lambda _: IMAGES, Protocol(200, 10, 0, 60, 1), clock)
    assert runtime.runs == reference.runs == sum(count for count, _ in runs)
    assert found["turns_p50_s"] == pytest.approx(0.023) and found["reference_p50_s"] == pytest.approx(0.083)
    assert found["speedup"] == pytest.approx(83 / 23)


def test_a_median_far_from_an_earlier_one_is_told() -> None:
    assert drift(0.010, 0.0119) is drift(0.0119, 0.010) is None
    assert drift(0.010, 0.0121) == "10 ms at first, then 12.1: time it again on a quiet machine"
    assert drift(0.0121, 0.010) == "12.1 ms at first, then 10: time it again on a quiet machine"


def test_summary_of_known_timings() -> None:
    summary = summarise(np.arange(1, 102) / 1000, batch=2)
    assert summary["runs"] == 101
    assert summary["mean_s"] == pytest.approx(0.051)
    assert summary["std_s"] == pytest.approx(np.sqrt(101 * 102 / 12) / 1000)
    assert [summary[f"p{p}_s"] for p in (50, 95, 99)] == pytest.approx([0.051, 0.096, 0.100])
    assert summary["images_per_s"] == pytest.approx(2 / 0.051)
    assert summary["warning"].startswith("p95 is 1.9 times the median")


def test_steady_timings_carry_no_warning() -> None:
    assert "warning" not in summarise([0.010] * 95 + [0.0149] * 5)
    assert "warning" in summarise([0.010] * 90 + [0.0151] * 10)


def test_file_to_mask_counts_the_runtime_and_takes_photos_in_turn(tmp_path: Path) -> None:
    photos = [photo for photo, _ in write_pairs(tmp_path, 3)]
    clock = Clock()
    runtime = FakeRuntime(clock, chain(repeat(9.0, 3), cycle([0.1, 0.2, 0.3])))
    config = ModelConfig(architecture={}, input_size=(64, 64))
    seconds = time_files(runtime, photos, config, Protocol(21, 3, 0, 1000, 1), clock)
    np.testing.assert_allclose(seconds, [0.103, 0.203, 0.303] * 7)


def test_accuracy_against_truth_and_reference(tmp_path: Path) -> None:
    """The reference's logits are 90 lower on the second photo, so its mask there is smaller."""
    pairs = write_pairs(tmp_path, 3)
    config = ModelConfig(architecture={}, input_size=(64, 64), postprocess=PostprocessConfig(min_object=8))
    runtime, reference = FakeRuntime(Clock(), repeat(0.0)), FakeRuntime(Clock(), repeat(0.0))

    def lower(outputs: Any) -> NDArray[np.float32]:
        return outputs - (90 if reference.runs == 2 else 0)

    reference.download = lower  # type: ignore[method-assign]
    figures = accuracy(runtime, reference, pairs, config)
    masks = [segment_file(runtime, photo, config) for photo, _ in pairs]
    totals = np.sum([counts(mask, read_mask(path)) for mask, (_, path) in zip(masks, pairs, strict=True)], axis=0)
    assert figures["test_images"] == 3
    assert figures["test_iou"] == pytest.approx(iou(*(int(n) for n in totals[:3])))
    assert figures["test_iou"] > 0.9
    assert figures["max_logit_diff"] == 90
    reference.runs = 1
    other = segment_file(reference, pairs[1][0], config)
    assert masks[1].sum() > other.sum()
    assert figures["mask_disagreement"] == pytest.approx((masks[1] != other).sum() / (3 * 60 * 48))


def run(name: str, exported: Exported) -> tuple[dict[str, Any], Any]:
    return benchmark(name, exported.model, exported.folder, exported.facts, exported.pairs, QUICK)


def test_measured_row_says_all_it_must(exported: Exported) -> None:
    row, timings = run("onnxruntime_fp32", exported)
    assert row["status"] == "measured" and len(timings) == row["runs"] == row["end_to_end_runs"] == 20
    assert 0 < row["compute_p50_s"] <= row["p50_s"] <= row["p95_s"] <= row["p99_s"] <= timings["seconds"].max()
    assert row["mean_s"] == pytest.approx(timings["seconds"].mean())
    assert row["images_per_s"] == pytest.approx(1 / row["mean_s"])
    assert row["end_to_end_p50_s"] == pytest.approx(timings["end_to_end_seconds"].median()) and row["load_s"] > 0
    assert row["speedup"] == pytest.approx(row["reference_p50_s"] / row["turns_p50_s"]) and row["turns_p50_s"] > 0
    assert timings["run"].tolist() == list(range(1, 21)) and timings.notna().all(axis=None)
    assert row["input_shape"] == [1, 64, 64, 3]
    assert row["precision"] == "fp32" and row["threads"] == 1 and row["device"] and row["versions"]["onnxruntime"]
    assert row["artifact_bytes"] == (exported.folder / "onnx_fp32.onnx").stat().st_size
    assert row["max_logit_diff"] < 1e-4 and row["mask_disagreement"] == 0
    if platform.system() == "Linux":
        assert 0 <= row["peak_memory_bytes"] < 4e9  # a network so small may fit into what the allocator still holds
    json.dumps(row, allow_nan=False)


def test_pytorch_and_its_exports_score_the_same_iou(exported: Exported) -> None:
    row, _ = run("pytorch_fp32", exported)
    assert row["max_logit_diff"] == row["mask_disagreement"] == 0 and row["speedup"] == 1
    config, runtime = read_config(exported.model), make_runtime("openvino_f32")
    runtime.load(exported.model, exported.folder, threads=1)
    figures = accuracy(runtime, runtime, exported.pairs, config)
    assert row["test_iou"] == pytest.approx(figures["test_iou"], abs=1e-3)
    assert row["test_images"] == 4


def test_report_row_has_no_accuracy_and_says_why(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personseg.runtimes.pytorch.report_unet", lambda: torch.nn.Conv2d(3, 1, 1).eval())
    row, timings = run("report_pytorch_fp32", exported)
    assert row["status"] == "measured" and len(timings) == 20
    assert row["input_shape"] == [1, 320, 320, 3]
    assert row["test_iou"] is row["max_logit_diff"] is row["mask_disagreement"] is None
    assert "random weights" in row["note"]
    assert row["artifact_bytes"] is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tensorrt_row_without_a_gpu_is_no_error_and_knows_its_engines(exported: Exported, precision: str) -> None:
    row, timings = run(f"tensorrt_{precision}", exported)
    assert row["status"] == "unavailable" and row["reason"]
    assert timings.empty and list(timings.columns) == benchmark_module.COLUMNS
    built = exported.facts["artifacts"][f"tensorrt_rtx_{precision}"]
    if built["status"] == "built":
        assert row["engine"]["tensorrt_rtx"]["size_bytes"] == built["size_bytes"]
        assert row["engine"]["tensorrt_rtx_sm75"]["targets"] == ["SM75"]
    else:
        assert row["engine"]["tensorrt_rtx"]["not_built"] == built["reason"]


def test_engines_that_were_not_built_give_their_reasons() -> None:
    absent = {"status": "unavailable", "reason": "no parser"}
    facts = engine_facts(BACKENDS["tensorrt_fp16"], {"artifacts": {"tensorrt_rtx_fp16": absent}})
    assert facts["tensorrt_rtx"] == {"not_built": "no parser"}
    assert facts["tensorrt"] == {"not_built": "not exported"}


def test_a_runtime_that_is_not_installed_gives_a_row(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Runtime:
        raise ModuleNotFoundError("No module named 'openvino'", name="openvino")

    monkeypatch.setattr(benchmark_module, "make_runtime", missing)
    row, _ = run("openvino_f32", exported)
    assert row == {"status": "unavailable", "reason": "openvino cannot be imported", "precision": "f32"}


def test_a_row_whose_logits_are_not_finite_has_no_times(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    infinite = np.full((1, 64, 64), np.inf, np.float32)
    monkeypatch.setattr("personseg.runtimes.onnxruntime.OnnxRuntime.download", lambda self, outputs: infinite)
    row, timings = run("onnxruntime_fp32", exported)
    assert row["status"] == "unavailable" and row["reason"].startswith("its logits are not finite, on ")
    assert timings.empty


def test_unknown_backend_is_a_users_error(exported: Exported) -> None:
    with pytest.raises(UserError, match="unknown backend 'cuda'"):
        run("cuda", exported)


def test_a_project_is_measured_on_its_test_photos_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data/splits").mkdir(parents=True)
    for name, stem in {"train": "1", "val": "2", "test": "007"}.items():
        (tmp_path / f"data/splits/{name}.csv").write_text(f"stem\n{stem}\n")
    section = {"backends": ["x"], "runs": 20, "warmup_runs": 2, "warmup_s": 0, "max_seconds": 60, "threads": 1}
    monkeypatch.setattr(benchmark_module, "benchmark", lambda *arguments: arguments)
    with pytest.raises(UserError, match=r"export\.json: not found"):
        benchmark_project(tmp_path, "x", section)
    write_json(tmp_path / "metrics/export.json", {"artifacts": {}})
    clean = tmp_path / "data/clean"
    assert benchmark_project(tmp_path, "x", section) == (
        "x",
        tmp_path / "models/person",
        tmp_path / "models/export",
        {"artifacts": {}},
        [(clean / "images/007.jpg", clean / "masks/007.jpg")],
        QUICK,
    )


def test_environment_is_the_same_each_time_and_has_no_clock() -> None:
    first = environment()
    assert first == environment()
    assert first["cpu"] and first["cores"] >= 1
    assert first["versions"]["torch"] == torch.__version__.partition("+")[0]
    json.dumps(first, allow_nan=False)


def test_gpu_is_read_from_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "NVIDIA GeForce RTX 2080, 570.86.10, 7.5\nNVIDIA GeForce RTX 2080, 570.86.10, 7.5\n"
    monkeypatch.setattr(environment_module.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, answer, ""))
    assert gpu() == {"name": "NVIDIA GeForce RTX 2080", "driver": "570.86.10", "compute_capability": "7.5"}


def test_broken_driver_counts_as_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise subprocess.CalledProcessError(9, "nvidia-smi")

    monkeypatch.setattr(environment_module.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(subprocess, "run", fail)
    assert gpu() is None
