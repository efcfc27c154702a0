"""What a saved model's config.json holds. Nothing heavy is imported: a runtime may not need PyTorch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personseg.errors import UserError
from personseg.files import read_json, sha256_file

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
NAMED_WEIGHTS = ("imagenet", "none")  # anything else in model.weights is a path
PRODUCTS = ("models/trained", "models/person", "data/taught/model")
SHAPING = ("name", "encoder", "decoder_channels", "projection", "attention")  # params that decide the weights' shapes
Side = Annotated[int, Field(ge=32, multiple_of=32)]


class PostprocessConfig(BaseModel):
    """Sizes in px below which objects are dropped and holes filled; 0 leaves them."""

    model_config = ConfigDict(extra="forbid")
    min_object: Annotated[int, Field(ge=0)] = 0
    min_hole: Annotated[int, Field(ge=0)] = 0


class ModelConfig(BaseModel):
    """What config.json holds: all that is needed, beside the weights, to predict."""

    model_config = ConfigDict(extra="forbid")
    architecture: dict[str, Any]
    input_size: tuple[Side, Side]
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    postprocess: PostprocessConfig = PostprocessConfig()
    sha256: str = ""


def read_config(folder: str | Path) -> ModelConfig:
    """Read config.json of a saved model; UserError when missing, damaged, or of another version."""
    path = Path(folder) / CONFIG_FILE
    try:
        return ModelConfig.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {key}: {first['msg']}; the file was altered, train or copy it anew") from None


def check_weights(folder: str | Path, config: ModelConfig) -> Path:
    """Return the path of the weights; UserError when they are missing or not those config.json was written with."""
    weights = Path(folder) / WEIGHTS_FILE
    if not weights.is_file():
        raise UserError(f"{weights}: not found; the model folder is incomplete, train or copy it anew")
    if sha256_file(weights) != config.sha256:
        raise UserError(f"{weights}: does not match the sha256 in {CONFIG_FILE}; copy or train it anew")
    return weights


def refuse_product(key: str, folder: str | Path) -> None:
    """UserError if `folder`, which the param `key` names, is a model that the training is about to replace."""
    # Queued experiments run in a copy, where a path of params.yaml still means the one in DVC's root.
    roots = [Path(os.environ.get("DVC_ROOT") or "."), Path()]
    if Path(folder).resolve() in [(root / product).resolve() for root in roots for product in PRODUCTS]:
        raise UserError(f"{key}: {folder} is what the training will replace; copy it, say to models/teacher")


def is_folder(weights: str) -> bool:
    """Whether `model.weights` is a finished model's folder."""
    return weights not in NAMED_WEIGHTS and Path(weights).is_dir()


def describe_weights(model: Mapping[str, Any]) -> dict[str, str]:
    """What tells one start of the network of section `model` from another: a name, or the sha256 of the weights.

    UserError if there is nothing at the path, or a finished model that is about to be replaced or is of another shape.
    """
    weights = str(model["weights"])
    if weights in NAMED_WEIGHTS:
        return {"weights": weights}
    if is_folder(weights):
        refuse_product("model.weights", weights)
        config = read_config(weights)
        for key in SHAPING:
            if (theirs := config.architecture.get(key)) != model[key]:
                raise UserError(f"model.weights: {weights} has {key} {theirs}, not {model[key]} as model.{key} says")
        return {"weights": config.sha256}
    if not Path(weights).is_file():
        raise UserError(f"model.weights: nothing at {weights}; give a weights file, a model's folder, imagenet or none")
    return {"weights": sha256_file(weights)}
