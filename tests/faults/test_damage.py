"""What was altered, cut short, lost, or made by another version is named in one line, or made anew; never used."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from personseg.benchmark import benchmark_project
from personseg.categories import read_categories
from personseg.errors import UserError
from personseg.files import read_json, read_table, sha256_file, write_json, write_table
from personseg.images import read_image, read_mask, write_image, write_mask
from personseg.model import build_model, load_model, save_model
from personseg.model_config import ModelConfig, check_weights, read_config
from personseg.results import read_results
from personseg.resume import resume_folder
from personseg.runtimes import Unavailable, artifact_file, check_exported, make_runtime, read_manifest
from personseg.segmenter import load_runtime
from personseg.sources import describe_source
from personseg.splits import read_split
from personseg.taught import read_taught
from personseg.tracking import fingerprint, track
from tests.faults import pictures as pic
from tests.finished import BACKENDS, PARAMS, write_finished
from tests.networks import architecture
from tests.tracked import INFO, empty_store, project

__all__ = ["empty_store", "project"]  # fixtures

Damage = Callable[[Path], object]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def lose(path: Path) -> None:
    path.unlink()


def holding(text: str) -> Damage:
    def write(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    return write


def changing(**values: object) -> Damage:
    def write(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return write


BYTES: list[Damage] = [cut, flip, empty, zeros, lose]


def named(damage: Damage) -> str:
    return damage.__name__


def one_line(path: Path, use: Callable[[], object]) -> str:
    """`use` fails with one line that names the damaged file."""
    with pytest.raises(UserError) as caught:
        use()
    line = str(caught.value)
    assert "\n" not in line and path.name in line and len(line) < 700
    return line


# --- the model


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "person"
    kind = architecture("tu-tf_efficientnet_lite0", decoder_channels=[16, 16, 8, 8, 8])
    save_model(folder, build_model(kind), ModelConfig(architecture=kind, input_size=(64, 64)))
    return folder


@pytest.fixture
def model(whole_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_model, tmp_path / "person"))


@pytest.mark.parametrize("damage", BYTES, ids=named)
def test_weights(damage: Damage, model: Path) -> None:
    path = model / "model.safetensors"
    damage(path)
    one_line(path, lambda: check_weights(model, read_config(model)))
    one_line(path, lambda: load_model(model))


@pytest.mark.parametrize(
    "damage",
    [
        *(cut, empty, zeros, lose, holding("[]"), holding("null"), holding('{"threshold": 0.5}')),
        *(changing(threshold=7), changing(threshold="high"), changing(input_size=[0, 64]), changing(input_size=[64])),
        *(changing(postprocess={"min_object": -1}), changing(sha256=5), changing(sha256="0" * 64), changing(more=1)),
        *(changing(architecture={}), changing(architecture={"name": "concat_unet"}), changing(architecture=[])),
        changing(architecture=architecture("tu-tf_efficientnet_lite1", decoder_channels=[16, 16, 8, 8, 8])),
        changing(architecture=architecture("tu-tf_efficientnet_lite0", decoder_channels=[16, 16, 8, 8, 4])),
        changing(architecture=architecture("tu-tf_efficientnet_lite0", decoder_channels=["a"])),
        changing(architecture=architecture("no_such_encoder", decoder_channels=[16, 16, 8, 8, 8])),
    ],
)
def test_config_of_a_model(damage: Damage, model: Path) -> None:
    load_model(model)
    damage(model / "config.json")
    with pytest.raises(UserError) as caught:
        load_model(model)
    assert "\n" not in str(caught.value)


# --- what was exported from it: it must be refused before a library parses it, so any bytes will do

EXPORTED = ["onnx_fp32.onnx", "openvino_f32.xml", "openvino_f32.bin", "tensorrt_rtx_fp32.engine"]


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    for name in EXPORTED:
        (folder / name).write_bytes(name.encode() * 50)
    files = {name: sha256_file(folder / name) for name in EXPORTED}
    write_json(folder / "export.json", {"model_sha256": "f" * 64, "files": files})
    return folder


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.parametrize("damage", BYTES[:-1], ids=named)
def test_exported_files(damage: Damage, name: str, exported: Path) -> None:
    assert check_exported(exported / name) == exported / name
    damage(exported / name)
    assert "altered" in one_line(exported / name, lambda: check_exported(exported / name))
    backend = {"onnx": "onnxruntime_fp32", "open": "openvino_f32"}.get(name[:4])
    if backend is not None:  # a TensorRT runtime goes no further than this without a GPU
        one_line(exported / name, lambda: make_runtime(backend).load(exported, exported, 1))


def test_an_engine_is_checked_before_it_is_loaded(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = make_runtime("tensorrt_fp32")
    monkeypatch.setattr(type(runtime), "available", lambda self: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 6))
    monkeypatch.setattr("personseg.runtimes.tensorrt.import_binding", lambda name: torch)
    opened: list[Path] = []
    monkeypatch.setattr(type(runtime), "open_engine", lambda self, binding, path: opened.append(path))
    runtime.load(exported, exported, 1)
    assert opened == [exported / "tensorrt_rtx_fp32.engine"]
    flip(opened[0])
    one_line(opened[0], lambda: runtime.load(exported, exported, 1))


def test_where_one_bindings_engine_does_not_load_the_others_is_tried(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make_runtime("tensorrt_fp32")
    monkeypatch.setattr(type(runtime), "available", lambda self: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 6))
    monkeypatch.setattr("personseg.runtimes.tensorrt.import_binding", lambda name: torch)
    monkeypatch.setattr("personseg.runtimes.tensorrt.check_exported", lambda path: path)
    (exported / "tensorrt_fp32.engine").write_bytes(b"of another GPU")
    opened: list[str] = []

    def open_engine(self: object, binding: object, path: Path) -> None:
        opened.append(path.name)
        if len(opened) == 1 or every:
            raise Unavailable(f"{path.name} does not load")

    monkeypatch.setattr(type(runtime), "open_engine", open_engine)
    every = False
    runtime.load(exported, exported, 1)
    assert opened == ["tensorrt_fp32.engine", "tensorrt_rtx_fp32.engine"]
    every = True
    with pytest.raises(
        Unavailable, match=r"tensorrt_fp32\.engine does not load; tensorrt_rtx_fp32\.engine does not load"
    ):
        runtime.load(exported, exported, 1)


def test_a_lost_export_is_unavailable(exported: Path) -> None:
    (exported / "onnx_fp32.onnx").unlink()
    with pytest.raises(Unavailable, match=r"onnx_fp32\.onnx was not built"):
        artifact_file(exported, "onnx_fp32.onnx")


@pytest.mark.parametrize("damage", [cut, empty, zeros, holding("[]"), holding('{"files": 5}'), holding("7")])
def test_list_of_exported_files(damage: Damage, exported: Path) -> None:
    config = ModelConfig(architecture={}, input_size=(64, 64), sha256="f" * 64)
    damage(exported / "export.json")
    one_line(exported / "export.json", lambda: read_manifest(exported))
    one_line(exported / "export.json", lambda: load_runtime("onnxruntime_fp32", exported, exported, config, 1))


# --- photos, masks and tables


@pytest.mark.parametrize("damage", [cut, empty, zeros, lose, holding("<html>")])
def test_photos_and_masks(damage: Damage, tmp_path: Path) -> None:
    for name, read in (("photo.jpg", read_image), ("mask.jpg", read_mask), ("mask.png", read_mask)):
        path = tmp_path / name
        write_image(path, pic.photo()) if name == "photo.jpg" else write_mask(path, pic.person())
        read(path)
        damage(path)
        one_line(path, lambda read=read, path=path: read(path))


@pytest.mark.parametrize("share", np.linspace(0.02, 0.98, 13))
def test_a_jpeg_cut_anywhere(share: float, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    write_image(path, pic.photo())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    one_line(path, lambda: read_image(path))


TABLES: dict[str, Callable[[Path], object]] = {
    "train.csv": read_split,
    "photos.csv": lambda folder: read_taught(folder, 0.5, True),
    "manifest.csv": lambda folder: read_table(folder / "manifest.csv", ["stem", "width"]),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    "damage", [empty, zeros, lose, holding("name\nx\n"), holding("stem,width\n1,2,3\n1\n"), holding("\ud7ff\x00,,\n")]
)
def test_tables(damage: Damage, name: str, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_table(tmp_path / f"{split}.csv", pd.DataFrame({"stem": ["1", "2"]}))
    write_table(tmp_path / "photos.csv", pd.DataFrame({"stem": ["1"], "labelled": [1], "kept": [1], "reason": [""]}))
    write_table(tmp_path / "manifest.csv", pd.DataFrame({"stem": ["1", "2"], "width": [5, 6]}))
    TABLES[name](tmp_path)
    damage(tmp_path / name)
    one_line(tmp_path / name, lambda: TABLES[name](tmp_path))


def test_a_table_cut_inside_a_row(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    write_table(path, pd.DataFrame({"stem": ["1", "2"], "width": [5, 6], "height": [7, 8]}))
    path.write_text(path.read_text().removesuffix(",6,8\n"))
    one_line(path, lambda: read_table(path, ["stem", "width"]))


@pytest.mark.parametrize("name", ["filter", "iou", "train", "audit"])
@pytest.mark.parametrize("damage", [cut, empty, zeros, holding("[]"), holding('"text"')])
def test_metrics(damage: Damage, name: str, tmp_path: Path) -> None:
    root, name = write_finished(tmp_path), f"metrics/{name}.json"
    read_results(root, BACKENDS)
    if not (root / name).exists():
        (root / name).write_text("{}")
    damage(root / name)
    one_line(root / name, lambda: read_results(root, BACKENDS))


@pytest.mark.parametrize("damage", [cut, empty, zeros, lose])
def test_facts_of_the_export(damage: Damage, tmp_path: Path) -> None:
    path = tmp_path / "metrics/export.json"
    write_json(path, {"artifacts": {}})
    damage(path)
    one_line(path, lambda: benchmark_project(tmp_path, "pytorch_fp32", {}))


# --- what people wrote

HEAD = "stem,category,defects,reviewer,note\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no column"),
        (b"\x00\x01\x02", "no column|not a readable"),
        (b"stem,kind\n1,2\n", "no column category"),
        (HEAD.encode() + b"1,4,,,\n", "category '4'"),
        (HEAD.encode() + b"1,,,,\n", "category ''"),
        (HEAD.encode() + b"1,1.0,,,\n", "category '1.0'"),
        (HEAD.encode() + b"9,1,,,\n", "no mask has the stem '9'"),
        (HEAD.encode() + b"1,1,,,\n1,2,,,\n", "already on line 2"),
        (HEAD.encode() + b'1,1,,,"never closed\n2,1,,,\n', "unexpected end of data"),
        (HEAD.encode() + b"1\n", "category ''"),
        (HEAD.encode() + b"\xff\xfe,1,,,\n", "not a readable UTF-8"),
        (HEAD.encode("utf-16"), "not a readable UTF-8"),
        (HEAD.encode() + b"1,1,,," + b"x" * 200_000 + b"\n", "not a readable"),
    ],
)
def test_reviewed_categories(text: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(text)
    assert re.search(words, one_line(path, lambda: read_categories(path, ["1", "2"])))


@pytest.mark.parametrize("damage", [cut, empty, zeros, lose], ids=named)
def test_a_zip_that_is_the_source(damage: Damage, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "pairs"), "zip", Path("tests/faults"))
    path = tmp_path / "pairs.zip"
    damage(path)
    one_line(path, lambda: describe_source(str(path), None))


@pytest.mark.parametrize("damage", [empty, zeros, holding("stages: []"), holding("a: &a [*a]"), holding("- 1"), lose])
def test_lock_file(damage: Damage, tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text("stages: {}")
    damage(path)
    one_line(path, lambda: fingerprint(path))


# --- the state of a training


def keep_state(folder: Path, mark: str = "a") -> None:
    """Leave what a training that was killed leaves."""
    with pytest.raises(KeyboardInterrupt), resume_folder(folder, mark) as state:
        for name in ("best.ckpt", "last.ckpt"):
            torch.save({"epoch": 3, "weights": torch.rand(1000)}, state / name)
        raise KeyboardInterrupt


STATES: dict[str, Damage] = {
    **{f"{name}: {damage.__name__}": lambda folder, name=name, damage=damage: damage(folder / name)
       for name in ("best.ckpt", "last.ckpt") for damage in (cut, flip, empty, zeros)},
    "best.ckpt: lose": lambda folder: lose(folder / "best.ckpt"),
    **{f"fingerprint: {damage.__name__}": lambda folder, damage=damage: damage(folder / "fingerprint.json")
       for damage in (cut, empty, zeros, lose)},
    "fingerprint: not text": lambda folder: (folder / "fingerprint.json").write_bytes(b"\xff\xfe\xff"),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_damaged_state_is_thrown_away(name: str, tmp_path: Path) -> None:
    folder = tmp_path / ".resume/train"
    keep_state(folder)
    with pytest.raises(KeyboardInterrupt), resume_folder(folder, "a") as state:
        assert {path.name for path in state.glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}, "whole state is kept"
        raise KeyboardInterrupt
    STATES[name](folder)
    with resume_folder(folder, "a") as state:
        assert [path.name for path in state.iterdir()] == ["fingerprint.json"]
    assert not folder.exists()


def test_state_of_a_moved_project_is_thrown_away(tmp_path: Path) -> None:
    keep_state(tmp_path / "one/.resume/train")
    (tmp_path / "one").rename(tmp_path / "two")
    with resume_folder(tmp_path / "two/.resume/train", "a") as state:
        assert not list(state.glob("*.ckpt")), "a checkpoint holds the path of the best one, which is gone"


# --- MLflow's database


def sql(*statements: str) -> Damage:
    def run(path: Path) -> None:
        with sqlite3.connect(path) as database:
            for statement in statements:
                database.execute(statement)
        database.close()

    return run


DATABASES: dict[str, tuple[Damage, str]] = {
    "older": (sql("update alembic_version set version_num = '451aebb31d03'"), "mlflow db upgrade"),
    "newer": (sql("update alembic_version set version_num = 'ffffffffffff'"), "another version of MLflow"),
    "of no version": (sql("drop table alembic_version"), "another version of MLflow"),
    "without its table of runs": (sql("drop table runs"), "no such"),
    "cut": (cut, "malformed|not a database"),
    "zeros": (zeros, "not a database|malformed"),
    "text": (holding("not a database" * 100), "not a database"),
}


@pytest.mark.parametrize("name", DATABASES)
def test_database(name: str, project: Path) -> None:
    damage, words = DATABASES[name]
    damage(project / "mlflow.db")
    assert re.search(words, one_line(project / "mlflow.db", lambda: track(project, PARAMS, BACKENDS, INFO)))


@pytest.mark.parametrize("damage", [lose, empty], ids=named)
def test_a_lost_database_is_made_anew(damage: Damage, project: Path) -> None:
    damage(project / "mlflow.db")
    assert track(project, PARAMS, BACKENDS, INFO)[1]


def test_damaged_json_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"iou": 0.5')
    one_line(tmp_path / "a.json", lambda: read_json(tmp_path / "a.json"))
