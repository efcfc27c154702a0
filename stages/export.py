"""export: the finished model as ONNX, OpenVINO and TensorRT, int8 calibrated on training photos."""

from pathlib import Path

from personseg.export import evenly_spaced, export
from personseg.files import write_json
from personseg.splits import read_split
from stages.common import Params, run


def main(params: Params) -> None:
    section = params.export
    stems = evenly_spaced(read_split(Path("data/splits"))["train"], section.calibration_images)
    photos = [Path("data/clean/images") / f"{stem}.jpg" for stem in stems]
    facts = export(Path("models/person"), Path("models/export"), photos, section.threads)
    write_json("metrics/export.json", facts)


if __name__ == "__main__":
    run(main)
