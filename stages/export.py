"""export: the finished model as ONNX, OpenVINO and TensorRT, int8 calibrated on training photos and checked on val."""

from pathlib import Path

from personseg.export import evenly_spaced, export
from personseg.files import write_json
from personseg.splits import read_split
from stages.common import Params, run


def main(params: Params) -> None:
    section, split = params.export, read_split(Path("data/splits"))
    images, masks = Path("data/clean/images"), Path("data/clean/masks")
    photos = [images / f"{stem}.jpg" for stem in evenly_spaced(split["train"], section.calibration_images)]
    val = [(images / f"{stem}.jpg", masks / f"{stem}.jpg") for stem in split["val"]]
    facts = export(Path("models/person"), Path("models/export"), photos, val, section.max_iou_drop, section.threads)
    write_json("metrics/export.json", facts)


if __name__ == "__main__":
    run(main)
