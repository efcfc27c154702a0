"""OpenVINO on the CPU: float32, bfloat16, and int8 quantised after training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personseg.environment import cpu_model
from personseg.runtimes import Runtime, artifact_file

# Importing OpenVINO or NNCF reports to its maker over the network unless its telemetry package is
# missing; photos of people are nobody's business, so for this process it is.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402


def compile_model(model: ov.Model, batch: int, threads: int, hint: str) -> ov.InferRequest:
    """Compile for the CPU with a fixed batch, lowest latency, and inference precision `hint` (f32 or bf16)."""
    model = model.clone()
    _, height, width, channels = model.input(0).partial_shape
    model.reshape([batch, height.get_length(), width.get_length(), channels.get_length()])
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return ov.Core().compile_model(model, "CPU", settings).create_infer_request()


class OpenVinoRuntime(Runtime):
    """The intermediate representation, input uint8 [N, H, W, 3], compiled for each batch size that comes."""

    def available(self) -> str | None:
        if self.backend.precision != "bf16":
            return None
        capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if "BF16" in capabilities:
            return None
        return f"this CPU has no native bf16 (OpenVINO finds {', '.join(sorted(capabilities))})"

    def load(self, model_folder: Path, export_folder: Path, threads: int) -> None:
        path = artifact_file(export_folder, f"{self.backend.artifact}.xml")
        weights = artifact_file(export_folder, f"{self.backend.artifact}.bin")
        self.model = ov.Core().read_model(path)
        _, height, width, _ = self.model.input(0).partial_shape
        self.input_size, self.files = (height.get_length(), width.get_length()), [path, weights]
        # Layers left unquantised in the int8 network stay f32: one change at a time.
        self.hint = "bf16" if self.backend.precision == "bf16" else "f32"
        self.threads = threads
        self.requests = {1: compile_model(self.model, 1, threads, self.hint)}
        self.device = cpu_model()
        self.versions = {"openvino": ov.__version__}
        self.settings = {"inference_precision": self.hint}

    def run(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        batch = len(inputs)
        if batch not in self.requests:
            self.requests[batch] = compile_model(self.model, batch, self.threads, self.hint)
        return self.requests[batch].infer([inputs], share_inputs=True)[0]
