"""The model as MLflow keeps it for tables of photos, and where to find any model that is named.

    python -m personseg.table_model NAME [--model models/person]

registers the model under NAME in the store that MLFLOW_TRACKING_URI names, by default `mlflow.db` of this folder. Its
input is a table with a column `photo` (the file's bytes) or `path`, its output the columns of `personseg.rows`; in a
stored model lie the OpenVINO files too, so it is as quick elsewhere as here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from personseg.errors import UserError, one_line_errors
from personseg.model_config import check_weights, read_config
from personseg.runtimes import MANIFEST_FILE, read_manifest

CODE = Path(__file__).with_name("mlflow_table.py")
EXPORTED = ("openvino_f32.xml", "openvino_f32.bin", "openvino_int8.xml", "openvino_int8.bin")
ADDRESSES = ("models:/", "runs:/")
SETTINGS = {"runtime": "auto", "threads": 0, "max_pixels": 0}  # 0: every core; no limit below the library's own


@contextmanager
def _export_to_store(model: Path) -> Iterator[Path | None]:
    """A folder with what of the export runs on a CPU; None if there is none of this model."""
    exported = model.parent / "export"
    manifest = read_manifest(exported)
    if manifest is None or manifest[0] != read_config(model).sha256:
        yield None
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "export"  # MLflow keeps the name, and `Segmenter.load` looks for it
        folder.mkdir()
        for name in (MANIFEST_FILE, *EXPORTED):
            if (exported / name).is_file():
                shutil.copy(exported / name, folder)
        yield folder


@contextmanager
def stored_form(model: Path, settings: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Arguments of `mlflow.pyfunc.save_model` and `log_model` for the model folder `model`; valid inside the block.

    `settings` take the place of SETTINGS. UserError: the model is incomplete or altered.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    from personseg.registry import NEEDED

    check_weights(model, read_config(model))
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    photos = Schema([ColSpec("binary", "photo", required=False), ColSpec("string", "path", required=False)])
    kinds = {"height": "integer", "width": "integer"}
    rows = Schema(
        [
            ColSpec(kinds.get(name, "string"), name, required=name in ("status", "model"))
            for name in ("status", "reason", "height", "width", "rle", "model")
        ]
    )
    with _export_to_store(model) as export:
        needed = NEEDED if export is None else (*NEEDED, "openvino", "pandas")
        yield {
            "python_model": str(CODE),
            "artifacts": {"person": str(model)} | ({} if export is None else {"export": str(export)}),
            "code_paths": [str(Path(__file__).parent)],
            "pip_requirements": [f"{package}=={version(package)}" for package in needed],
            "signature": ModelSignature(photos, rows),
            "model_config": SETTINGS | (settings or {}),
        }


def save_table_model(model: Path, to: Path, settings: dict[str, Any] | None = None) -> None:
    """Write the model folder `model` to the new folder `to`, in MLflow's form for tables."""
    from mlflow import pyfunc

    with stored_form(model, settings) as form, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example was not provided")  # the signature is exact
        pyfunc.save_model(path=str(to), **form)


def model_folder(model: str, to: Path) -> Path:
    """Return the folder of a saved model: `model` itself, or, of an address in MLflow, a copy fetched to `to`.

    `models:/NAME@best`, `models:/NAME/3` and `runs:/ID/person` are such addresses, of the models that stage track and
    this module register. UserError if there is none.
    """
    if not model.startswith(ADDRESSES):
        return Path(model)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        fetched = Path(download_artifacts(artifact_uri=model, dst_path=str(to)))
    except (MlflowException, OSError) as error:
        raise UserError(f"{model}: {error}") from None
    folder = fetched / "artifacts" / "person"
    if not folder.is_dir():
        raise UserError(f"{model}: holds no person model; name one that `track` or `personseg.table_model` registered")
    return folder


def register_table_model(model: Path, name: str) -> str:
    """Log the model for tables and make it a version of `name`; return that version. UserError if MLflow refuses."""
    from mlflow import pyfunc
    from mlflow.exceptions import MlflowException

    with stored_form(model) as form, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example was not provided")
        try:
            logged = pyfunc.log_model(name="person-table", registered_model_name=name, **form)
        except MlflowException as error:
            raise UserError(f"{name}: not registered: {error}") from None
    return str(logged.registered_model_version)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="of the registered model")
    parser.add_argument("--model", type=Path, default=Path("models/person"), help="folder of the trained model")
    arguments = parser.parse_args()
    with one_line_errors():
        number = register_table_model(arguments.model, arguments.name)
    print(f"models:/{arguments.name}/{number}")


if __name__ == "__main__":
    main()
