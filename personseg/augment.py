"""The report's six augmentations under their names in today's albumentations, and changes of colour and sharpness."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

# albumentations would ask the network for a newer version at import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2

Compose: TypeAlias = A.Compose

LOW_LIGHT = (0.12, 0.6)  # of the light


def build_augmentation(params: Mapping[str, Any]) -> Compose:
    """Build the augmentation of a training pair: uint8 HxWx3 image and uint8 HxW mask.

    `params` gives each transform its probability and strength (section `train.augment`). The groups are
    the report's: one of the flips or none, one of elastic / shift-scale-rotate or none, JPEG
    compression (its ImageCompression), brightness and contrast. ShiftScaleRotate is Affine today. Not of the
    report: hue and saturation or none at all (grey photos), little light, blur or noise.
    """
    border = {"border_mode": cv2.BORDER_CONSTANT}
    elastic = A.ElasticTransform(
        alpha=params["elastic_alpha"], sigma=params["elastic_sigma"], p=params["elastic"], **border
    )
    scale = params["scale"]
    shift_scale_rotate = A.Affine(
        translate_percent={"x": (-params["shift"], params["shift"]), "y": (-params["shift"], params["shift"])},
        scale=(1 - scale, 1 + scale),
        rotate=(-params["rotate"], params["rotate"]),
        balanced_scale=True,
        p=params["shift_scale_rotate"],
        **border,
    )
    return A.Compose(
        [
            one_of_or_none(A.HorizontalFlip(p=params["hflip"]), A.VerticalFlip(p=params["vflip"])),
            one_of_or_none(elastic, shift_scale_rotate),
            A.ImageCompression(quality_range=tuple(params["jpeg_quality"]), p=params["jpeg"]),
            A.RandomBrightnessContrast(
                brightness_limit=params["brightness"],
                contrast_limit=params["contrast"],
                p=params["brightness_contrast"],
            ),
            one_of_or_none(
                A.HueSaturationValue(
                    hue_shift_limit=params["hue"],
                    sat_shift_limit=params["saturation"],
                    val_shift_limit=0,
                    p=params["hue_saturation"],
                ),
                A.ToGray(p=params["gray"]),
            ),
            A.MultiplicativeNoise(multiplier=LOW_LIGHT, p=params["low_light"]),
            one_of_or_none(A.GaussianBlur(p=params["blur"]), A.GaussNoise(std_range=(0.01, 0.06), p=params["noise"])),
        ]
    )


def one_of_or_none(*transforms: A.BasicTransform) -> A.OneOf | A.NoOp:
    """Apply at most one transform, each with its own probability `p` (their sum must not pass 1)."""
    total = sum(transform.p for transform in transforms)
    if total == 0:
        return A.NoOp()
    # OneOf normalises its members' p to choose among them; its own p is the chance that any is applied.
    return A.OneOf(list(transforms), p=min(1.0, total))
