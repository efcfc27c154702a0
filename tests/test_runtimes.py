"""Each runtime gives PyTorch's logits within its precision, or says why it cannot run here."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from personseg.environment import usable_cores
from personseg.errors import UserError
from personseg.geometry import letterbox
from personseg.images import read_image
from personseg.metrics import counts, iou
from personseg.model import load_model
from personseg.results import BACKEND_TITLES
from personseg.runtimes import BACKENDS, Unavailable, make_runtime
from personseg.runtimes import openvino as openvino_runtime
from personseg.runtimes import tensorrt as tensorrt_runtime
from personseg.runtimes.cuda import CudaClock
from personseg.runtimes.pytorch import CompiledRuntime
from tests.exported import Exported, exported

__all__ = ["exported"]

on_gpu = torch.cuda.is_available()


@pytest.fixture
def photos(exported: Exported) -> NDArray[np.uint8]:
    return np.stack([letterbox(read_image(photo), (64, 64))[0] for photo, _ in exported.pairs])


@pytest.fixture
def expected(exported: Exported, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The saved network's logits, computed without any of the code under test."""
    network, _ = load_model(exported.model)
    with torch.inference_mode():
        return network(torch.from_numpy(photos).permute(0, 3, 1, 2).float())[:, 0].numpy()


def test_registry_has_the_rows_of_the_report() -> None:
    assert set(BACKENDS) == set(BACKEND_TITLES)


def test_unknown_backend_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown backend 'tensorrt_fp8'; known: pytorch_fp32, .*report_pytorch_fp32"):
        make_runtime("tensorrt_fp8")


@pytest.mark.parametrize(
    ("name", "atol", "least_iou"),
    [
        ("pytorch_fp32", 1e-4, 1.0),
        ("onnxruntime_fp32", 1e-4, 1.0),
        ("openvino_f32", 1e-4, 1.0),
        ("pytorch_bf16", 1.0, 0.97),
        ("openvino_bf16", 1.0, 0.97),
        ("onnxruntime_fp16", 0.2, 0.99),
        ("openvino_f16", 0.2, 0.99),
        ("openvino_int8", 3.0, 0.93),
    ],
)
def test_logits_and_masks_are_pytorchs(
    exported: Exported,
    photos: NDArray[np.uint8],
    expected: NDArray[np.float32],
    name: str,
    atol: float,
    least_iou: float,
) -> None:
    runtime = make_runtime(name)
    if reason := runtime.available():
        pytest.skip(f"{name}: {reason}")
    runtime.load(exported.model, exported.folder, threads=1)
    assert runtime.input_size == (64, 64)
    assert runtime.device and runtime.versions and all(path.is_file() for path in runtime.files)
    batch = runtime.infer(photos)
    assert batch.shape == (4, 64, 64) and batch.dtype == np.float32
    np.testing.assert_allclose(batch, expected, atol=atol)
    single = runtime.infer(photos[:1])
    np.testing.assert_allclose(single, expected[:1], atol=atol)
    tp, fp, fn, _ = counts(batch > 0, expected > 0)
    assert tp > 500  # the masks are not empty
    assert iou(tp, fp, fn) >= least_iou
    if atol > 0.01:
        assert np.abs(batch - expected).max() > 1e-3  # else it was not computed in that precision


