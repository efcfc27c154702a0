"""Runtimes that run the network: one file each, one protocol, one registry.

A new one takes a file here with a `Runtime`, a line in `BACKENDS`, and its name under
`benchmark.backends` in params.yaml.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personseg.errors import UserError
from personseg.files import read_json, sha256_file


@dataclass(frozen=True)
class Backend:
    """A row of the timing table.

    `runtime`: module and class in this package; `artifact`: what it runs, a key of metrics/export.json,
    None for the saved network itself; `precision`: of the computation.
    """

    runtime: str
    artifact: str | None
    precision: str


BACKENDS = {
    "pytorch_fp32": Backend("pytorch.EagerRuntime", None, "fp32"),
    "pytorch_bf16": Backend("pytorch.EagerRuntime", None, "bf16"),
    "torch_compile": Backend("pytorch.CompiledRuntime", None, "fp32"),
    "onnxruntime_fp32": Backend("onnxruntime.OnnxRuntime", "onnx_fp32", "fp32"),
    "onnxruntime_fp16": Backend("onnxruntime.OnnxRuntime", "onnx_fp16", "fp16"),
    "openvino_f32": Backend("openvino.OpenVinoRuntime", "openvino_f32", "f32"),
    "openvino_bf16": Backend("openvino.OpenVinoRuntime", "openvino_f32", "bf16"),
    "openvino_f16": Backend("openvino.OpenVinoRuntime", "openvino_f32", "f16"),
    "openvino_int8": Backend("openvino.OpenVinoRuntime", "openvino_int8", "int8"),
    "tensorrt_fp32": Backend("tensorrt.TensorRtRuntime", "tensorrt_fp32", "fp32"),
    "tensorrt_fp16": Backend("tensorrt.TensorRtRuntime", "tensorrt_fp16", "fp16"),
    "tensorrt_int8": Backend("tensorrt.TensorRtRuntime", "tensorrt_int8", "int8"),
    "report_pytorch_fp32": Backend("pytorch.ReportRuntime", None, "fp32"),
}


MANIFEST_FILE = "export.json"  # in the folder of exported files: the model they are of, and their sha256


class Unavailable(Exception):
    """This machine cannot run the backend; the text is one line, the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(reason.split()))


class Runtime(ABC):
    """Runs one backend. `load` fills the fields; before it only `available` may be called.

    `input_size`: (H, W) of the network's input; `device`: its model name; `versions`: of the libraries;
    `settings`: what else tells this row from others (layout, TF32, execution provider);
    `files`: the files loaded.
    """

    input_size: tuple[int, int]
    device: str
    versions: dict[str, str]
    settings: dict[str, Any]
    files: list[Path]

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @abstractmethod
    def available(self) -> str | None:
        """Say in one line why this machine cannot run the backend; None if nothing speaks against it."""

    @abstractmethod
    def load(self, model_folder: Path, export_folder: Path, threads: int, streams: int = 1) -> None:
        """Make ready to run: the network saved in `model_folder`, or what stage export wrote to `export_folder`.

        `threads` counts CPU threads in all. With several `streams` they are dealt out to as many calls of `infer`
        from as many Python threads at once; with one, `infer` may be called by one thread at a time only.
        Raises Unavailable if it turns out that this machine cannot.
        """

    def upload(self, images: NDArray[np.uint8]) -> Any:
        """Bring photos, uint8 [N, H, W, 3], to the device; returns when they are there."""
        return images

    @abstractmethod
    def run(self, inputs: Any) -> Any:
        """Compute the logits on the device; returns when they are done.

        An exported graph ends at the decoder's resolution, which may be half of the photo's; its logits are enlarged
        after it, where one channel is the work of one: OpenVINO lays channels out by eight or sixteen.
        """

    def device_seconds(self) -> float | None:
        """Seconds the last `run` took by the device's own clock; None where the host's clock is the only one."""
        return None

    def download(self, outputs: Any) -> NDArray[np.float32]:
        """Bring the logits, float32 [N, H, W], to the host."""
        return np.asarray(outputs, np.float32)

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map photos, uint8 RGB [N, H, W, 3] of `input_size`, to logits, float32 [N, H, W]."""
        return self.download(self.run(self.upload(images)))


def find_backend(name: str) -> Backend:
    """Look `name` up in `BACKENDS`; UserError if it is not there."""
    if name not in BACKENDS:
        raise UserError(f"benchmark.backends: unknown backend {name!r}; known: {', '.join(BACKENDS)}")
    return BACKENDS[name]


def make_runtime(name: str) -> Runtime:
    """Return the runtime of the backend `name`, not loaded yet; only its own library is imported."""
    backend = find_backend(name)
    module, _, attribute = backend.runtime.partition(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)(backend)


def read_manifest(folder: Path) -> tuple[str, dict[str, str]] | None:
    """The sha256 of the exported model, and those of the files it was exported to, by name; None if there are none."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return None
    manifest = read_json(path)
    try:
        return str(manifest["model_sha256"]), dict(manifest["files"])
    except (TypeError, KeyError, ValueError):
        raise UserError(f"{path}: not a list of exported files; run `dvc repro export` to make it anew") from None


def check_exported(path: Path) -> Path:
    """Return `path`; UserError if it is not as stage export wrote it: no library is given an altered file to parse."""
    manifest = read_manifest(path.parent)  # None while the export is being made
    if manifest is not None and manifest[1].get(path.name) != sha256_file(path):
        raise UserError(f"{path}: altered since it was exported; run `dvc repro export` to make it anew")
    return path


def artifact_file(folder: Path, name: str) -> Path:
    """Return the path of an exported file; Unavailable if stage export could not make it, UserError if altered."""
    path = folder / name
    if not path.is_file():
        raise Unavailable(f"{path} was not built; metrics/export.json says why")
    return check_exported(path)
