"""What a teacher, a finished model, left for a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personseg.errors import UserError
from personseg.files import read_table, sha256_file
from personseg.model_config import read_config, refuse_product


@dataclass(frozen=True)
class Taught:
    """What a teacher left in `folder`: soft/STEM.png of labelled photos and of `unlabelled`, images/STEM.jpg of these.

    `weight`: of the teacher's opinion against the label where there is one; `labelled_share`: of the photos of an epoch
    those with labels, if there are others; `hints`: weight of the teacher's features, whose network is then in model/.
    """

    folder: Path
    weight: float
    labelled_share: float
    unlabelled: list[str]
    hints: float = 0.0


SELF = "self"  # teacher.model: a teacher that stage teach trains itself


def describe_teacher(model: str | None, mediapipe: str | None, training: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one teacher from another; UserError if it is the model that is about to be made.

    `training` is what decides a teacher that stage teach trains itself; a finished model has none of it.
    """
    if mediapipe is not None:
        if not Path(mediapipe).is_file():
            raise UserError(f"teacher.mediapipe: {mediapipe}: not found; give the path of selfie_segmentation.tflite")
        return {**describe_teacher(model, None, training), "mediapipe": sha256_file(Path(mediapipe))}
    if model is None:
        return {"model": None}
    if model == SELF:
        return {"model": SELF, **training}
    refuse_product("teacher.model", model)
    return {"model": read_config(model).sha256}


def read_taught(folder: Path, weight: float, labelled_share: float, hints: float = 0.0) -> Taught | None:
    """What `teach` left in `folder`; unlabelled photos only if a share of an epoch is theirs. None: no teacher."""
    photos = read_table(folder / "photos.csv", ["stem", "labelled", "kept"])
    if not len(photos):
        return None
    chosen = (photos["labelled"] == 0) & (photos["kept"] == 1) & (labelled_share < 1)
    return Taught(folder, weight, labelled_share, photos.loc[chosen, "stem"].tolist(), hints)
