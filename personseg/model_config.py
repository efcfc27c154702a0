"""What a saved model's config.json holds. Nothing heavy is imported: a runtime may not need PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personseg.errors import UserError
from personseg.files import read_json, sha256_file

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
NAMED_WEIGHTS = ("imagenet", "none")  # anything else in model.weights is a path
PRODUCTS = ("models/trained", "models/person")
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
    if Path(folder).resolve() in [Path(product).resolve() for product in PRODUCTS]:
        raise UserError(f"{key}: {folder} is what the training will replace; copy it, say to models/teacher")


def describe_weights(weights: str) -> dict[str, str]:
    """What tells one start of a training from another: the name, or the sha256 of a file's or finished model's weights.

    UserError if there is nothing at the path, or it is the model that is about to be made.
    """
    if weights in NAMED_WEIGHTS:
        return {"weights": weights}
    path = Path(weights)
    if path.is_dir():
        refuse_product("model.weights", path)
        return {"weights": read_config(path).sha256}
    if not path.is_file():
        raise UserError(
            f"model.weights: nothing at {path}; give a weights file, a finished model's folder, imagenet or none"
        )
    return {"weights": sha256_file(path)}
