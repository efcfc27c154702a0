"""The code MLflow stores with a model: photos in, masks out, wherever `mlflow.pyfunc.load_model` is called."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from personseg.segmenter import Segmenter

# MLflow would take types of `predict` for the signature, and misses them where there are none.
warnings.filterwarnings("ignore", message=".*Add type hints to the `predict` method", category=UserWarning)


class PersonMasks(PythonModel):
    """uint8 RGB photos [N, H, W, 3] to bool masks [N, H, W]."""

    def load_context(self, context: Any) -> None:
        self.segmenter = Segmenter.load(context.artifacts["person"])

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        return np.stack([found.mask for found in self.segmenter.predict(list(model_input))])


set_model(PersonMasks())
