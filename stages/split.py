"""split: deal the clean pairs into train, val and test."""

from pathlib import Path

from personseg.files import write_json
from personseg.splitting import split
from stages.common import Params, run


def main(params: Params) -> None:
    section = params.split
    counts = split(
        Path("data/clean"),
        Path("data/splits"),
        section.val_fraction,
        section.test_fraction,
        section.hash_distance,
        section.seed,
        section.workers,
    )
    write_json("metrics/split.json", counts)


if __name__ == "__main__":
    run(main)
