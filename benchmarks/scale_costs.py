"""What masks of a thousand to a billion photos cost, by measured throughput; and the tables of docs/scale.md.

    python -m benchmarks.scale_costs [--results results]

Reads results/spark.json (photos as they are) and results/spark_large.json (photos of a phone's size), both made by
`benchmarks.spark`, and results/serving.json; writes results/scale_costs.csv.
On paper means: photos divided by measured photos a second and core; a cluster is taken to keep EFFICIENCY of that.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import markdown
from personseg.errors import one_line_errors
from personseg.files import read_json, write_table
from personseg.spark import OVERHEAD, PARTITION

POWERS = range(3, 10)
HOURS = 8  # a night, for which the cores of a cluster are counted
EFFICIENCY = 0.8  # of a cluster: what stragglers, retries and the network leave of the cores; assumed, not measured
SPARK, LARGE, SERVING = "spark.json", "spark_large.json", "serving.json"
DAY, YEAR = 24, 8766  # hours


def hours(figures: dict[str, Any], photos: int) -> float:
    """Hours for so many photos on the machine that was measured, start of Spark included."""
    spark = figures["spark"]
    return float(spark["start_s"] + photos / spark["photos_per_s"]) / 3600


def cost(small: dict[str, Any], large: dict[str, Any], photos: int) -> dict[str, Any]:
    """One row: so many photos. Figures of cores, bytes and partitions are of large photos."""
    core_hours = photos * large["cores"] / large["spark"]["photos_per_s"] / 3600
    read = photos * large["mean_photo_bytes"]
    return {
        "photos": photos,
        "small_hours": hours(small, photos),
        "large_hours": hours(large, photos),
        "large_core_hours": core_hours,
        "cores_for_a_night": math.ceil(core_hours / HOURS / EFFICIENCY),
        "read_gigabytes": read / 1e9,
        "read_gigabytes_per_s": read / 1e9 / HOURS / 3600,
        "written_gigabytes": photos * large["mean_row_bytes"] / 1e9,
        "listing_hours": photos / large["listed_per_s"] / 3600,
        "partitions": math.ceil(photos * (large["mean_photo_bytes"] + OVERHEAD) / PARTITION),
    }


def number(value: float) -> str:
    """Two significant digits, thousands apart, no exponent."""
    if value == 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, 1 - math.floor(math.log10(abs(value))))
    return f"{rounded:,.{digits}f}".replace(",", " ")


def duration(value: float) -> str:
    """Hours as a person would say them."""
    for unit, size in (("s", 1 / 3600), ("min", 1 / 60), ("h", 1.0), ("days", DAY), ("years", YEAR)):
        following = {"s": 1 / 60, "min": 2.0, "h": 2 * DAY, "days": YEAR}.get(unit, math.inf)
        if value < following:
            return f"{number(value / size)} {unit}"
    raise AssertionError


def costs_table(rows: pd.DataFrame) -> str:
    """The rows as Markdown."""
    head = ["photos", "small photos, measured machine", "12 MP, measured machine", "12 MP, core-hours"]
    head += ["cores for a night", "read", "a second of that night", "written", "listing by one process", "partitions"]
    cells = [
        [
            f"{int(row['photos']):,}".replace(",", " "),
            duration(row["small_hours"]),
            duration(row["large_hours"]),
            number(row["large_core_hours"]),
            number(row["cores_for_a_night"]),
            f"{number(row['read_gigabytes'])} GB",
            f"{number(row['read_gigabytes_per_s'])} GB",
            f"{number(row['written_gigabytes'])} GB",
            duration(row["listing_hours"]),
            number(row["partitions"]),
        ]
        for row in rows.to_dict("records")
    ]
    return markdown.table(head, cells, left=())


def spark_table(small: dict[str, Any], large: dict[str, Any]) -> str:
    """Throughput beside `personseg predict`, as Markdown."""
    head = ["photos", "Spark, photos / s", "personseg predict, photos / s", "ratio", "start of Spark"]
    head += ["memory of Spark", "masks that differ"]
    cells = [
        [
            f"{found['photos']} {name}, {number(found['mean_photo_bytes'] / 1e3)} KB each",
            number(found["spark"]["photos_per_s"]),
            number(found["predict"]["photos_per_s"]),
            f"{found['ratio']:.2f}",
            f"{number(found['spark']['start_s'])} s",
            f"{number(found['spark']['peak_bytes'] / 1e6)} MB",
            found["masks_that_differ"],
        ]
        for name, found in (("small", small), ("12 MP", large))
    ]
    return markdown.table(head, cells)


def serving_table(found: dict[str, Any]) -> str:
    """Load of the server as Markdown."""
    titles = {"one_client": "1 client, `/mask`", "mask": f"{found['clients']} clients, `/mask`"}
    titles["batch"] = f"{found['clients']} clients, `/batch` of {found['batch']['photos_a_request']}"
    cells = [
        [
            title,
            number(found[name]["photos_per_s"]),
            *(f"{number(1e3 * found[name][key])} ms" for key in ("p50_s", "p95_s", "p99_s")),
            found[name]["requests"],
            found[name]["errors"],
        ]
        for name, title in titles.items()
    ]
    return markdown.table(["load", "photos / s", "p50", "p95", "p99", "requests", "failed"], cells)


def tables(results: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """The rows of costs, and the tables of the page by the name of their mark."""
    small, large, serving = (read_json(results / name) for name in (SPARK, LARGE, SERVING))
    rows = pd.DataFrame([cost(small, large, 10**power) for power in POWERS])
    return rows, {
        "spark": spark_table(small, large),
        "serving": serving_table(serving),
        "costs": costs_table(rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    with one_line_errors():
        rows, made = tables(arguments.results)
        write_table(arguments.results / "scale_costs.csv", rows)
    print(made["costs"])


if __name__ == "__main__":
    main()
