"""Masks by Spark: rows, restart, kill, sizes far apart. One session of two cores for all but the killed run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
import pytest

from personseg import rle, spark
from personseg.errors import UserError
from personseg.rows import DONE, photo_row
from personseg.segmenter import Segmenter
from personseg.spark import Job, deal, list_photos, model_on_every_node, read_done, read_photos, segment, spark_session
from personseg.table_model import save_table_model
from tests.scale.model import model, save, write_photos

__all__ = ["model"]  # a fixture
pytest.importorskip("pyspark", reason="PySpark is missing: make scale installs it")
needs_java = pytest.mark.skipif(
    not (shutil.which("java") or os.environ.get("JAVA_HOME")), reason="Java is missing: Spark needs 17 or newer"
)


def rows(out: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(out.glob("*.parquet")) for row in pq.read_table(part).to_pylist()]


@pytest.fixture(scope="module")
def ready(model: Path) -> Iterator[tuple[Any, str, Job]]:
    """A session whose workers have the model; its sha256; a job to change."""
    job = Job("", "", str(model), "local[2]", runtime="pytorch_fp32")
    with spark_session(job) as session, model_on_every_node(session, job) as sha256:
        yield session, sha256, job


@needs_java
def test_every_photo_has_a_row_and_a_second_run_does_what_is_missing(
    ready: tuple[Any, str, Job], model: Path, tmp_path: Path
) -> None:
    session, sha256, job = ready
    photos, out = tmp_path / "photos", tmp_path / "out"
    names = ["_DSC1.jpg", "a b ü.jpg", "one.jpg", "two.jpg"]
    write_photos(photos, names)
    (photos / "bad.jpg").write_text("no photo")
    (photos / "film.mp4").write_text("no photo either")
    job = Job(str(photos), str(out), job.model, job.master, runtime=job.runtime)
    done = segment(session, job, sha256)
    assert (done.photos, done.failed, done.skipped) == (5, 1, 0)
    assert done.reasons == [f"{photos / 'bad.jpg'}: not a readable image"]

    found = {row["path"]: row for row in rows(out)}
    assert set(found) == {str(photos / name) for name in [*names, "bad.jpg"]}
    segmenter = Segmenter.load(model, "pytorch_fp32", 1)
    for name in names:
        row, mask = found[str(photos / name)], segmenter.predict(photos / name).mask
        assert row["status"] == DONE and (row["height"], row["width"]) == mask.shape and row["rle"] == rle.encode(mask)
        assert row["model"] == sha256
    assert found[str(photos / "bad.jpg")]["rle"] is None

    before = {part: part.stat().st_mtime_ns for part in out.glob("*.parquet")}
    write_photos(photos, ["three.jpg"])
    done = segment(session, job, sha256)
    assert (done.photos, done.skipped) == (1, 5) and len(rows(out)) == 6
    assert {part: part.stat().st_mtime_ns for part in before} == before
    assert segment(session, job, sha256).photos == 0
    with pytest.raises(UserError, match="holds masks of another model"):
        read_done(session, str(out), "0" * 64)


@needs_java
def test_mlflows_own_udf_applies_the_model_to_bytes(ready: tuple[Any, str, Job], model: Path, tmp_path: Path) -> None:
    session, *_ = ready
    photos = write_photos(tmp_path / "photos", ["a.jpg", "b.jpg", "c.jpg"])
    (tmp_path / "photos/bad.jpg").write_text("no photo")
    save_table_model(model, tmp_path / "stored", {"runtime": "pytorch_fp32", "threads": 1})
    from pyspark.sql.functions import struct

    kinds = "status string, reason string, height double, width double, rle string, model string"
    udf = mlflow.pyfunc.spark_udf(session, str(tmp_path / "stored"), result_type=kinds, env_manager="local")
    given = [(path.name, path.read_bytes()) for path in [*photos, tmp_path / "photos/bad.jpg"]]
    table = session.createDataFrame(given, "name string, photo binary").select(
        "name", udf(struct("photo")).alias("row")
    )
    found = {row["name"]: row for row in table.select("name", "row.*").collect()}
    alone = Segmenter.load(model, "pytorch_fp32", 1)
    for path in photos:
        expected = photo_row(alone, str(path))
        del expected["reason"]
        assert {name: found[path.name][name] for name in expected} == expected
    bad = found["bad.jpg"]
    assert (bad["status"], bad["reason"], bad["height"]) == ("failed", "not a readable image", None)


@needs_java
def test_a_table_of_paths_will_do(ready: tuple[Any, str, Job], tmp_path: Path) -> None:
    session, _, job = ready
    (tmp_path / "paths.csv").write_text("path,bytes\n/a.jpg,5\n/b c.jpg,\n/a.jpg,5\n")
    found = read_photos(session, Job(str(tmp_path / "paths.csv"), "", job.model)).collect()
    assert sorted((row.path, row.bytes) for row in found) == [("/a.jpg", 5), ("/b c.jpg", 0)]
    (tmp_path / "other.csv").write_text("name\nx\n")
    for name in ("other.csv", "none.parquet"):
        with pytest.raises(UserError, match=f"{name}: no table with a column `path`"):
            read_photos(session, Job(str(tmp_path / name), "", job.model))
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong/x.parquet").write_text("no Parquet")
    with pytest.raises(UserError, match="not a folder of Parquet"):
        read_done(session, str(tmp_path / "wrong"), "")


@needs_java
def test_partitions_cost_alike_however_far_sizes_are_apart(ready: tuple[Any, str, Job]) -> None:
    session = ready[0]
    sizes = [60_000_000] * 9 + [2_000_000] * 90 + [20_000] * 400
    table = session.createDataFrame(
        [(f"/{number}.jpg", size) for number, size in enumerate(sizes)], "path string, bytes long"
    )
    dealt, number = deal(table, 2)
    parts = dealt.rdd.glom().map(lambda part: [row.path for row in part]).collect()
    assert number == len(sizes) == sum(map(len, parts)) and len(parts) == 8
    costs = [sum(sizes[int(path[1:-4])] + spark.OVERHEAD for path in part) for part in parts]
    assert max(costs) - min(costs) <= max(sizes) + spark.OVERHEAD
    assert len({path for part in parts for path in part}) == len(sizes)


def killed_midway(command: list[str], out: Path) -> None:
    """Run the command and kill all its processes when the first partition is there."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not list(out.glob("*.parquet")):
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@needs_java
def test_a_killed_run_keeps_whole_partitions_and_goes_on(
    ready: tuple[Any, str, Job], model: Path, tmp_path: Path
) -> None:
    session, sha256, job = ready
    photos, out = tmp_path / "photos", tmp_path / "out"
    drawn = write_photos(photos, ["0.jpg"], 1600)[0]
    for number in range(1, 64):
        shutil.copy(drawn, photos / f"{number}.jpg")
    options = ["--model", str(model), "--master", "local[2]", "--runtime", "pytorch_fp32"]
    killed_midway([sys.executable, "-m", "personseg.spark", str(photos), str(out), *options], out)
    left = rows(out)  # every file can be read
    assert 0 < len(left) < 64 and len({row["path"] for row in left}) == len(left)
    done = segment(session, Job(str(photos), str(out), job.model, job.master, runtime=job.runtime), sha256)
    found = rows(out)
    assert done.skipped == len(left) and done.photos == 64 - len(left)
    assert len(found) == len({row["path"] for row in found}) == 64
    assert not (out / "_temporary").exists()


def test_faults_of_the_user_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.mp4").write_text("x")
    with pytest.raises(UserError, match="no photos in it"):
        list_photos(str(tmp_path), False, str(tmp_path / "out"))
    with pytest.raises(SystemExit):
        spark.main([str(tmp_path), "out", "--conf", "x"])
    assert capsys.readouterr().err == "error: --conf x: say NAME=VALUE\n"
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UserError, match="Java is missing"), spark_session(Job("a", "b")):
        pass
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(UserError, match=r"requirements-scale\.txt"), spark_session(Job("a", "b")):
        pass


def test_another_models_masks_are_another_sha256(tmp_path: Path, model: Path) -> None:
    from personseg.model_config import read_config

    assert read_config(save(tmp_path / "person", 1)).sha256 != read_config(model).sha256
