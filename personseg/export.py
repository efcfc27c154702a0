"""A trained network in every format the runtimes take, each compared with PyTorch on photos."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from numpy.typing import NDArray
from onnxruntime.transformers.float16 import convert_float_to_float16
from scipy.special import expit
from torch import Tensor, nn

from personseg.errors import UserError
from personseg.files import fresh_folder, sha256_file, write_json
from personseg.geometry import letterbox
from personseg.images import read_image
from personseg.model import ConcatUnet, load_model
from personseg.model_config import read_config
from personseg.quantize import Judge, quantised_share, quantize_onnx, quantize_openvino
from personseg.runtimes import MANIFEST_FILE, Backend, Runtime, Unavailable, make_runtime
from personseg.runtimes.onnxruntime import OnnxRuntime
from personseg.runtimes.openvino import OpenVinoRuntime, core, ov
from personseg.runtimes.tensorrt import ENGINES, build_engine, engine_name, import_binding

OPSET = 20
LIMIT = 0.01  # logits of a float32 export may differ from PyTorch's by this much
COMPARED = 8  # photos each export is compared on


class Exported(nn.Module):
    """The network with uint8 [N, H, W, 3] in and float32 logits [N, h, w] out, of the decoder's resolution.

    The photo goes in as it is read; layout and type change inside the graph. The cast comes first:
    TensorRT allows nothing else on a uint8 input. `Runtime.run` enlarges logits that are smaller than the photo.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        network = self.network.coarse if isinstance(self.network, ConcatUnet) else self.network
        return network(images.float().permute(0, 3, 1, 2))[:, 0]


def to_onnx(model_folder: Path) -> onnx.ModelProto:
    """Export the saved network to a float32 ONNX graph for batches of any size, weights inside."""
    network, config = load_model(model_folder)
    # Two images: a batch of one would be taken for a constant.
    example = torch.zeros((2, *config.input_size, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Exported(network).eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=1024)}},
            verbose=False,
        )
    assert program is not None
    return strip(program.model_proto)


def with_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Fix the batch size of a graph that takes any: a new graph, without what worked out the shapes.

    Twenty times quicker than exporting the network once more, and the same operators.
    """
    fixed = copy.deepcopy(model)
    del fixed.graph.value_info[:]
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].CopyFrom(onnx.TensorShapeProto.Dimension(dim_value=batch))
    return strip(onnxscript.optimizer.optimize(fixed))


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn a float32 graph into a new one that computes in float16, its output float32 as before."""
    # Without a list of its own the converter would leave operators in float32 that some devices had not in float16.
    return strip(convert_float_to_float16(copy.deepcopy(model), keep_io_types=True, op_block_list=[]))


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter notes about the exporting machine (file paths in stack traces), in place."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    return model


