"""benchmark: time one backend, named on the command line, and score it on test."""

import sys
from pathlib import Path

from personseg.benchmark import benchmark_project
from personseg.errors import UserError
from personseg.files import write_json, write_table
from stages.common import Params, run


def main(params: Params) -> None:
    if len(sys.argv) != 3 or sys.argv[1] != "--backend":
        raise UserError("usage: python -m stages.benchmark --backend NAME, one of benchmark.backends in params.yaml")
    name = sys.argv[2]
    row, timings = benchmark_project(Path(), name, params.benchmark.model_dump())
    write_table(f"plots/benchmark/{name}.csv", timings)
    write_json(f"metrics/benchmark/{name}.json", row)
    print(row["reason"] if row["status"] == "unavailable" else f"{name}: median {row['p50_s'] * 1e3:.2f} ms")


if __name__ == "__main__":
    run(main)
