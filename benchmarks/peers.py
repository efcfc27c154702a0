"""The finished model beside MediaPipe's selfie segmenter, on the same photos in the same run.

    python -m benchmarks.peers --mediapipe selfie_segmentation.tflite [--out results/picsart/metrics/peers.json]

Run it where `dvc repro` has run; needs `pip install ai-edge-litert==2.3.0`. Both models get a threshold chosen on the
cleaned masks of val; ours also drops small objects and fills small holes of sizes chosen there, as it does in use.
They are scored on the cleaned masks of test, and on the raw masks of val and test together: the masks as they came,
but val has chosen our epoch and both thresholds. Intervals of the difference are paired: the same photos are drawn
for both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.scoring import Scores, difference, score
from personseg.calibrate import choose_threshold
from personseg.errors import UserError, one_line_errors
from personseg.files import sha256_file, write_json
from personseg.images import RGB, Mask, read_image, read_mask
from personseg.metrics import ThresholdCounts
from personseg.model_config import read_config
from personseg.postprocess import finish
from personseg.prediction import predict_pairs
from personseg.splits import read_split
from stages.params import load_params

Floats = NDArray[np.float32]
CLEAN, RAW = Path("data/clean"), Path("data/jpg")
MODEL, SPLITS = Path("models/person"), Path("data/splits")


class MediaPipe:
    """The selfie segmenter as a function of a photo: stretched to the network's input, RGB in [0, 1].

    UserError if the file is missing or damaged, or if ai-edge-litert is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise UserError("ai-edge-litert is not installed; run `pip install ai-edge-litert==2.3.0`") from None
        if not path.is_file():
            raise UserError(f"{path}: not found; give the path of MediaPipe's selfie_segmentation.tflite")
        try:
            self.interpreter = Interpreter(str(path), num_threads=2)
        except ValueError as error:
            raise UserError(f"{path}: not a model LiteRT can read ({error})") from None
        self.interpreter.allocate_tensors()
        self.input, self.output = self.interpreter.get_input_details()[0], self.interpreter.get_output_details()[0]

    def __call__(self, image: RGB) -> Floats:
        """Probability of person, float32 HxW, of a photo (uint8 HxWx3)."""
        height, width = self.input["shape"][1:3]
        small = cv2.resize(image, (int(width), int(height)), interpolation=cv2.INTER_AREA)
        self.interpreter.set_tensor(self.input["index"], small[None].astype(np.float32) / 255)
        self.interpreter.invoke()
        probability = self.interpreter.get_tensor(self.output["index"])[0, ..., 0]
        return cv2.resize(probability, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _pairs_of(peer: MediaPipe, folder: Path, stems: list[str], label: str) -> Iterator[tuple[Floats, Mask]]:
    for stem in tqdm(stems, desc=label, unit="img", mininterval=1.0):
        yield peer(read_image(folder / "images" / f"{stem}.jpg")), read_mask(folder / "masks" / f"{stem}.jpg")


def _threshold_on_val(peer: MediaPipe, val: list[str]) -> float:
    totals = ThresholdCounts()
    for probability, truth in _pairs_of(peer, CLEAN, val, "mediapipe, threshold on val"):
        totals.update(probability, truth)
    return choose_threshold(totals)


def _score_both(
    model: Path, peer: MediaPipe, threshold: float, folder: Path, stems: list[str], label: str
) -> tuple[Scores, Scores]:
    """Ours and MediaPipe's on the pairs `stems` of `folder`."""
    config = read_config(model)
    ours = (
        (finish(small, placement, config), truth)
        for _, small, placement, truth in predict_pairs(model, folder, stems, f"ours, {label}")
    )
    theirs = (
        (probability > threshold, truth) for probability, truth in _pairs_of(peer, folder, stems, f"mediapipe, {label}")
    )
    return score(ours), score(theirs)


def on_test(peer: MediaPipe, model: Path = MODEL, splits: Path = SPLITS) -> tuple[list[str], Scores, Scores]:
    """The test photos' stems, and both models' scores on their cleaned masks."""
    stems = read_split(splits)
    threshold = _threshold_on_val(peer, stems["val"])
    return stems["test"], *_score_both(model, peer, threshold, CLEAN, stems["test"], "test")


def compare(model: Path, mediapipe: Path, splits: Path, resamples: int, seed: int) -> dict[str, Any]:
    """Score both models; the content of peers.json."""
    stems, config, peer = read_split(splits), read_config(model), MediaPipe(mediapipe)
    threshold = _threshold_on_val(peer, stems["val"])
    sets = {"test": (CLEAN, stems["test"]), "raw_val_test": (RAW, stems["val"] + stems["test"])}
    both = {name: _score_both(model, peer, threshold, *where, name) for name, where in sets.items()}
    scores = {
        "ours": {name: ours for name, (ours, _) in both.items()},
        "mediapipe": {name: theirs for name, (_, theirs) in both.items()},
    }
    result: dict[str, Any] = {
        name: {
            "threshold": {"ours": config.threshold, "mediapipe": threshold}[name],
            **{f"{where}_{key}": value for where, its in of_sets.items() for key, value in its.summary().items()},
        }
        for name, of_sets in scores.items()
    }
    result["difference"] = {
        name: difference(scores["ours"][name], scores["mediapipe"][name], resamples, seed) for name in sets
    }
    result["images"] = {name: len(members) for name, (_, members) in sets.items()}
    result["mediapipe"]["sha256"] = sha256_file(mediapipe)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mediapipe", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--splits", type=Path, default=SPLITS)
    parser.add_argument("--out", type=Path, default=Path("results/picsart/metrics/peers.json"))
    arguments = parser.parse_args()
    with one_line_errors():
        section = load_params().evaluate
        result = compare(arguments.model, arguments.mediapipe, arguments.splits, section.bootstrap, section.seed)
        write_json(arguments.out, result)
    for name in ("ours", "mediapipe"):
        print(name, {key: round(value, 4) for key, value in result[name].items() if isinstance(value, float)})
    print("difference", result["difference"])


if __name__ == "__main__":
    main()
