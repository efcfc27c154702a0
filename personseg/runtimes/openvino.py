"""OpenVINO on the CPU: float32, bfloat16, float16, and int8 quantised after training."""

from __future__ import annotations

import functools
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personseg.environment import cpu_model, usable_cores
from personseg.geometry import enlarge
from personseg.runtimes import Runtime, artifact_file

# Importing OpenVINO or NNCF reports to its maker over the network unless its telemetry package is
# missing; photos of people are nobody's business, so for this process it is.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402

HALVES = {"bf16": "BF16", "f16": "FP16"}  # precisions of 16 bits, and what the CPU plugin calls computing in them


@functools.cache
def core() -> ov.Core:
    """The process's only core, alive to its end.

    The CPU plugin gives the thread that makes it an alternate stack for signals, and unmaps that stack when the
    last core or network of it goes. Where another thread, or another core in between, is the one to let go, the
    first thread keeps a stack that is no more, and its next signal ends the process (OpenVINO 2026.4,
    intel_cpu/src/sigstack_manager.cpp).
    """
    return ov.Core()


def compile_model(model: ov.Model, batch: int, threads: int, streams: int, hint: str) -> ov.CompiledModel:
    """Compile for the CPU with a fixed batch and precision `hint` (f32, bf16 or f16): lowest latency or streams."""
    model = model.clone()
    _, height, width, channels = model.input(0).partial_shape
    model.reshape([batch, height.get_length(), width.get_length(), channels.get_length()])
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        # A process with part of the machine has others beside it, and every one would be pinned to the first cores.
        "ENABLE_CPU_PINNING": threads >= usable_cores(),
    }
    if streams > 1:
        settings["NUM_STREAMS"] = streams
    return core().compile_model(model, "CPU", settings)


class OpenVinoRuntime(Runtime):
    """The intermediate representation, input uint8 [N, H, W, 3], compiled for each batch size that comes."""

    def available(self) -> str | None:
        precision = self.backend.precision
        if precision not in HALVES:
            return None
        capabilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if HALVES[precision] in capabilities:
            return None
        return f"this CPU has no native {precision} (OpenVINO finds {', '.join(sorted(capabilities))})"

    def load(self, model_folder: Path, export_folder: Path, threads: int, streams: int = 1) -> None:
        path = artifact_file(export_folder, f"{self.backend.artifact}.xml")
        weights = artifact_file(export_folder, f"{self.backend.artifact}.bin")
        self.model = core().read_model(path)
        _, height, width, _ = self.model.input(0).partial_shape
        self.input_size, self.files = (height.get_length(), width.get_length()), [path, weights]
        # Layers left unquantised in the int8 network stay f32: one change at a time.
        self.hint = self.backend.precision if self.backend.precision in HALVES else "f32"
        self.threads, self.streams = threads, streams
        self.compiling, self.requests = threading.Lock(), threading.local()
        self.compiled = {1: compile_model(self.model, 1, threads, streams, self.hint)}
        self.device = cpu_model()
        self.versions = {"openvino": ov.__version__}
        self.settings = {"inference_precision": self.hint}

    def request(self, batch: int) -> ov.InferRequest:
        """The calling thread's own request for `batch` photos; the first one of a size compiles the network for it."""
        mine: dict[Any, ov.InferRequest] = self.requests.__dict__
        if batch not in mine:
            with self.compiling:
                if batch not in self.compiled:
                    self.compiled[batch] = compile_model(self.model, batch, self.threads, self.streams, self.hint)
            mine[batch] = self.compiled[batch].create_infer_request()
        return mine[batch]

    def run(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        return enlarge(self.request(len(inputs)).infer([inputs], share_inputs=True)[0], self.input_size)
