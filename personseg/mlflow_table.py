"""The code MLflow stores with the model for tables: rows of photos in, rows of run-length codes out.

It serves `mlflow.pyfunc.load_model`, Spark and `mlflow models serve` alike.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from personseg.rows import COLUMNS, photo_row
from personseg.segmenter import MAX_PIXELS, Segmenter


class PersonTable(PythonModel):
    """A table with a column `photo` (a file's bytes) or `path`, to one with the columns of `rows.COLUMNS`.

    Settings (`model_config`): `runtime`, `threads` (0: every core), `max_pixels` of a photo.
    """

    def load_context(self, context: Any) -> None:
        settings = context.model_config or {}
        self.max_pixels = int(settings.get("max_pixels") or MAX_PIXELS)
        self.segmenter = Segmenter.load(
            context.artifacts["person"],
            settings.get("runtime", "auto"),
            settings.get("threads") or None,
            context.artifacts.get("export"),
        )

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        column = "photo" if "photo" in model_input else "path"
        rows = [photo_row(self.segmenter, photo, self.max_pixels) for photo in model_input[column]]
        # Sizes may be missing, and must not become floats for that.
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"height": "Int32", "width": "Int32"})


set_model(PersonTable())