def save_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Check the graph with onnx.checker, shapes included, and write it."""
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def evenly_spaced(stems: Sequence[str], number: int) -> list[str]:
    """Choose at most `number` stems, spread evenly over the list."""
    if len(stems) <= number:
        return list(stems)
    return [stems[i] for i in np.linspace(0, len(stems) - 1, number).round().astype(int)]


class Exporter:
    """Builds artifacts in a folder one by one and keeps a record of each."""

    def __init__(
        self,
        model_folder: Path,
        folder: Path,
        images: list[NDArray[np.uint8]],
        val: Sequence[tuple[Path, Path]],
        max_iou_drop: float,
        threads: int,
    ) -> None:
        self.model_folder, self.folder, self.images, self.threads = model_folder, folder, images, threads
        config = read_config(model_folder)
        self.threshold, self.max_iou_drop = config.threshold, max_iou_drop
        self.judge = Judge(val, config.input_size, config.threshold)
        reference = make_runtime("pytorch_fp32")
        reference.load(model_folder, folder, threads)
        self.reference = [reference.infer(image) for image in images[:COMPARED]]
        self.val_iou, _ = self.judge(reference.infer)
        self.artifacts: dict[str, dict[str, Any]] = {}

    def add(self, name: str, files: Sequence[str], build: Callable[[], dict[str, Any] | None]) -> None:
        """Build `name`; record its files (the first one by name), seconds, and what `build` returns."""
        start = time.perf_counter()
        try:
            facts = build() or {}
        except Unavailable as reason:
            for file in files:
                (self.folder / file).unlink(missing_ok=True)
            self.artifacts[name] = {"status": "unavailable", "reason": str(reason)}
            return
        seconds = time.perf_counter() - start
        paths = [self.folder / file for file in files]
        self.artifacts[name] = {
            "status": "built",
            "file": files[0],
            "sha256": {path.name: sha256_file(path) for path in paths},
            "size_bytes": sum(path.stat().st_size for path in paths),
            "build_s": round(seconds, 2),
            **facts,
        }

    def load(self, name: str, runtime_class: type[OnnxRuntime] | type[OpenVinoRuntime]) -> Runtime:
        runtime = runtime_class(Backend("", name, "fp32"))
        runtime.load(self.model_folder, self.folder, self.threads)
        return runtime

    def compare(
        self, name: str, runtime_class: type[OnnxRuntime] | type[OpenVinoRuntime], any_batch: bool = True
    ) -> dict[str, float]:
        """Run an artifact on the CPU and return its largest logit difference from PyTorch and share of other pixels.

        Photo by photo and, if it takes `any_batch`, all in one batch too; the larger difference counts.
        """
        runtime, images = self.load(name, runtime_class), self.images[:COMPARED]
        runs = [[runtime.infer(image) for image in images]]
        if any_batch:
            runs.append(list(runtime.infer(np.concatenate(images))[:, None]))
        found = [self.difference(logits) for logits in runs]
        return {key: max(each[key] for each in found) for key in found[0]}

    def difference(self, logits: list[NDArray[np.float32]]) -> dict[str, float]:
        """Compare logits of the first photos, [1, H, W] each, with PyTorch's; Unavailable if they are not finite."""
        if not all(np.isfinite(values).all() for values in logits):
            raise Unavailable("some logits are not finite: the precision does not hold the network's values")
        pairs = list(zip(logits, self.reference, strict=True))
        masks = [(expit(a) > self.threshold) != (expit(b) > self.threshold) for a, b in pairs]
        return {
            "max_logit_diff": float(max(np.abs(a - b).max() for a, b in pairs)),
            "mask_disagreement": float(np.mean(masks)),
        }

    def exact(
        self, name: str, runtime_class: type[OnnxRuntime] | type[OpenVinoRuntime], any_batch: bool = True
    ) -> dict[str, float]:
        """Compare a float32 artifact; UserError if it does not compute what PyTorch does."""
        facts = self.compare(name, runtime_class, any_batch)
        if facts["max_logit_diff"] > LIMIT:
            raise UserError(
                f"export: {name} differs from PyTorch by {facts['max_logit_diff']:.3g} in a logit (limit {LIMIT});"
                " install the versions of requirements.txt"
            )
        return facts

    def float32(self) -> onnx.ModelProto:
        """The graph that the others are made of."""
        return onnx.load(self.folder / "onnx_fp32.onnx")

    def onnx_fp32(self) -> dict[str, Any]:
        save_onnx(to_onnx(self.model_folder), self.folder / "onnx_fp32.onnx")
        return {"opset": OPSET, **self.exact("onnx_fp32", OnnxRuntime)}

    def onnx_fp32_batch1(self) -> dict[str, Any]:
        save_onnx(with_batch(self.float32(), 1), self.folder / "onnx_fp32_batch1.onnx")
        return {"opset": OPSET, **self.exact("onnx_fp32_batch1", OnnxRuntime, any_batch=False)}

    def val_facts(self, name: str, runtime_class: type[OnnxRuntime] | type[OpenVinoRuntime]) -> dict[str, float]:
        """IoU on val before and after quantisation, at the network's size and without post-processing."""
        found, _ = self.judge(self.load(name, runtime_class).infer)
        return {"val_iou": found, "val_iou_fp32": self.val_iou}

    def onnx_fp16(self) -> dict[str, Any]:
        save_onnx(to_half(self.float32()), self.folder / "onnx_fp16.onnx")
        return {"opset": OPSET, **self.compare("onnx_fp16", OnnxRuntime)}

    def onnx_int8(self) -> dict[str, Any]:
        model = quantize_onnx(self.float32(), self.images, self.judge, self.max_iou_drop)
        save_onnx(strip(model), self.folder / "onnx_int8.onnx")
        facts = self.val_facts("onnx_int8", OnnxRuntime)
        return {"opset": OPSET, **facts, **self.compare("onnx_int8", OnnxRuntime)}

    def openvino_f32(self) -> dict[str, Any]:
        model = ov.convert_model(self.folder / "onnx_fp32.onnx")
        ov.save_model(model, self.folder / "openvino_f32.xml", compress_to_fp16=False)
        return self.exact("openvino_f32", OpenVinoRuntime)

    def openvino_int8(self) -> dict[str, Any]:
        model = core().read_model(self.folder / "openvino_f32.xml")
        quantized = quantize_openvino(model, self.images, self.judge, self.max_iou_drop)
        ov.save_model(quantized, self.folder / "openvino_int8.xml", compress_to_fp16=False)
        facts = {**quantised_share(quantized), **self.val_facts("openvino_int8", OpenVinoRuntime)}
        return {**facts, **self.compare("openvino_int8", OpenVinoRuntime)}

    def engine(self, binding_name: str, precision: str, turing: bool) -> dict[str, Any]:
        binding = import_binding(binding_name)
        if binding is None:
            raise Unavailable(f"{binding_name} cannot be imported")
        if binding_name == "tensorrt" and not torch.cuda.is_available():
            raise Unavailable("tensorrt builds engines on the GPU that runs them, and there is none")
        source = f"onnx_{precision}"
        if self.artifacts[source]["status"] != "built":
            raise Unavailable(f"{source}: {self.artifacts[source]['reason']}")
        engine_file = self.folder / f"{engine_name(binding_name, precision, turing)}.engine"
        facts = build_engine(binding, self.folder / f"{source}.onnx", engine_file, turing)
        return {**facts, "version": binding.__version__}


