"""PyTorch: eager float32 and bfloat16, torch.compile, and the original report's own network."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from personseg.environment import cpu_model
from personseg.model import load_model, report_unet
from personseg.model_config import WEIGHTS_FILE
from personseg.runtimes import Runtime, Unavailable
from personseg.runtimes.cuda import CudaClock

REPORT_SIZE = (320, 320)  # the report zero-padded its photos to this


class EagerRuntime(Runtime):
    """Eager PyTorch in inference mode, on the GPU when there is one; bf16 by autocast."""

    memory_format = torch.channels_last

    def available(self) -> str | None:
        if self.backend.precision != "bf16" or not torch.cuda.is_available():
            return None
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return None if native else f"{torch.cuda.get_device_name()} does not compute bf16"

    def load(self, model_folder: Path, export_folder: Path, threads: int, streams: int = 1) -> None:
        torch.set_num_threads(max(1, threads // streams))
        # TF32 would round fp32 inputs to 10 bits; cuDNN uses it by default.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        network = self.network(model_folder)
        self.on_gpu = torch.cuda.is_available()
        self.torch_device = torch.device("cuda" if self.on_gpu else "cpu")
        self.device = torch.cuda.get_device_name() if self.on_gpu else cpu_model()
        self.versions = {"torch": torch.__version__}
        layout = "channels_last" if self.memory_format is torch.channels_last else "contiguous"
        self.settings = {"memory_format": layout, "tf32": False}
        self.clock = CudaClock() if self.on_gpu else None
        if self.clock is not None:
            self.settings["clock"] = "CUDA events"
        self.model = network.eval().to(self.torch_device, memory_format=self.memory_format)  # type: ignore[call-overload]

    def network(self, model_folder: Path) -> nn.Module:
        """Load the network and set `input_size` and `files`."""
        network, config = load_model(model_folder)
        self.input_size, self.files = config.input_size, [model_folder / WEIGHTS_FILE]
        return network

    def upload(self, images: NDArray[np.uint8]) -> Tensor:
        inputs = torch.from_numpy(images).to(self.torch_device)
        self.synchronise()
        return inputs

    def run(self, inputs: Tensor) -> Tensor:
        bf16 = self.backend.precision == "bf16"
        with (
            self.clock.running() if self.clock is not None else contextlib.nullcontext(),
            torch.inference_mode(),
            torch.autocast(self.torch_device.type, torch.bfloat16, enabled=bf16),
        ):
            # NHWC seen as NCHW is channels_last already.
            x = inputs.permute(0, 3, 1, 2).float().contiguous(memory_format=self.memory_format)
            outputs = self.model(x)[:, 0]
        return outputs

    def device_seconds(self) -> float | None:
        return None if self.clock is None else self.clock.seconds()

    def download(self, outputs: Tensor) -> NDArray[np.float32]:
        return outputs.float().cpu().numpy()

    def synchronise(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()


class CompiledRuntime(EagerRuntime):
    """The eager network through torch.compile, which needs a C++ compiler (CPU) or Triton (GPU)."""

    def load(self, model_folder: Path, export_folder: Path, threads: int, streams: int = 1) -> None:
        super().load(model_folder, export_folder, threads, streams)
        eager = self.model
        try:
            self.model = torch.compile(eager, dynamic=False)
            # Compiling happens in the first run: whatever stands in its way shows here.
            self.infer(np.zeros((1, *self.input_size, 3), np.uint8))
        except Exception as error:
            self.model = eager
            raise Unavailable(f"torch.compile failed: {last_line(error)}") from None


class ReportRuntime(EagerRuntime):
    """The original report's network at its own 320x320, random weights: only its speed means anything."""

    memory_format = torch.contiguous_format

    def network(self, model_folder: Path) -> nn.Module:
        torch.manual_seed(0)
        self.input_size, self.files = REPORT_SIZE, []
        return report_unet()


def last_line(error: Exception) -> str:
    """Shorten an error of many lines to the one that names its cause."""
    text = str(error).split("Set TORCHDYNAMO_VERBOSE")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
