"""What other encoders, decoders and input sizes take: untrained networks in int8 on OpenVINO, side by side.

    python -m benchmarks.structure [--only NAME ...] [--out results/picsart/structure.csv]

Run it after `dvc repro`, on an otherwise idle machine. Each network is that of section model with one thing changed,
quantised on training photos as stage export does, whatever that costs: weights are those of ImageNet or random, and
only the time means anything. Timed as stage benchmark does, batch 1, all in rounds, so that what slows the machine
for a while slows all alike.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from personseg.benchmark import Protocol, in_rounds, summarise, time_runs
from personseg.errors import UserError, one_line_errors
from personseg.export import evenly_spaced, save_onnx, to_onnx
from personseg.files import write_table
from personseg.geometry import letterbox
from personseg.images import read_image
from personseg.model import build_model, save_model
from personseg.model_config import ModelConfig
from personseg.quantize import Judge, quantize_openvino
from personseg.runtimes import Backend
from personseg.runtimes.openvino import OpenVinoRuntime, ov
from personseg.splits import read_split
from personseg.weights import PACKAGED
from stages.params import Benchmark, load_params

IMAGES, MASKS = Path("data/clean/images"), Path("data/clean/masks")
ROUNDS, RUNS = 5, 40
CALIBRATED_ON = 16  # photos
ANY_DROP = 1.0  # of IoU: no layer goes back to float

DEFAULT = "the default"
CHANGES: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "a fifth decoder block, to the whole resolution": {"decoder_channels": [128, 64, 32, 16, 16]},
    "three decoder blocks": {"decoder_channels": [128, 64, 32]},
    "a slimmer decoder": {"decoder_channels": [96, 48, 24, 16], "projection": 8},
    "lite1": {"encoder": "tu-tf_efficientnet_lite1"},
    "lite0": {"encoder": "tu-tf_efficientnet_lite0"},
    "resnet34": {"encoder": "resnet34"},
    "288x224": {"input_size": [288, 224]},
    "256x192": {"input_size": [256, 192]},
    "squeeze-and-excitation in the decoder": {"attention": "scse"},
}


def quantised(model: Mapping[str, Any], stems: list[str], place: Path, threads: int) -> OpenVinoRuntime:
    """The untrained network of section `model`, quantised on the photos `stems` and ready to run."""
    size = (model["input_size"][0], model["input_size"][1])
    architecture = {key: value for key, value in model.items() if key not in ("weights", "input_size")}
    network = build_model(architecture, "imagenet" if model["encoder"] in PACKAGED else "none")
    save_model(place / "model", network.eval(), ModelConfig(architecture=architecture, input_size=size))
    save_onnx(to_onnx(place / "model"), place / "network.onnx")
    images = [letterbox(read_image(IMAGES / f"{stem}.jpg"), size)[0][None] for stem in stems]
    judge = Judge([(IMAGES / f"{stems[0]}.jpg", MASKS / f"{stems[0]}.jpg")], size, 0.5)
    graph = quantize_openvino(ov.convert_model(place / "network.onnx"), images, judge, ANY_DROP)
    ov.save_model(graph, place / "openvino_int8.xml", compress_to_fp16=False)
    runtime = OpenVinoRuntime(Backend("", "openvino_int8", "int8"))
    runtime.load(place / "model", place, threads)
    return runtime


def side_by_side(models: Mapping[str, Mapping[str, Any]], section: Benchmark) -> dict[str, dict[str, Any]]:
    """Time the networks of sections `model` in turns; by name, what `summarise` says of each."""
    stems = evenly_spaced(read_split(Path("data/splits"))["train"], CALIBRATED_ON)
    protocol = Protocol(RUNS, section.warmup_runs, section.warmup_s, section.max_seconds, section.threads)
    with tempfile.TemporaryDirectory() as place:
        runtimes: dict[str, OpenVinoRuntime] = {}
        for name, model in tqdm(models.items(), desc="quantising"):
            folder = Path(place, str(len(runtimes)))
            folder.mkdir()
            runtimes[name] = quantised(model, stems, folder, section.threads)

        def timed(runtime: OpenVinoRuntime) -> Callable[[Protocol], list[float]]:
            image = letterbox(read_image(IMAGES / f"{stems[0]}.jpg"), runtime.input_size)[0]
            return lambda now: time_runs(runtime, image[None], now)["seconds"].tolist()

        rows = {name: timed(runtime) for name, runtime in runtimes.items()}
        seconds = in_rounds(rows, protocol, ROUNDS, lambda _: RUNS, "timing")
    return {name: summarise(values) for name, values in seconds.items()}


def compare(names: Sequence[str]) -> pd.DataFrame:
    """A row for the default and each of `names`, keys of CHANGES: p50 and p95 in seconds, p50 against the default's."""
    if unknown := sorted(set(names) - set(CHANGES)):
        raise UserError(f"no network {unknown[0]!r}; choose from {', '.join(CHANGES)}")
    params = load_params()
    models = {name: {**params.network(), **CHANGES[name]} for name in dict.fromkeys([DEFAULT, *names])}
    found = side_by_side(models, params.benchmark)
    first = found[DEFAULT]["p50_s"]
    rows = [
        {"network": name, "p50_s": row["p50_s"], "p95_s": row["p95_s"], "of_the_default": row["p50_s"] / first}
        for name, row in found.items()
    ]
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(CHANGES), metavar="NAME", help="default: all")
    parser.add_argument("--out", type=Path, default=Path("results/picsart/structure.csv"))
    arguments = parser.parse_args()
    with one_line_errors():
        table = compare(arguments.only)
        write_table(arguments.out, table)
    print(table.to_string(index=False, float_format="%.4g"))


if __name__ == "__main__":
    main()