def export(
    model_folder: Path,
    out_folder: Path,
    photos: Sequence[Path],
    val: Sequence[tuple[Path, Path]],
    max_iou_drop: float,
    threads: int,
) -> dict[str, Any]:
    """Write the network saved in `model_folder` to `out_folder` in every format; return metrics/export.json.

    `photos` (of the TRAINING split) calibrate int8; the first `COMPARED` of them also show how far each
    format is from PyTorch. By int8, IoU on `val` (photo and mask files) may drop by `max_iou_drop` (0 to 1): layers go
    back to float until it does not. What cannot be built is recorded with the reason. The same model and photos give
    the same bytes, TensorRT's engines aside: its builder does not promise that. `build_s` varies.
    """
    if not photos:
        raise UserError("export: no training photo to calibrate int8 with; look at data/splits/train.csv")
    if not val:
        raise UserError("export: no val photo to check int8 on; look at data/splits/val.csv")
    config = read_config(model_folder)
    size = config.input_size
    images = [letterbox(read_image(photo), size)[0][None] for photo in photos]
    with fresh_folder(out_folder) as folder:
        exporter = Exporter(model_folder, folder, images, val, max_iou_drop, threads)
        exporter.add("onnx_fp32", ["onnx_fp32.onnx"], exporter.onnx_fp32)
        exporter.add("onnx_fp32_batch1", ["onnx_fp32_batch1.onnx"], exporter.onnx_fp32_batch1)
        exporter.add("onnx_fp16", ["onnx_fp16.onnx"], exporter.onnx_fp16)
        exporter.add("onnx_int8", ["onnx_int8.onnx"], exporter.onnx_int8)
        exporter.add("openvino_f32", ["openvino_f32.xml", "openvino_f32.bin"], exporter.openvino_f32)
        exporter.add("openvino_int8", ["openvino_int8.xml", "openvino_int8.bin"], exporter.openvino_int8)
        for precision in ("fp32", "fp16", "int8"):
            for binding, turing in ENGINES:
                name = engine_name(binding, precision, turing)
                exporter.add(
                    name,
                    [f"{name}.engine"],
                    lambda b=binding, p=precision, t=turing: exporter.engine(b, p, t),  # type: ignore[misc]
                )
        built = [facts["sha256"] for facts in exporter.artifacts.values() if facts["status"] == "built"]
        files = {name: digest for digests in built for name, digest in digests.items()}
        write_json(folder / MANIFEST_FILE, {"model_sha256": config.sha256, "files": files})
    return {
        "input_size": list(size),
        "calibration_images": len(images),
        "compared_images": len(exporter.reference),
        "val_images": len(val),
        "artifacts": exporter.artifacts,
    }
