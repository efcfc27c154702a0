"""TensorRT and TensorRT for RTX, which share one Python API; memory and streams are PyTorch's.

The wheels bring no type stubs: mypy checks this file against stubs/tensorrt_rtx.pyi.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from personseg.runtimes import Runtime, Unavailable, check_exported
from personseg.runtimes.cuda import CudaClock

if TYPE_CHECKING:
    import tensorrt_rtx as trt

BINDINGS = ("tensorrt", "tensorrt_rtx")  # in order of preference
TURING = (7, 5)  # not among TensorRT for RTX's default targets: it has engines of its own
ENGINES = (("tensorrt", False), ("tensorrt_rtx", False), ("tensorrt_rtx", True))  # binding, for Turing
MAX_BATCH = 8


class Binding(Protocol):
    """What the two modules share. `ComputeCapability` is TensorRT for RTX's alone."""

    __name__: str
    __version__: str
    ILogger: type[trt.ILogger]
    Logger: type[trt.Logger]
    Runtime: type[trt.Runtime]
    Builder: type[trt.Builder]
    BuilderFlag: type[trt.BuilderFlag]
    NetworkDefinitionCreationFlag: type[trt.NetworkDefinitionCreationFlag]
    OnnxParser: type[trt.OnnxParser]
    TensorIOMode: type[trt.TensorIOMode]
    ComputeCapability: type[trt.ComputeCapability]


def import_binding(name: str) -> Binding | None:
    """Import a binding; None if it or a library it needs is missing."""
    try:
        return cast("Binding", importlib.import_module(name))
    except (ImportError, OSError):
        return None


def engine_name(binding: str, precision: str, turing: bool) -> str:
    """Name an engine's artifact; TensorRT proper builds for the GPU at hand, so it has one only."""
    return f"{binding}_{precision}" + ("_sm75" if turing and binding == "tensorrt_rtx" else "")


def engine_names(precision: str) -> list[str]:
    """Name every engine that stage export may have built for a precision."""
    return [engine_name(binding, precision, turing) for binding, turing in ENGINES]


class TensorRtRuntime(Runtime):
    """An engine whose input is uint8 [N, H, W, 3], N at most `MAX_BATCH`; larger batches are cut."""

    def available(self) -> str | None:
        if not any(import_binding(name) for name in BINDINGS):
            return "neither tensorrt nor tensorrt_rtx can be imported: pip install tensorrt-rtx"
        if not torch.cuda.is_available():
            return "no NVIDIA GPU to run an engine on"
        return None

    def load(self, model_folder: Path, export_folder: Path, threads: int, streams: int = 1) -> None:
        if reason := self.available():
            raise Unavailable(reason)
        turing, reasons = torch.cuda.get_device_capability() == TURING, []
        for name in BINDINGS:
            path = export_folder / f"{engine_name(name, self.backend.precision, turing)}.engine"
            binding = import_binding(name)
            if binding is not None and path.is_file():
                try:
                    return self.open_engine(binding, check_exported(path))
                except Unavailable as reason:  # the other binding's may load
                    reasons.append(str(reason))
        raise Unavailable(
            "; ".join(reasons) or f"no engine for this GPU in {export_folder}; metrics/export.json says why"
        )

    def open_engine(self, binding: Binding, path: Path) -> None:
        """Deserialise the engine; Unavailable if it was built for other GPUs, another version or another network."""
        torch.cuda.init()  # the runtime uses the CUDA context that PyTorch makes
        self.logger = binding.Logger(binding.Logger.ERROR)
        self.runtime = binding.Runtime(self.logger)
        engine = self.runtime.deserialize_cuda_engine(path.read_bytes())
        self.device = torch.cuda.get_device_name()
        if engine is None:
            major, minor = torch.cuda.get_device_capability()
            raise Unavailable(f"{path} does not load on {self.device} (compute capability {major}.{minor})")
        self.input_size, self.output_size = check_io(engine_facts(engine, binding), str(path))
        context = engine.create_execution_context()
        if context is None:
            raise Unavailable(f"{path}: no execution context on {self.device}: GPU memory may be short")
        self.files = [path]
        self.engine, self.context = engine, context
        self.clock, self.lock = CudaClock(), threading.Lock()
        self.stream = torch.cuda.Stream()  # on the default one TensorRT synchronises once more
        self.versions = {binding.__name__: binding.__version__, "torch": torch.__version__}
        self.settings = {"binding": binding.__name__, "tf32": False, "clock": "CUDA events"}

    def upload(self, images: NDArray[np.uint8]) -> Tensor:
        inputs = torch.from_numpy(np.ascontiguousarray(images)).cuda()  # the engine reads it row by row
        torch.cuda.synchronize()
        return inputs

    def run(self, inputs: Tensor) -> Tensor:
        # A context runs one batch at a time.
        with self.lock, torch.cuda.stream(self.stream), self.clock.running():
            outputs = torch.empty((len(inputs), *self.output_size), dtype=torch.float32, device=inputs.device)
            for start in range(0, len(inputs), MAX_BATCH):
                part = inputs[start : start + MAX_BATCH]
                accepted = (
                    self.context.set_input_shape("images", tuple(part.shape))
                    and self.context.set_tensor_address("images", part.data_ptr())
                    and self.context.set_tensor_address("logits", outputs[start:].data_ptr())
                    and self.context.execute_async_v3(self.stream.cuda_stream)
                )
                if not accepted:
                    raise RuntimeError(f"TensorRT refused to run the engine on {list(part.shape)}")
            if self.output_size != self.input_size:
                outputs = F.interpolate(outputs[:, None], self.input_size, mode="bilinear", align_corners=False)[:, 0]
        return outputs

    def device_seconds(self) -> float:
        return self.clock.seconds()

    def download(self, outputs: Tensor) -> NDArray[np.float32]:
        return outputs.cpu().numpy()


