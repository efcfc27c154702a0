"""Defects of a person mask, measured from the photo, the mask and an out-of-fold prediction; one file per defect."""

from personseg.defects.areas import extra_background, missing_part
from personseg.defects.hair_gap import Gap, hair_gap
from personseg.defects.holes import holes
from personseg.defects.ragged_edge import ragged_edge
from personseg.defects.shared import HEIGHT, Region, coverage, largest_component
from personseg.defects.spots import spots

__all__ = [
    "HEIGHT",
    "Gap",
    "Region",
    "coverage",
    "extra_background",
    "hair_gap",
    "holes",
    "largest_component",
    "missing_part",
    "ragged_edge",
    "spots",
]
