"""Masks for millions of photos: paths in, Parquet of run-length codes out, on Apache Spark.

    python -m personseg.spark PHOTOS OUT [--model models/person] [--master local[2]] [--recursive]

PHOTOS is a folder or pattern, or a table (.parquet or .csv) with a column `path` and, if known, `bytes`; OUT a folder
of Parquet. It needs the packages of requirements-scale.txt and Java 17 or newer. On a cluster the master's URL is
another, paths are such as every node can open, and nodes have the packages of requirements.txt; model and code come by
Spark.

Run again, it does what is missing. A partition's file appears in OUT whole, when the partition is done.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import personseg
from personseg.errors import UserError, one_line_errors
from personseg.inputs import VIDEO_SUFFIXES, search
from personseg.model_config import read_config
from personseg.rows import DONE, FAILED
from personseg.spark_worker import MODEL, apply_model
from personseg.table_model import model_folder, save_table_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SCHEMA = "path string, status string, reason string, height int, width int, rle string, model string"
LOOPBACK = "127.0.0.1"
TABLES = (".parquet", ".csv")
# What a photo costs, in bytes: its own, and as many as are decoded in the time the network takes.
OVERHEAD = 300_000
PARTITION = 256_000_000  # cost of a partition: some 15 s of one core, which is what a kill may lose
PARTITIONS_A_CORE = 4  # at least, so that a slow one is not waited for
REASONS = 5  # of failed photos, told at the end; all are in the table
ROWS_AT_ONCE = 32  # paths handed to a worker, and rows held by it, at a time


@dataclass(frozen=True)
class Job:
    """What to do: see `python -m personseg.spark --help`."""

    photos: str
    out: str
    model: str = "models/person"
    master: str = "local[*]"
    recursive: bool = False
    runtime: str = "auto"
    max_pixels: int = 0
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """What a run did: `photos` written, of which `failed`; `skipped` were there; `seconds` of the work itself."""

    photos: int
    failed: int
    skipped: int
    seconds: float
    reasons: list[str]


@contextmanager
def spark_session(job: Job) -> Iterator[SparkSession]:
    """A Spark session that is stopped at the end; UserError if PySpark or Java is missing, or it cannot start."""
    try:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise UserError("PySpark is missing: pip install -r requirements-scale.txt") from None
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        raise UserError("Java is missing: Spark needs version 17 or newer on the PATH, or JAVA_HOME")
    # PySpark 4.3 does not vouch for pandas 3; tables go through Arrow, and pandas is the model's affair.
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas", category=FutureWarning)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if job.master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", LOOPBACK)
    builder = SparkSession.builder.appName("personseg").master(job.master)
    for name, value in (_settings(job.master) | job.settings).items():
        builder = builder.config(name, value)
    try:
        spark = builder.getOrCreate()
    except (PySparkException, Py4JError, RuntimeError) as error:
        raise UserError(f"Spark did not start at {job.master}: {str(error).splitlines()[0]}") from None
    try:
        yield spark
    finally:
        spark.stop()


def _settings(master: str) -> dict[str, str]:
    settings = {
        # A task's file moves to OUT when the task is done, not when all are: what a kill finds there is whole.
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(ROWS_AT_ONCE),
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower(),
        # A second try of a task would write the same rows twice if both came through.
        "spark.speculation": "false",
        "spark.log.level": "ERROR",
    }
    if master.startswith("local"):  # nobody else is to reach it; Spark would listen on every address
        settings |= {"spark.driver.host": LOOPBACK, "spark.driver.bindAddress": LOOPBACK}
        settings["spark.ui.enabled"] = "false"
    return settings


def list_photos(given: str, recursive: bool, out: str) -> list[tuple[str, int]]:
    """Absolute path and bytes of each photo of a folder or pattern, no videos; UserError if there is none."""
    # Not Spark's own listing: it leaves out names that begin with `_`, as cameras give them.
    found = {
        str(path.absolute()): path.stat().st_size
        for path, _ in search([given], recursive, Path(out))
        if path.suffix.lower() not in VIDEO_SUFFIXES
    }
    if not found:
        raise UserError(f"{given}: no photos in it")
    return list(found.items())


def read_photos(spark: SparkSession, job: Job) -> DataFrame:
    """The table of photos, each once: `path`, and `bytes` (0 where nobody said). UserError if it has no paths."""
    from pyspark.errors import AnalysisException
    from pyspark.sql import functions as F

    if not job.photos.endswith(TABLES):
        import pyarrow as pa

        paths, sizes = zip(*list_photos(job.photos, job.recursive, job.out), strict=True)
        return spark.createDataFrame(pa.table({"path": pa.array(paths), "bytes": pa.array(sizes, pa.int64())}))
    try:
        read = spark.read.parquet if job.photos.endswith(".parquet") else spark.read.option("header", True).csv
        table = read(job.photos)
        sizes = F.col("bytes").cast("long") if "bytes" in table.columns else F.lit(0).cast("long")
        return table.select("path", F.coalesce(sizes, F.lit(0)).alias("bytes")).dropna().dropDuplicates(["path"])
    except AnalysisException as error:
        raise UserError(f"{job.photos}: no table with a column `path`: {str(error).splitlines()[0]}") from None


def read_done(spark: SparkSession, out: str, sha256: str) -> DataFrame | None:
    """Paths that OUT has rows of; None if it has none. UserError if any were made with another model."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as F

    try:
        rows = spark.read.schema(SCHEMA).parquet(out)
        other = rows.filter(F.col("model") != sha256).select("model").limit(1).collect()
    except (PySparkException, Py4JJavaError) as error:
        if "PATH_NOT_FOUND" in str(error):
            return None
        # PySpark passes some faults of Java's on as they are.
        said = error.java_exception.getMessage() if isinstance(error, Py4JJavaError) else str(error)
        raise UserError(f"{out}: not a folder of Parquet: {said.splitlines()[0]}") from None
    if other:
        raise UserError(f"{out} holds masks of another model ({other[0].model[:12]}); give another folder")
    return rows.select("path")


