"""The finished model beside MediaPipe's selfie segmenter, on the same photos in the same run.

    python -m benchmarks.peers --mediapipe selfie_segmentation.tflite [--out results/picsart/metrics/peers.json]

Run it where `dvc repro` has run; needs `pip install ai-edge-litert==2.3.0`. Both models get a threshold, and sizes of
small objects to drop and holes to fill, that are chosen on the cleaned masks of val. They are scored on val and test,
on the cleaned masks and on the raw ones, as they came; val has chosen our epoch and what both are cut off by, so test
is the one to judge by. Intervals of the difference are paired: the same photos are drawn for both. On val the mean of
both is scored, too: where it is better than either, the two err in different photos.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from benchmarks.scoring import Scores, difference, score
from personseg.calibrate import choose
from personseg.errors import one_line_errors
from personseg.files import sha256_file, write_json
from personseg.images import RGB, Mask, read_image, read_mask
from personseg.mediapipe import MediaPipe
from personseg.metrics import ThresholdCounts
from personseg.model import load_model
from personseg.model_config import ModelConfig, PostprocessConfig
from personseg.postprocess import clean_mask, finish
from personseg.prediction import predict_pairs
from personseg.splits import read_split
from stages.params import Calibrate, load_params

Network = Callable[[RGB], NDArray[np.float32]]  # a photo's probabilities, at its own size
CLEAN, RAW = Path("data/clean"), Path("data/jpg")
MODEL, SPLITS = Path("models/person"), Path("data/splits")


@dataclass(frozen=True)
class Peer:
    """Another network with the threshold and the sizes chosen for it, as a function of a photo."""

    network: Network
    threshold: float
    postprocess: PostprocessConfig

    def __call__(self, image: RGB) -> Mask:
        return clean_mask(self.network(image) > self.threshold, **self.postprocess.model_dump())


def _photos(folder: Path, stems: list[str], label: str) -> Iterator[tuple[RGB, Mask]]:
    for stem in tqdm(stems, desc=label, unit="img", mininterval=1.0):
        yield read_image(folder / "images" / f"{stem}.jpg"), read_mask(folder / "masks" / f"{stem}.jpg")


def calibrated(network: Network, val: list[str], sizes: Calibrate) -> Peer:
    """Choose threshold and sizes on val as stage calibrate does, but sizes in px of the photo."""
    pairs = ((network(image), truth) for image, truth in _photos(CLEAN, val, "mediapipe, calibrate"))
    threshold, postprocess, _, _ = choose(
        ((probability, truth, probability, truth) for probability, truth in pairs), sizes.min_object, sizes.min_hole
    )
    return Peer(network, threshold, postprocess)


def _score_both(
    model: nn.Module, config: ModelConfig, peer: Peer, folder: Path, stems: list[str], label: str
) -> tuple[Scores, Scores]:
    """Ours and the peer's on the pairs `stems` of `folder`."""
    ours = (
        (finish(small, placement, config), truth)
        for _, small, placement, truth in predict_pairs(model, config, folder, stems, f"ours, {label}")
    )
    theirs = ((peer(image), truth) for image, truth in _photos(folder, stems, f"mediapipe, {label}"))
    return score(ours), score(theirs)


def on_test(
    network: Network, sizes: Calibrate, model: Path = MODEL, splits: Path = SPLITS
) -> tuple[list[str], Scores, Scores]:
    """The test photos' stems, and both models' scores on their cleaned masks."""
    stems = read_split(splits)
    peer = calibrated(network, stems["val"], sizes)
    return stems["test"], *_score_both(*load_model(model), peer, CLEAN, stems["test"], "test")


def together(model: nn.Module, config: ModelConfig, network: Network, val: list[str]) -> dict[str, float]:
    """What the mean of both probabilities would be worth: IoU on val at each one's best threshold, nothing removed."""
    totals = {name: ThresholdCounts() for name in ("ours", "mediapipe", "mean")}
    for stem, small, placement, truth in predict_pairs(model, config, CLEAN, val, "together"):
        ours, theirs = placement.restore(small), network(read_image(CLEAN / "images" / f"{stem}.jpg"))
        totals["ours"].update(ours, truth)
        totals["mediapipe"].update(theirs, truth)
        totals["mean"].update(np.asarray((ours + theirs) / 2, np.float32), truth)
    return {name: float(total.iou().max()) for name, total in totals.items()}


def compare(
    folder: Path, network: Network, splits: Path, sizes: Calibrate, resamples: int, seed: int
) -> dict[str, Any]:
    """Score the model saved in `folder` and the peer; the content of peers.json but for the peer's sha256."""
    stems, (model, config) = read_split(splits), load_model(folder)
    peer = calibrated(network, stems["val"], sizes)
    both = {
        name: _score_both(model, config, peer, place, stems[split], name.replace("_", " "))
        for name, place, split in (
            ("test", CLEAN, "test"),
            ("val", CLEAN, "val"),
            ("raw_test", RAW, "test"),
            ("raw_val", RAW, "val"),
        )
    }
    ours, theirs = (Scores.joined([both[name][i] for name in ("raw_val", "raw_test")]) for i in (0, 1))
    both["raw_val_test"] = ours, theirs
    chosen = {"ours": (config.threshold, config.postprocess), "mediapipe": (peer.threshold, peer.postprocess)}
    result: dict[str, Any] = {
        name: {
            "threshold": threshold,
            **postprocess.model_dump(),
            **{f"{where}_{key}": value for where, its in both.items() for key, value in its[i].summary().items()},
        }
        for i, (name, (threshold, postprocess)) in enumerate(chosen.items())
    }
    result["val_iou_at_best_threshold"] = together(model, config, network, stems["val"])
    result["difference"] = {name: difference(*its, resamples, seed) for name, its in both.items()}
    result["images"] = {name: len(its[0].counts) for name, its in both.items()}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mediapipe", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--splits", type=Path, default=SPLITS)
    parser.add_argument("--out", type=Path, default=Path("results/picsart/metrics/peers.json"))
    arguments = parser.parse_args()
    with one_line_errors():
        params, network = load_params(), MediaPipe(arguments.mediapipe)
        evaluate = params.evaluate
        result = compare(
            arguments.model, network, arguments.splits, params.calibrate, evaluate.bootstrap, evaluate.seed
        )
        result["mediapipe"]["sha256"] = sha256_file(arguments.mediapipe)
        write_json(arguments.out, result)
    for name in ("ours", "mediapipe"):
        print(name, {key: round(value, 4) for key, value in result[name].items() if isinstance(value, float)})
    print("difference", result["difference"])


if __name__ == "__main__":
    main()
