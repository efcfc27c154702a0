"""Int8 by NNCF's post-training quantisation: for OpenVINO, and as a Q/DQ graph that TensorRT takes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

# Before NNCF: this module keeps OpenVINO's and NNCF's telemetry out of the process.
from personseg.runtimes.openvino import ov

Images = Sequence[NDArray[np.uint8]]


def _nncf() -> Any:
    # PyTorch's extension loader, which NNCF imports, warns on every machine without CUDA.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf


def quantize_openvino(model: ov.Model, images: Images) -> ov.Model:
    """Quantise convolutions to int8; `images` are calibration batches, uint8 [1, H, W, 3] each."""
    nncf = _nncf()
    return nncf.quantize(
        model, nncf.Dataset(images), preset=nncf.QuantizationPreset.PERFORMANCE, subset_size=len(images)
    )


def quantize_onnx(model: onnx.ModelProto, images: Images) -> onnx.ModelProto:
    """Insert QuantizeLinear/DequantizeLinear pairs as TensorRT wants them: int8, symmetric, activations per tensor."""
    nncf = _nncf()
    advanced = nncf.AdvancedQuantizationParameters(
        activations_quantization_params=nncf.quantization.advanced_parameters.QuantizationParameters(per_channel=False)
    )
    quantized = nncf.quantize(
        model,
        nncf.Dataset([{"images": image} for image in images]),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(images),
        # The normalisation of the input stays in float.
        ignored_scope=nncf.IgnoredScope(types=["Sub", "Div"], validate=False),
        advanced_parameters=advanced,
    )
    return make_signed(quantized)


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
