"""calibrate: choose threshold and post-processing on val, and write the complete model, flip average and all."""

from pathlib import Path

from personseg.calibrate import calibrate
from personseg.files import write_json
from personseg.splits import read_split
from stages.common import Params, run


def main(params: Params) -> None:
    chosen = calibrate(
        Path("models/trained"),
        Path("models/person"),
        Path("data/clean"),
        read_split(Path("data/splits"))["val"],
        params.calibrate.min_object,
        params.calibrate.min_hole,
        params.calibrate.flip_average,
    )
    write_json("metrics/calibrate.json", chosen)


if __name__ == "__main__":
    run(main)