Facts = dict[str, list[dict[str, Any]]]
Size = tuple[int, int]


def tensor_fact(name: str, shape: Sequence[int], dtype: trt.DataType) -> dict[str, Any]:
    """One input or output in plain types; -1 in `shape` is dynamic."""
    return {"name": name, "shape": list(shape), "dtype": dtype.name.lower()}


def network_facts(network: trt.INetworkDefinition) -> Facts:
    """Name, shape and dtype of a parsed network's inputs and outputs."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    return {
        kind: [tensor_fact(tensor.name, tensor.shape, tensor.dtype) for tensor in tensors]
        for kind, tensors in (("inputs", inputs), ("outputs", outputs))
    }


def engine_facts(engine: trt.ICudaEngine, binding: Binding) -> Facts:
    """The same of a built engine."""
    facts: Facts = {"inputs": [], "outputs": []}
    for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
        kind = "inputs" if engine.get_tensor_mode(name) == binding.TensorIOMode.INPUT else "outputs"
        facts[kind].append(tensor_fact(name, engine.get_tensor_shape(name), engine.get_tensor_dtype(name)))
    return facts


def check_io(facts: Facts, where: str) -> tuple[Size, Size]:
    """Return (H, W) of the input and of the logits; Unavailable if they are not what `run` binds.

    Logits are of the input's size or half of it.
    """
    shape = facts["inputs"][0]["shape"] if facts["inputs"] else []
    _, height, width, _ = shape if len(shape) == 4 else [-1] * 4
    images = [{"name": "images", "shape": [-1, height, width, 3], "dtype": "uint8"}]
    for size in ((height, width), (height // 2, width // 2)):
        logits = [{"name": "logits", "shape": [-1, *size], "dtype": "float"}]
        if facts == {"inputs": images, "outputs": logits} and min(height, width) > 0:
            return (height, width), size
    raise Unavailable(
        f"{where}: its inputs and outputs are {facts}, not images uint8 [-1, H, W, 3] and logits float [-1, H, W] or"
        " [-1, H/2, W/2]"
    )


def build_engine(binding: Binding, onnx_file: Path, engine_file: Path, turing: bool) -> dict[str, Any]:
    """Build an engine from an ONNX graph and write it; return its targets, inputs and outputs.

    TensorRT for RTX does so without a GPU, for its default targets or, `turing`, for SM75; TensorRT
    proper needs the GPU that will run it. Precision is the graph's own: networks are strongly typed.
    Raises Unavailable with the parser's or the builder's first complaint, or if the graph has other inputs and
    outputs than the runtime binds.
    """
    complaints: list[str] = []

    class Collector(binding.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            binding.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in (binding.ILogger.ERROR, binding.ILogger.INTERNAL_ERROR):
                complaints.append(msg)

    logger = Collector()
    builder = binding.Builder(logger)
    network = builder.create_network(1 << int(binding.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = binding.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_file)):
        raise Unavailable(f"the ONNX parser: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    config.clear_flag(binding.BuilderFlag.TF32)
    facts = network_facts(network)
    size, _ = check_io(facts, onnx_file.name)
    shape = (*size, 3)
    profile = builder.create_optimization_profile()
    profile.set_shape("images", (1, *shape), (1, *shape), (MAX_BATCH, *shape))
    config.add_optimization_profile(profile)
    targets = ["SM80 and later"]  # TensorRT for RTX's documented default
    if binding.__name__ == "tensorrt":
        major, minor = torch.cuda.get_device_capability()
        targets = [f"SM{major}{minor}"]
    elif turing:
        config.num_compute_capabilities = 1
        config.set_compute_capability(binding.ComputeCapability.SM75, 0)
        targets = ["SM75"]
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise Unavailable(f"the builder: {complaints[0] if complaints else 'no reason given'}")
    engine_file.write_bytes(bytes(engine))
    return {"targets": targets, **facts}
