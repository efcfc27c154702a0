"""teach: a finished model's soft masks for the training, if params name one."""

from pathlib import Path

from personseg.sources import resolve
from personseg.splits import read_split
from personseg.teaching import teach
from stages.common import Params, run


def main(params: Params) -> None:
    section = params.teacher
    teach(
        section.model and resolve(section.model),
        read_split(Path("data/splits")),
        Path("data/clean"),
        Path("data/raw/unlabelled"),
        Path("data/taught"),
        params.convert.jpeg_quality,
        round(params.convert.max_megapixels * 1e6),
        params.split.hash_distance,
        section.workers,
    )


if __name__ == "__main__":
    run(main)
