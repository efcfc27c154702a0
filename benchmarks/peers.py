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

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.scoring import Scores, difference, score
from personseg.calibrate import choose_threshold
from personseg.errors import one_line_errors
from personseg.files import sha256_file, write_json
from personseg.images import Mask, read_image, read_mask
from personseg.mediapipe import MediaPipe
from personseg.metrics import ThresholdCounts
from personseg.model_config import read_config
from personseg.postprocess import finish
from personseg.prediction import predict_pairs
from personseg.splits import read_split
from stages.params import load_params

Floats = NDArray[np.float32]
CLEAN, RAW = Path("data/clean"), Path("data/jpg")
MODEL, SPLITS = Path("models/person"), Path("data/splits")


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
