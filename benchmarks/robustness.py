"""The finished model on photos unlike those it learnt from: made from val, whose masks are known.

    python -m benchmarks.robustness [--mediapipe selfie_segmentation.tflite] [--out results/picsart/robustness.csv]

Run it where `dvc repro` has run. Each view changes every photo of val, and its mask with it; the model sees it as
`personseg predict` would, with and without its closer look at small people. Beside it MediaPipe's selfie segmenter,
at threshold 0.5, if its path is given. Test stays untouched.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.scoring import Scores, score
from personseg import Segmenter
from personseg.errors import one_line_errors
from personseg.files import write_table
from personseg.images import RGB, Mask, read_image, read_mask
from personseg.mediapipe import MediaPipe
from personseg.paste import paste
from personseg.sample.backgrounds import photograph
from personseg.splits import read_split

Pair = tuple[RGB, Mask]
View = Callable[[RGB, Mask, np.random.Generator], Pair]
CLEAN = Path("data/clean")
LARGE = 4000  # px of the longer side
SCORED = 1000  # px of the longer side that masks are scored at


def _as_it_is(image: RGB, mask: Mask, rng: np.random.Generator) -> Pair:
    return image, mask


def _enlarged(image: RGB, mask: Mask, rng: np.random.Generator) -> Pair:
    factor = LARGE / max(mask.shape)
    size = (round(mask.shape[1] * factor), round(mask.shape[0] * factor))
    soft = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8), np.asarray(soft > 0.5)


def _between_bars(image: RGB, mask: Mask, rng: np.random.Generator) -> Pair:
    """16:9, the sides filled with the photo itself, enlarged and blurred, as on television."""
    height, width = mask.shape
    wide = round(height * 16 / 9)
    frame = cv2.resize(image, (wide, height * wide // width))[:height]
    frame = cv2.GaussianBlur(frame, (0, 0), height / 20)
    left = (wide - width) // 2
    frame[:, left : left + width] = image
    truth = np.zeros((height, wide), bool)
    truth[:, left : left + width] = mask
    return np.asarray(frame, np.uint8), truth


def _far_away(times: int) -> View:
    """The person alone before a photo without people, in a frame so many times as high and wide, at its lower edge."""

    def view(image: RGB, mask: Mask, rng: np.random.Generator) -> Pair:
        height, width = mask.shape
        canvas = np.zeros((height * times, width * times, 3), np.uint8)
        target = np.zeros(canvas.shape[:2], np.uint8)
        left = int(rng.integers(0, canvas.shape[1] - width + 1))
        canvas[-height:, left : left + width] = image
        target[-height:, left : left + width] = mask
        scene = np.rint(photograph(rng, target.shape) * 255).astype(np.uint8)
        pasted, _ = paste(canvas, target, scene, np.zeros_like(target))
        return pasted, target > 0

    return view


def _dark(image: RGB, mask: Mask, rng: np.random.Generator) -> Pair:
    """A fifth of the light, and the noise that comes with it."""
    noisy = image * 0.2 + rng.normal(0, 4, image.shape)
    return noisy.round().clip(0, 255).astype(np.uint8), mask


def _against_the_light(image: RGB, mask: Mask, rng: np.random.Generator) -> Pair:
    """The person at a third of the light, what is behind burnt out."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2)[..., None]
    lit = soft * image * 0.35 + (1 - soft) * (image * 1.3 + 60)
    return lit.round().clip(0, 255).astype(np.uint8), mask


def _one_sided(image: RGB, mask: Mask, rng: np.random.Generator) -> Pair:
    """Light from the left only."""
    ramp = np.linspace(1.5, 0.15, mask.shape[1])[None, :, None]
    return (image * ramp).round().clip(0, 255).astype(np.uint8), mask


def _scored(mask: Mask) -> Mask:
    """At most a thousand px high: the boundary band of larger masks takes seconds each."""
    factor = SCORED / max(mask.shape)
    if factor >= 1:
        return mask
    size = (round(mask.shape[1] * factor), round(mask.shape[0] * factor))
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5)


VIEWS: dict[str, View] = {
    "as it is": _as_it_is,
    f"{LARGE} px high": _enlarged,
    "16:9 between bars": _between_bars,
    "frame 2 times as high": _far_away(2),
    "frame 4 times as high": _far_away(4),
    "frame 6 times as high": _far_away(6),
    "dark and noisy": _dark,
    "against the light": _against_the_light,
    "light from one side": _one_sided,
}


def compare(model: Path, mediapipe: Path | None, splits: Path, limit: int | None) -> pd.DataFrame:
    """One row per view: IoU, pooled and per photo, and boundary IoU of our model, of it without zoom, of MediaPipe."""
    stems = read_split(splits)["val"][:limit]
    segmenter = Segmenter.load(model)
    peer = None if mediapipe is None else MediaPipe(mediapipe)

    def ours(image: RGB, zoom: bool) -> Mask:
        segmenter.zoom = zoom
        return segmenter.predict(image).mask

    models: dict[str, Callable[[RGB], Mask]] = {
        "ours": lambda image: ours(image, True),
        "no_closer_look": lambda image: ours(image, False),
    }
    if peer is not None:
        models["mediapipe"] = lambda image: np.asarray(peer(image) > 0.5)
    rows = []
    for name, view in VIEWS.items():
        scores: dict[str, list[Scores]] = {model_name: [] for model_name in models}
        for number, stem in enumerate(tqdm(stems, desc=name, unit="img", mininterval=1.0)):
            image, mask = read_image(CLEAN / "images" / f"{stem}.jpg"), read_mask(CLEAN / "masks" / f"{stem}.jpg")
            seen, truth = view(image, mask, np.random.default_rng(number))
            for model_name, predict in models.items():
                scores[model_name].append(score([(_scored(predict(seen)), _scored(truth))]))
        row: dict[str, object] = {"view": name, "images": len(stems)}
        for model_name, parts in scores.items():
            summary = Scores.joined(parts).summary()
            row |= {f"{model_name}_{figure}": value for figure, value in summary.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mediapipe", type=Path)
    parser.add_argument("--model", type=Path, default=Path("models/person"))
    parser.add_argument("--splits", type=Path, default=Path("data/splits"))
    parser.add_argument("--limit", type=int, help="photos of val; default: all")
    parser.add_argument("--out", type=Path, default=Path("results/picsart/robustness.csv"))
    arguments = parser.parse_args()
    with one_line_errors():
        table = compare(arguments.model, arguments.mediapipe, arguments.splits, arguments.limit)
        write_table(arguments.out, table)
    print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
