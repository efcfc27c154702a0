"""The model for tables: rows of paths and bytes, in this process, from MLflow's store, and bad photos among them."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from personseg import rle
from personseg.errors import UserError
from personseg.rows import COLUMNS, DONE, FAILED, TooLarge, find_mask, photo_row
from personseg.segmenter import Segmenter
from personseg.table_model import model_folder, register_table_model, save_table_model
from tests.scale.model import model, write_photos

__all__ = ["model"]  # a fixture


@pytest.fixture(scope="module")
def segmenter(model: Path) -> Segmenter:
    return Segmenter.load(model, "pytorch_fp32", 1)


def test_a_row_is_the_mask_of_the_photo_by_path_address_and_bytes(segmenter: Segmenter, tmp_path: Path) -> None:
    photo = write_photos(tmp_path, ["a b ü.jpg"])[0]
    mask = segmenter.predict(photo).mask
    row = photo_row(segmenter, str(photo))
    assert tuple(row) == COLUMNS and row["status"] == DONE and row["reason"] is None
    np.testing.assert_array_equal(rle.decode(row["rle"], (row["height"], row["width"])), mask)
    assert row["model"] == segmenter.config.sha256
    assert photo_row(segmenter, photo.read_bytes()) == row == photo_row(segmenter, f"file://{photo}")


def test_whatever_is_wrong_with_a_photo_is_its_reason(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = write_photos(tmp_path, ["a.jpg"])[0]
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    (tmp_path / "text.jpg").write_text("no photo")
    reasons = {
        name: photo_row(segmenter, str(tmp_path / name)) for name in ("empty.jpg", "cut.jpg", "text.jpg", "no.jpg")
    }
    assert {name: row["reason"] for name, row in reasons.items()} == {
        "empty.jpg": "empty file",
        "cut.jpg": "truncated or damaged image",
        "text.jpg": "not a readable image",
        "no.jpg": "no such file",
    }
    assert all(row["status"] == FAILED and row["rle"] is None for row in reasons.values())
    assert photo_row(segmenter, b"")["reason"] == "empty file"
    assert "s3" in photo_row(segmenter, "nowhere://bucket/s3.jpg")["reason"]
    for error, reason in ((MemoryError(), "not enough memory"), (ValueError("a\nfault"), "ValueError: a fault")):

        def fails(*_: object, raised: Exception = error) -> None:
            raise raised

        monkeypatch.setattr(segmenter, "predict", fails)
        assert photo_row(segmenter, str(photo))["reason"] == reason


def test_a_photo_of_too_many_pixels_is_refused_undecoded(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = write_photos(tmp_path, ["a.jpg"])[0]

    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    with pytest.raises(TooLarge, match="6030 pixels are more than 6029"):
        find_mask(segmenter, photo, 90 * 67 - 1)


def test_stored_and_loaded_it_does_tables(model: Path, segmenter: Segmenter, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", ["a.jpg", "b.jpg"])
    save_table_model(model, tmp_path / "stored", {"threads": 1, "max_pixels": 7000})
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "stored"))
    paths = [*map(str, photos), str(tmp_path / "none.jpg")]
    expected = pd.DataFrame([photo_row(segmenter, path) for path in paths], columns=list(COLUMNS))
    found = loaded.predict(pd.DataFrame({"path": paths}))
    assert found["height"].dtype == "Int32"
    assert found.astype(object).where(found.notna(), None).to_dict("records") == expected.astype(object).where(
        expected.notna(), None
    ).to_dict("records")
    large = write_photos(tmp_path / "large", ["c.jpg"], 120)[0]
    contents = loaded.predict(pd.DataFrame({"photo": [photos[0].read_bytes(), large.read_bytes()]}))
    assert contents["rle"][0] == expected["rle"][0] and "more than 7000" in contents["reason"][1]


def test_registered_it_is_found_by_its_address(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        number = register_table_model(model, "made-up-table")
        folder = model_folder(f"models:/made-up-table/{number}", tmp_path / "fetched")
        with pytest.raises(UserError, match="models:/nobody/1"):
            model_folder("models:/nobody/1", tmp_path / "other")
    finally:
        mlflow.set_tracking_uri(before)
    assert (folder / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert model_folder("models/person", tmp_path) == Path("models/person")