def deal(photos: DataFrame, cores: int) -> tuple[DataFrame, int]:
    """Deal photos out to partitions of like cost, as cards are dealt: the dearest first, one to each in turn.

    So a folder of small photos with some huge ones among them has no partition that the others wait for. Returns the
    table and the number of photos.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    cost = F.col("bytes") + OVERHEAD
    number, total = photos.select(F.count("path"), F.coalesce(F.sum(cost), F.lit(0))).collect()[0]
    partitions = min(max(1, number), max(PARTITIONS_A_CORE * cores, math.ceil(total / PARTITION)))
    # The window is one sort in one place: seconds for a million rows of path and size.
    turn = F.row_number().over(Window.orderBy(F.desc("bytes"), "path"))
    return photos.withColumn("turn", turn).repartitionById(partitions, F.col("turn")).select("path"), number


@contextmanager
def model_on_every_node(spark: SparkSession, job: Job) -> Iterator[str]:
    """Hand model and code to Spark, which brings them to every node; give the sha256 of the model's weights."""
    with tempfile.TemporaryDirectory(prefix="personseg-") as place:
        folder = model_folder(job.model, Path(place) / "fetched")
        config = read_config(folder)
        # A worker process is a core, unless Spark gives a task several.
        threads = int(spark.conf.get("spark.task.cpus", "1") or 1)
        settings = {"runtime": job.runtime, "threads": threads, "max_pixels": job.max_pixels}
        save_table_model(folder, Path(place) / MODEL, settings)
        context = spark.sparkContext
        archive = shutil.make_archive(str(Path(place) / MODEL), "tar", place, MODEL)  # weights do not compress
        context.addArchive(f"{archive}#{MODEL}")
        package = Path(personseg.__file__).parent
        context.addPyFile(shutil.make_archive(str(Path(place) / "personseg-code"), "zip", package.parent, package.name))
        yield config.sha256


def run(job: Job) -> Done:
    """Do what is missing of the job. UserError says what stands against it; a fault of Spark's own goes through."""
    with spark_session(job) as spark, model_on_every_node(spark, job) as sha256:
        return segment(spark, job, sha256)


def segment(spark: SparkSession, job: Job, sha256: str) -> Done:
    """The work itself, in a session whose nodes have the model."""
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    start = time.monotonic()
    photos = read_photos(spark, job)
    done = read_done(spark, job.out, sha256)
    known = photos.count()
    if done is not None:
        photos = photos.join(done, "path", "left_anti")
    dealt, number = deal(photos, spark.sparkContext.defaultParallelism)
    skipped = known - number
    if number == 0:
        return Done(0, 0, skipped, time.monotonic() - start, [])
    seen = Observation("photos")
    failed = F.col("status") != DONE
    rows = dealt.mapInArrow(apply_model, SCHEMA).observe(
        seen, F.count("path").alias("photos"), F.count_if(failed).alias("failed")
    )
    rows.write.mode("append").parquet(job.out)
    seconds = time.monotonic() - start
    counts = seen.get
    told = first_reasons(spark, job.out, REASONS) if counts["failed"] else []
    return Done(counts["photos"], counts["failed"], skipped, seconds, told)


def first_reasons(spark: SparkSession, out: str, most: int) -> list[str]:
    """The first few photos that failed, and why."""
    rows = spark.read.schema(SCHEMA).parquet(out).filter(f"status = '{FAILED}'").limit(most).collect()
    return [f"{row.path}: {row.reason}" for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", help="folder, pattern, or a .parquet or .csv with a column `path`")
    parser.add_argument("out", help="folder of Parquet to write or to go on with")
    parser.add_argument("--model", default="models/person", help="folder of the model, or models:/NAME@best of MLflow")
    parser.add_argument("--master", default="local[*]", help="Spark's: local[2], spark://HOST:7077, yarn, k8s://...")
    parser.add_argument("--recursive", action="store_true", help="folders with all below them")
    parser.add_argument("--runtime", default="auto", help="backend, or auto: the quickest here but for int8")
    parser.add_argument("--max-pixels", type=int, default=0, help="larger photos become rows with that reason")
    parser.add_argument("--conf", action="append", default=[], metavar="NAME=VALUE", help="a setting of Spark's")
    given = parser.parse_args(arguments)
    with one_line_errors():
        pairs: list[Any] = [setting.partition("=") for setting in given.conf]
        if wrong := [name for name, equals, _ in pairs if not equals]:
            raise UserError(f"--conf {wrong[0]}: say NAME=VALUE")
        settings = {name: value for name, _, value in pairs}
        options = {name: value for name, value in vars(given).items() if name != "conf"}
        job = Job(**options, settings=settings)
        done = run(job)
    if done.skipped:
        print(f"{done.skipped} done before, skipped", file=sys.stderr)
    rate = done.photos / max(done.seconds, 1e-3)
    for reason in done.reasons:
        print(f"failed: {reason}", file=sys.stderr)
    print(
        f"{done.photos} rows written to {given.out} in {done.seconds:.1f} s ({rate:.2g} img/s), {done.failed} failed",
        file=sys.stderr,
    )
    sys.exit(1 if done.failed else 0)


if __name__ == "__main__":
    # The functions that workers run are found by the module's own name, not `__main__`.
    from personseg import spark

    spark.main()
