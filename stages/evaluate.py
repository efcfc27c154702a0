"""evaluate: score train, val and test with the finished model."""

from pathlib import Path

from personseg.evaluation import evaluate
from personseg.files import write_json
from personseg.splits import read_split
from stages.common import Params, run


def main(params: Params) -> None:
    section = params.evaluate
    table = evaluate(
        Path("models/person"),
        Path("data/clean"),
        read_split(Path("data/splits")),
        Path("data/evaluation"),
        section.overlays,
        section.bootstrap,
        section.seed,
    )
    write_json("metrics/iou.json", table)


if __name__ == "__main__":
    run(main)
