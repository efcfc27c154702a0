"""The threshold and the post-processing sizes, chosen on val alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from personseg.errors import UserError
from personseg.geometry import letterbox
from personseg.metrics import THRESHOLDS, ThresholdCounts, counts, iou
from personseg.model import load_model, save_model
from personseg.model_config import PostprocessConfig
from personseg.postprocess import clean_mask
from personseg.prediction import predict_pairs

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


def calibrate(
    trained: Path, out: Path, folder: Path, stems: Sequence[str], min_objects: Sequence[int], min_holes: Sequence[int]
) -> dict[str, float]:
    """Choose threshold and sizes for the model in `trained` on `stems` of `folder`; write the whole model to `out`.

    The threshold is chosen on masks of the photos' own size; the sizes, and the two IoU returned, at the network's
    resolution, which `postprocess.finish` cleans at. Probabilities are kept as 8 bits of that size: one pass over val.
    """
    if not stems:
        raise UserError("calibrate: val is empty; raise split.val_fraction")
    totals = ThresholdCounts()
    kept: list[Packed] = []
    model, config = load_model(trained)
    for _, small, placement, mask in predict_pairs(trained, folder, stems, "calibrate"):
        totals.update(placement.restore(small), mask)
        inner = placement.inner(small)
        above = np.searchsorted(THRESHOLDS, inner.ravel(), side="left").astype(np.uint8)
        truth = placement.inner(letterbox(mask.astype(np.uint8), config.input_size)[0])
        kept.append((above, np.packbits(truth.ravel()), (inner.shape[0], inner.shape[1])))
    threshold = choose_threshold(totals)
    index = int(np.flatnonzero(np.isclose(THRESHOLDS, threshold))[0])
    packed = [(np.packbits(above > index), mask, shape) for above, mask, shape in kept]
    postprocess, best_iou, plain = choose_postprocess(packed, min_objects, min_holes)
    save_model(out, model, config.model_copy(update={"threshold": threshold, "postprocess": postprocess}))
    return {"threshold": threshold, **postprocess.model_dump(), "val_iou_plain": plain, "val_iou": best_iou}
