"""What every Spark worker process does: rows of photos in, rows of masks out. The driver's part is in `spark.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

MODEL = "personseg-model"  # the archive of the model, the folder it is unpacked to on every node, and the one in that
TEXT, PIXELS = pa.string(), pa.int32()
KINDS = {"path": TEXT, "status": TEXT, "reason": TEXT, "height": PIXELS, "width": PIXELS, "rle": TEXT, "model": TEXT}


@cache
def load_here(folder: str) -> Any:
    """The model, loaded once for a worker process: Spark lets the process do one partition after the other."""
    from mlflow import pyfunc

    return pyfunc.load_model(folder)


# Not `mlflow.pyfunc.spark_udf`: with a local master it loads the model anew for every partition, on a cluster it drops
# `model_config` and with it the number of threads, and of a struct it can leave no integer empty, such as the height of
# a photo that cannot be read (MLflow 3.17). And not `mapInPandas`: PySpark 4.3 does not vouch for pandas 3.
def apply_model(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """For `mapInArrow`: batches with a column `path` in, batches of `path` and the model's columns (KINDS) out."""
    from pyspark import SparkFiles

    folder = str(Path(SparkFiles.get(MODEL)) / MODEL)
    for batch in batches:
        if batch.num_rows:
            paths = batch.select(["path"]).to_pandas()
            found = load_here(folder).predict(paths)
            rows = found.assign(path=paths["path"].to_numpy())
            yield pa.RecordBatch.from_pandas(rows, pa.schema(list(KINDS.items())), preserve_index=False)
