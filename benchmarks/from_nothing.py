"""Minutes from an archive to a finished model, in one run: a new clone, an empty cache, every stage.

    python -m benchmarks.from_nothing --data picsart_hack_online_data.zip [-S KEY=VALUE ...]

Clones the repository as last committed into a temporary folder, walks the road there to `calibrate`, after which the
model is finished, and then, outside the time, scores it. The params are those of QUICK, for those who would rather
have a good model soon than the best one in an hour; -S sets others. Packages are installed already, and nothing else
should run beside it. Writes results/picsart/from_nothing.json: minutes by the clock, the seconds inside each stage,
the scores and the params.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.experiments import parsed, road_parser, run_experiment, source
from personseg.environment import cpu_model, usable_cores
from personseg.errors import UserError, one_line_errors
from personseg.files import read_json, write_json
from personseg.record import costs

# A small network at a small size, the report's augmentation, and a second opinion that learns for half as long.
QUICK = {
    "folds.epochs": 2,
    "folds.batch_size": 16,
    "model.encoder": "tu-tf_efficientnet_lite0",
    "model.decoder_channels": [96, 48, 32, 16, 16],
    "model.input_size": [256, 192],
    "train.epochs": 4,
    "train.augment.far_away": 0,
    "train.augment.hue_saturation": 0,
    "train.augment.gray": 0,
    "train.augment.low_light": 0,
    "train.augment.blur": 0,
    "train.augment.noise": 0,
    "evaluate.overlays": 0,
}


def walk(data: str, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Walk the road in a new clone; what it took and how good the model is."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", ".", folder], check=True)
        start = time.monotonic()
        settings = {**values, "data.name": name, "data.source": data}
        run_experiment("from-nothing", settings, "calibrate", folder=folder)
        minutes = (time.monotonic() - start) / 60
        stages = costs(Path(folder, "logs/costs"))["stages"]
        if subprocess.run(["dvc", "repro", "evaluate"], check=False, cwd=folder).returncode != 0:
            raise UserError("the model could not be scored; the messages are above")
        scores = read_json(Path(folder, "metrics/iou.json"))
    return {
        "minutes": minutes,
        "stage_seconds": {name: cost["seconds"] for name, cost in stages.items()},
        "val": scores["val"],
        "test": scores["test"],
        "params": dict(values),
        "cpu": cpu_model(),
        "cores": usable_cores(),
    }


def main() -> None:
    parser = road_parser(__doc__)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    out = arguments.out or Path("results") / arguments.name / "from_nothing.json"
    with one_line_errors():
        found = walk(source(arguments.data), arguments.name, {**QUICK, **parsed(arguments.settings)})
        write_json(out, found)
    print("{:.1f} minutes, test IoU {:.4f}".format(found["minutes"], found["test"]["iou"]))


if __name__ == "__main__":
    main()