def test_compiled_network_is_compiled_and_gives_the_eager_logits(
    photos: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network of two layers: compiling the real one takes a minute."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 1))
    runtime = make_runtime("torch_compile")
    assert isinstance(runtime, CompiledRuntime)
    runtime.input_size, runtime.files = (64, 64), []
    monkeypatch.setattr(runtime, "network", lambda folder: network)
    try:
        runtime.load(Path("unused"), Path("unused"), threads=1)
    except Unavailable as error:
        pytest.skip(str(error))
    assert runtime.model is not network
    with torch.inference_mode():
        expected = network(torch.from_numpy(photos[:1]).permute(0, 3, 1, 2).float())[:, 0].numpy()
    np.testing.assert_allclose(runtime.infer(photos[:1]), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads are pinned on Linux alone")
def test_a_process_that_has_a_part_of_the_machine_may_run_anywhere(
    exported: Exported, photos: NDArray[np.uint8]
) -> None:
    """As workers of Spark and of the server are: each with one thread, and all would take the first core."""
    if usable_cores() < 2:
        pytest.skip("one core")

    def places(threads: int) -> set[frozenset[int]]:
        runtime = make_runtime("openvino_f32")
        runtime.load(exported.model, exported.folder, threads=threads)
        runtime.infer(photos[:1])
        seen, ended = set(), threading.Event()

        def look(thread: int) -> None:
            while not ended.wait(0.001):
                seen.add(frozenset(os.sched_getaffinity(thread)))

        watcher = threading.Thread(target=look, args=(threading.get_native_id(),))
        watcher.start()
        for _ in range(200):
            runtime.infer(photos[:1])
        ended.set()
        watcher.join()
        return seen

    anywhere = frozenset(os.sched_getaffinity(0))
    assert places(1) == {anywhere}
    assert len(places(len(anywhere))) > 1, "this looks where threads run"


def test_report_network_takes_320x320() -> None:
    runtime = make_runtime("report_pytorch_fp32")
    runtime.load(Path("unused"), Path("unused"), threads=1)
    assert runtime.input_size == (320, 320)
    assert runtime.files == []


def test_missing_artifact_is_unavailable_and_names_the_file(exported: Exported, tmp_path: Path) -> None:
    for name in ("onnxruntime_fp32", "openvino_int8"):
        with pytest.raises(Unavailable, match=BACKENDS[name].artifact):
            make_runtime(name).load(exported.model, tmp_path, threads=1)


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_openvino_without_a_native_half_precision_says_so(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["INT8", "FP32"]

    monkeypatch.setattr(openvino_runtime, "core", Core)
    reason = make_runtime(f"openvino_{precision}").available()
    assert reason == f"this CPU has no native {precision} (OpenVINO finds FP32, INT8)"
    assert make_runtime("openvino_f32").available() is None


LET_GO = """
import os, signal, sys, threading
from pathlib import Path
from personseg.runtimes import make_runtime

told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(True))
runtimes = [make_runtime("openvino_f32")]
runtimes[0].load(Path(sys.argv[1]), Path(sys.argv[2]), threads=1)
thread = threading.Thread(target=runtimes.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
print(told)
"""


def test_a_signal_after_another_thread_let_the_network_go(exported: Exported) -> None:
    arguments = [sys.executable, "-c", LET_GO, str(exported.model), str(exported.folder)]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "[True]\n")


def test_torch_compile_that_fails_is_unavailable_with_the_cause(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*args: object, **kwargs: object) -> None:
        raise RuntimeError("backend='inductor' raised:\nInvalidCxxCompiler: No working C++ compiler found\n")

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(Unavailable, match=r"^torch\.compile failed: InvalidCxxCompiler: No working C"):
        make_runtime("torch_compile").load(exported.model, exported.folder, threads=1)


def test_importing_openvino_and_nncf_tells_nobody() -> None:
    with pytest.raises(ImportError):
        importlib.import_module("openvino_telemetry")


def test_tensorrt_without_a_binding_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_runtime, "import_binding", lambda name: None)
    reason = make_runtime("tensorrt_fp16").available()
    assert reason is not None and "pip install tensorrt-rtx" in reason


@pytest.mark.skipif(on_gpu, reason="this machine has a GPU")
def test_tensorrt_without_a_gpu_says_so(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_runtime, "import_binding", lambda name: tensorrt_runtime)
    runtime = make_runtime("tensorrt_fp16")
    assert runtime.available() == "no NVIDIA GPU to run an engine on"
    with pytest.raises(Unavailable, match="no NVIDIA GPU"):
        runtime.load(exported.model, exported.folder, threads=1)


@pytest.mark.skipif(not on_gpu, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("precision", "atol"), [("fp32", 1e-2), ("fp16", 0.2), ("int8", 4.0)])
def test_tensorrt_logits_are_pytorchs(
    exported: Exported, photos: NDArray[np.uint8], expected: NDArray[np.float32], precision: str, atol: float
) -> None:
    runtime = make_runtime(f"tensorrt_{precision}")
    if reason := runtime.available():
        pytest.skip(reason)
    try:
        runtime.load(exported.model, exported.folder, threads=1)
    except Unavailable as error:
        pytest.skip(str(error))
    many = np.concatenate([photos] * 3)  # more than one engine batch
    np.testing.assert_allclose(runtime.infer(many), np.concatenate([expected] * 3), atol=atol)


@pytest.mark.parametrize("name", ["pytorch_fp32", "onnxruntime_fp32", "openvino_f32", "openvino_int8"])
def test_streams_give_the_logits_of_one_photo_alone_to_the_bit(
    exported: Exported, photos: NDArray[np.uint8], name: str
) -> None:
    """Two threads at once, one thread of the network each, against the same runtime called by one thread."""
    alone, together = make_runtime(name), make_runtime(name)
    alone.load(exported.model, exported.folder, threads=1)
    expected = [alone.infer(photo[None]) for photo in photos]
    together.load(exported.model, exported.folder, threads=2, streams=2)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda photo: together.infer(photo[None]), np.concatenate([photos] * 8)))
    for i, logits in enumerate(found):
        np.testing.assert_array_equal(logits, expected[i % len(photos)])


