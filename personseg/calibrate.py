"""The threshold and the post-processing sizes, chosen on val alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from personseg.errors import UserError
from personseg.geometry import letterbox
from personseg.images import Mask
from personseg.metrics import THRESHOLDS, ThresholdCounts, counts, iou
from personseg.model import load_model, save_model
from personseg.model_config import PostprocessConfig
from personseg.postprocess import clean_mask
from personseg.prediction import predict_pairs

Probability = NDArray[np.float32]
Packed = tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[int, int]]


def choose_threshold(totals: ThresholdCounts) -> float:
    """The threshold of the best pooled IoU; the middle one where several are equally good."""
    values = totals.iou()
    best = np.flatnonzero(values == values.max())
    return float(round(float(THRESHOLDS[best[len(best) // 2]]), 2))


def choose_postprocess(
    masks: Sequence[Packed], min_objects: Sequence[int], min_holes: Sequence[int]
) -> tuple[PostprocessConfig, float, float]:
    """Try every pair of sizes (px) on bit-packed (prediction, truth, shape) masks.

    Return the best pair, its pooled IoU and that of no cleaning. Ties go to the smaller sizes, so what does not help
    is not done.
    """
    best, best_iou, plain = PostprocessConfig(), -1.0, -1.0
    for min_object in sorted({0, *min_objects}):
        for min_hole in sorted({0, *min_holes}):
            total = np.zeros(4, np.int64)
            for prediction, target, shape in masks:
                cleaned = clean_mask(_unpack(prediction, shape), min_object, min_hole)
                total += counts(cleaned, _unpack(target, shape))
            value = iou(*(int(x) for x in total[:3]))
            plain = value if min_object == min_hole == 0 else plain
            if value > best_iou:
                best, best_iou = PostprocessConfig(min_object=min_object, min_hole=min_hole), value
    return best, best_iou, plain


def _unpack(bits: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.bool_]:
    return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)


def choose(
    photos: Iterable[tuple[Probability, Mask, Probability, Mask]], min_objects: Sequence[int], min_holes: Sequence[int]
) -> tuple[float, PostprocessConfig, float, float]:
    """Choose threshold and sizes in one pass over `photos`; return them, and the pooled IoU with and without the sizes.

    Of each photo: probabilities and mask to choose the threshold by, and those to choose the sizes by, which are kept
    as 8 bits and 1 bit a pixel.
    """
    totals, kept = ThresholdCounts(), []
    for probability, mask, small, small_mask in photos:
        totals.update(probability, mask)
        above = np.searchsorted(THRESHOLDS, small.ravel(), side="left").astype(np.uint8)
        kept.append((above, np.packbits(small_mask.ravel()), (small.shape[0], small.shape[1])))
    threshold = choose_threshold(totals)
    index = int(np.flatnonzero(np.isclose(THRESHOLDS, threshold))[0])
    packed = [(np.packbits(above > index), mask, shape) for above, mask, shape in kept]
    return threshold, *choose_postprocess(packed, min_objects, min_holes)


def calibrate(
    trained: Path,
    out: Path,
    folder: Path,
    stems: Sequence[str],
    min_objects: Sequence[int],
    min_holes: Sequence[int],
    flip_average: bool,
) -> dict[str, float]:
    """Choose threshold and sizes for the model in `trained` on `stems` of `folder`; write the whole model to `out`.

    With `flip_average` the model written gives the mean of photo and mirrored photo. The threshold is chosen on masks
    of the photos' own size; the sizes, and the two IoU returned, at the network's resolution, which
    `postprocess.finish` cleans at.
    """
    if not stems:
        raise UserError("calibrate: val is empty; raise split.val_fraction")
    model, config = load_model(trained, flip_average=flip_average)

    def photos() -> Iterator[tuple[Probability, Mask, Probability, Mask]]:
        for _, small, placement, mask in predict_pairs(model, config, folder, stems, "calibrate"):
            small_mask = placement.inner(letterbox(mask.astype(np.uint8), config.input_size)[0])
            yield placement.restore(small), mask, placement.inner(small), small_mask.astype(bool)

    threshold, postprocess, best_iou, plain = choose(photos(), min_objects, min_holes)
    save_model(out, model, config.model_copy(update={"threshold": threshold, "postprocess": postprocess}))
    return {"threshold": threshold, **postprocess.model_dump(), "val_iou_plain": plain, "val_iou": best_iou}
