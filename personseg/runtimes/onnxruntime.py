"""ONNX Runtime on the CPU.

It has few float16 kernels there and computes the others in float32, each value rounded to float16 in between: slow, but
the masks show what the precision costs where there is no GPU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from personseg.environment import cpu_model
from personseg.geometry import enlarge
from personseg.runtimes import Runtime, artifact_file


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """Open an ONNX graph with `threads` CPU threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class OnnxRuntime(Runtime):
    """The exported graph, whose input is uint8 [N, H, W, 3]: the conversion to float happens inside."""

    def available(self) -> str | None:
        return None

    def load(self, model_folder: Path, export_folder: Path, threads: int, streams: int = 1) -> None:
        path = artifact_file(export_folder, f"{self.backend.artifact}.onnx")
        self.session = open_session(path, max(1, threads // streams))
        _, height, width, _ = self.session.get_inputs()[0].shape
        self.input_size, self.files = (height, width), [path]
        self.device = cpu_model()
        self.versions = {"onnxruntime": ort.__version__}
        self.settings = {"provider": self.session.get_providers()[0]}

    def run(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        return enlarge(self.session.run(None, {"images": inputs})[0], self.input_size)