STUB = Path("stubs/tensorrt_rtx.pyi")


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx not installed")
def test_the_stub_that_mypy_checks_against_is_the_installed_binding() -> None:
    """Every class is there; every field too; every method has arguments of these names, in this order."""
    binding = importlib.import_module("tensorrt_rtx")
    checked = 0
    for declared in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if not isinstance(declared, ast.ClassDef):
            continue
        real = getattr(binding, declared.name)
        for member in declared.body:
            if isinstance(member, ast.AnnAssign | ast.Assign):
                target = member.target if isinstance(member, ast.AnnAssign) else member.targets[0]
                assert isinstance(target, ast.Name) and hasattr(real, target.id), (declared.name, target)
            elif isinstance(member, ast.FunctionDef):
                if member.name in ("__buffer__", "__int__"):
                    continue  # how Python spells what a class in C has otherwise
                method = getattr(real, member.name)
                wanted = [argument.arg for argument in member.args.args[1:]]
                assert any(takes(overload, wanted) for overload in signatures(method.__doc__)), (declared.name, member)
            checked += 1
    assert checked > 40


def signatures(doc: str) -> list[list[tuple[str, bool]]]:
    """The arguments, self aside, of each overload in a pybind11 docstring: name, and whether it has a default."""
    found = re.findall(r"^(?:\d+\. )?\w+\(self: [\w.]+(.*)\) -> ", doc, re.M)
    arguments = [re.findall(r", (\w+): (.*?)(?=, \w+: |$)", text) for text in found]
    return [[(name, " = " in kind) for name, kind in overload] for overload in arguments]


def takes(overload: list[tuple[str, bool]], wanted: list[str]) -> bool:
    """Whether it may be called with arguments of these names and no others."""
    first, rest = overload[: len(wanted)], overload[len(wanted) :]
    return [name for name, _ in first] == wanted and all(default for _, default in rest)


def test_a_stub_that_lacks_an_argument_or_has_another_is_found_out() -> None:
    (overload,) = signatures("set(self: a.B, name: str, kind: a.C = <C.X: 0>) -> bool\n\n    Sets.")
    assert overload == [("name", False), ("kind", True)]
    assert takes(overload, ["name"]) and takes(overload, ["name", "kind"])
    assert not takes(overload, []) and not takes(overload, ["other"]) and not takes(overload, ["name", "kind", "more"])


IMAGES = {"name": "images", "shape": [-1, 64, 32, 3], "dtype": "uint8"}
LOGITS = {"name": "logits", "shape": [-1, 64, 32], "dtype": "float"}


