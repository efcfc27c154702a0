"""Int8 by NNCF's post-training quantisation: for OpenVINO, and as a Q/DQ graph that TensorRT takes.

Both with accuracy control: if IoU drops by more than is allowed, NNCF ranks the layers by what they cost and puts them
back to float, the dearest first, until it does not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from scipy.special import expit

from personseg.geometry import Placement, enlarge, letterbox
from personseg.images import read_image, read_mask
from personseg.metrics import counts, iou

# Before NNCF: this module keeps OpenVINO's and NNCF's telemetry out of the process.
from personseg.runtimes.openvino import ov

RANKED_BY = 8  # photos, the ones that int8 costs most, on which the layers are ranked; each is run once a layer

Images = Sequence[NDArray[np.uint8]]
Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # uint8 [1, H, W, 3] -> logits [1, h, w]


class Known(NamedTuple):
    """A photo whose mask is known, at the network's size."""

    image: NDArray[np.uint8]  # [1, H, W, 3]
    placement: Placement
    mask: NDArray[np.bool_]  # without the padding


class Judge:
    """IoU of a network on photos whose masks are known, at the network's size and without post-processing."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]], size: tuple[int, int], threshold: float) -> None:
        """`pairs` are (photo, mask) files, `size` is the network's input (H, W)."""
        self.threshold = threshold
        self.known = []
        for photo, mask in pairs:
            image, placement = letterbox(read_image(photo), size)
            inner = (placement.inner_width, placement.inner_height)
            small = cv2.resize(read_mask(mask).astype(np.uint8), inner, interpolation=cv2.INTER_NEAREST)
            self.known.append(Known(image[None], placement, small > 0))

    def __call__(self, infer: Infer, known: Iterable[Known] | None = None) -> tuple[float, list[float]]:
        """Return IoU pooled over all pixels, and of each photo, of all photos or of those in `known`."""
        found = []
        for image, placement, truth in self.known if known is None else known:
            logits = enlarge(infer(image), image.shape[1:3])[0]
            mask = np.asarray(expit(placement.inner(logits)) > self.threshold)
            found.append(counts(mask, truth)[:3])
        return iou(*np.sum(found, axis=0).tolist()), [iou(*each) for each in found]


def _nncf() -> Any:
    # PyTorch's extension loader, which NNCF imports, warns on every machine without CUDA.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf


def _quantize(
    model: Any, calibration: Sequence[Any], judge: Judge, max_drop: float, infer: Callable[[Any], Infer], **more: Any
) -> Any:
    """Quantise; `infer` turns what NNCF has made ready of the model into a function of a photo."""
    nncf = _nncf()
    return nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset(calibration),
        validation_dataset=nncf.Dataset(judge.known),
        validation_fn=lambda ready, known: judge(infer(ready), known),
        max_drop=max_drop,
        drop_type=nncf.DropType.ABSOLUTE,
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(calibration),
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(ranking_subset_size=RANKED_BY),
        **more,
    )


def quantize_openvino(model: ov.Model, images: Images, judge: Judge, max_drop: float) -> ov.Model:
    """Quantise convolutions to int8; `images` are calibration batches, uint8 [1, H, W, 3] each.

    Convolutions go back to float until the judge's IoU is at most `max_drop` (0 to 1) below the float network's.
    """

    def infer(compiled: ov.CompiledModel) -> Infer:
        return lambda image: compiled(image)[0]

    return _quantize(model, images, judge, max_drop, infer)


def quantize_onnx(model: onnx.ModelProto, images: Images, judge: Judge, max_drop: float) -> onnx.ModelProto:
    """Insert QuantizeLinear/DequantizeLinear pairs as TensorRT wants them: int8, symmetric, activations per tensor.

    Arguments as those of `quantize_openvino`.
    """
    nncf = _nncf()
    advanced = nncf.AdvancedQuantizationParameters(
        activations_quantization_params=nncf.quantization.advanced_parameters.QuantizationParameters(per_channel=False)
    )

    def infer(graph: onnx.ModelProto) -> Infer:
        session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        return lambda image: session.run(None, {"images": image})[0]

    quantized = _quantize(
        model,
        [{"images": image} for image in images],
        judge,
        max_drop,
        infer,
        # The normalisation of the input stays in float.
        ignored_scope=nncf.IgnoredScope(types=["Sub", "Div"], validate=False),
        advanced_quantization_parameters=advanced,
    )
    return make_signed(quantized)


def quantised_share(model: ov.Model) -> dict[str, int]:
    """How many convolutions the network has, and how many of them compute in int8."""
    found = [op for op in model.get_ops() if op.get_type_name() in ("Convolution", "GroupConvolution")]
    return {"convolutions": len(found), "convolutions_int8": sum(map(_has_int8_weights, found))}


def _has_int8_weights(op: ov.Node) -> bool:
    node = op.input_value(1).get_node()
    while node.get_input_size():  # scales lie between the constant and its convolution
        node = node.input_value(0).get_node()
    return bool(node.get_element_type() == ov.Type.i8)


def make_signed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn unsigned quantisers (zero point 0) of a Q/DQ graph into signed ones of the same range, in place.

    TensorRT's parser reads uint8 quantisers as int8 with the same scale, which silently halves their
    range; a scale 255/127 times as large keeps the range and costs one bit.
    """
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    done: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero = (initializers[name] for name in node.input[1:3])
        if zero.data_type != onnx.TensorProto.UINT8 or zero.name in done:
            continue
        zeros = onnx.numpy_helper.to_array(zero)
        if scale.name in done or zeros.any():
            raise ValueError(f"quantiser {node.name}: a shared scale or an asymmetric range cannot be made signed")
        done |= {scale.name, zero.name}
        wider = onnx.numpy_helper.to_array(scale) * np.float32(255 / 127)
        scale.CopyFrom(onnx.numpy_helper.from_array(wider.astype(np.float32), scale.name))
        zero.CopyFrom(onnx.numpy_helper.from_array(zeros.astype(np.int8), zero.name))
    del model.graph.value_info[:]  # it still names the old types
    return model
