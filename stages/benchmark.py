"""benchmark: time one backend, named on the command line, and score it on test."""

import sys
from pathlib import Path

from personseg.benchmark import Protocol, benchmark
from personseg.errors import UserError
from personseg.files import read_json, write_json, write_table
from personseg.splits import read_split
from stages.common import Params, run

CLEAN = Path("data/clean")


def main(params: Params) -> None:
    if len(sys.argv) != 2:
        raise UserError("usage: python -m stages.benchmark BACKEND, one of benchmark.backends in params.yaml")
    name = sys.argv[1]
    stems = read_split(Path("data/splits"))["test"]
    row, timings = benchmark(
        name,
        Path("models/person"),
        Path("models/export"),
        read_json("metrics/export.json"),
        [(CLEAN / "images" / f"{stem}.jpg", CLEAN / "masks" / f"{stem}.jpg") for stem in stems],
        Protocol(**params.benchmark.model_dump(exclude={"backends"})),
    )
    write_table(f"plots/benchmark/{name}.csv", timings)
    write_json(f"metrics/benchmark/{name}.json", row)
    print(row["reason"] if row["status"] == "unavailable" else f"{name}: median {row['p50_s'] * 1e3:.2f} ms")


if __name__ == "__main__":
    run(main)