def test_inputs_and_outputs_that_are_bound_are_accepted() -> None:
    assert tensorrt_runtime.check_io({"inputs": [IMAGES], "outputs": [LOGITS]}, "x") == ((64, 32), (64, 32))
    half = LOGITS | {"shape": [-1, 32, 16]}
    assert tensorrt_runtime.check_io({"inputs": [IMAGES], "outputs": [half]}, "x") == ((64, 32), (32, 16))


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([IMAGES | {"name": "photos"}], [LOGITS]),
        ([IMAGES | {"dtype": "float"}], [LOGITS]),
        ([IMAGES | {"shape": [-1, 3, 64, 32]}], [LOGITS]),
        ([IMAGES | {"shape": [1, 64, 32, 3]}], [LOGITS]),
        ([IMAGES], [LOGITS | {"shape": [-1, 1, 64, 32]}]),
        ([IMAGES], [LOGITS | {"shape": [-1, 16, 8]}]),
        ([IMAGES], [LOGITS | {"dtype": "half"}]),
        ([IMAGES], [LOGITS, LOGITS]),
        ([], [LOGITS]),
    ],
)
def test_other_inputs_and_outputs_are_refused(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
    with pytest.raises(Unavailable, match=r"^net\.onnx: its inputs and outputs are"):
        tensorrt_runtime.check_io({"inputs": inputs, "outputs": outputs}, "net.onnx")


class FakeClock:
    """Stands in for CUDA events."""

    def running(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class FakeEngine:
    """Stands in for a binding's engine and context: records what it is told, writes nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        self.addresses: dict[str, list[int]] = {"images": [], "logits": []}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.calls.append((name, shape))
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name].append(address)
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == FakeStream.cuda_stream
        return True


class FakeStream:
    cuda_stream = 7


def test_tensorrt_cuts_a_large_batch_into_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    runtime = make_runtime("tensorrt_fp32")
    assert isinstance(runtime, tensorrt_runtime.TensorRtRuntime)
    engine = FakeEngine()
    monkeypatch.setattr(runtime, "context", engine, raising=False)
    monkeypatch.setattr(runtime, "clock", FakeClock(), raising=False)
    monkeypatch.setattr(runtime, "stream", FakeStream(), raising=False)
    monkeypatch.setattr(runtime, "lock", threading.Lock(), raising=False)
    monkeypatch.setattr(runtime, "input_size", (64, 32), raising=False)
    monkeypatch.setattr(runtime, "output_size", (32, 16), raising=False)
    images = torch.zeros((19, 64, 32, 3), dtype=torch.uint8)
    outputs = runtime.run(images)
    assert outputs.shape == (19, 64, 32) and outputs.dtype == torch.float32
    assert engine.calls == [("images", (n, 64, 32, 3)) for n in (8, 8, 3)]
    assert np.diff(engine.addresses["images"]).tolist() == [8 * 64 * 32 * 3] * 2
    assert np.diff(engine.addresses["logits"]).tolist() == [8 * 32 * 16 * 4] * 2


def test_a_batch_the_engine_refuses_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(FakeEngine):
        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            return False

    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    runtime = make_runtime("tensorrt_fp32")
    fakes = {"context": Refusing(), "clock": FakeClock(), "stream": FakeStream(), "lock": threading.Lock()}
    for name, value in fakes.items():
        monkeypatch.setattr(runtime, name, value, raising=False)
    monkeypatch.setattr(runtime, "output_size", (32, 16), raising=False)
    with pytest.raises(RuntimeError, match=r"refused to run the engine on \[2, 64, 32, 3\]"):
        runtime.run(torch.zeros((2, 64, 32, 3), dtype=torch.uint8))


def test_the_gpus_clock_times_what_lies_between_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            said.append("record")

        def synchronize(self) -> None:
            said.append("synchronise")

        def elapsed_time(self, end: Event) -> float:
            return 12.5  # ms

    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock = CudaClock()
    with clock.running():
        said.append("work")
    assert said == ["record", "work", "record", "synchronise"] and clock.seconds() == 0.0125


def test_engines_for_turing_have_their_own_name() -> None:
    assert tensorrt_runtime.engine_names("int8") == ["tensorrt_int8", "tensorrt_rtx_int8", "tensorrt_rtx_int8_sm75"]


def test_altered_weights_are_refused(exported: Exported, tmp_path: Path) -> None:
    shutil.copytree(exported.model, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match="sha256"):
        make_runtime("pytorch_fp32").load(tmp_path / "model", exported.folder, threads=1)
