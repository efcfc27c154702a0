"""The model of a run in MLflow's registry: signature, version, and the aliases `newest` and `best`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from personseg.results import Results

if TYPE_CHECKING:
    from mlflow import MlflowClient

CODE = Path(__file__).with_name("mlflow_model.py")
NEEDED = (
    *("torch", "segmentation-models-pytorch", "safetensors", "pydantic"),
    *("numpy", "scipy", "opencv-python-headless", "scikit-image", "pillow", "mlflow"),
)
NEWEST, BEST = "newest", "best"
VAL_IOU = "val_iou"  # tag of a version; best is chosen by it, never by test
DESCRIPTION = (
    "Photos to person masks. `mlflow.pyfunc.load_model('models:/{name}@best').predict(photos)` takes uint8 RGB "
    "[N, H, W, 3] and gives bool [N, H, W]. Alias best: the highest val IoU; newest: the last recorded."
)


def registered_name(data_name: str) -> str:
    """Name of the registered model of a dataset."""
    return f"personseg-{data_name}"


@contextmanager
def _pointed_at(uri: str) -> Iterator[None]:
    """Logging a model takes no client: it uses a global address, and puts that into the environment."""
    import mlflow

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def register(client: MlflowClient, run_id: str, data_name: str, found: Results) -> None:
    """Log models/person as the run's MLflow model, make it a version of its dataset's model, and move the aliases.

    The version takes photos of any size (uint8 [N, H, W, 3]) and carries the package's own code.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    name = registered_name(data_name)
    photos = TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))
    masks = TensorSpec(np.dtype(bool), (-1, -1, -1))
    with _pointed_at(client.tracking_uri):
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input example was not provided")  # the signature is exact
            logged = mlflow.pyfunc.log_model(
                name="person",
                python_model=str(CODE),
                artifacts={"person": str(found.root / "models/person")},
                code_paths=[str(Path(__file__).parent)],
                pip_requirements=[f"{package}=={version(package)}" for package in NEEDED],
                signature=ModelSignature(Schema([photos]), Schema([masks])),
            )
        try:
            client.get_registered_model(name)
        except MlflowException:
            client.create_registered_model(name, description=DESCRIPTION.format(name=name))
        val = found.iou["val"]["iou"]
        summary = f"val IoU {val:.4f}, test IoU {found.iou['test']['iou']:.4f}"
        made = client.create_model_version(
            name, logged.model_uri, run_id, tags={VAL_IOU: str(val)}, description=summary, model_id=logged.model_id
        )
        client.set_registered_model_alias(name, NEWEST, made.version)
        versions = client.search_model_versions(f"name = '{name}'")
        best = max(versions, key=lambda each: (float(each.tags.get(VAL_IOU, 0)), int(each.version)))
        client.set_registered_model_alias(name, BEST, best.version)


def forget(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    """Take back what `register` made for a run that is to be deleted."""
    for made in client.search_model_versions(f"run_id = '{run_id}'"):
        client.delete_model_version(made.name, made.version)
    for model in client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'"):
        client.delete_logged_model(model.model_id)
