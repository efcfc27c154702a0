"""What a saved model's config.json holds. Nothing heavy is imported: a runtime may not need PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personseg.errors import UserError
from personseg.files import read_json, sha256_file

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
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
