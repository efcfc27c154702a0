"""A generated stand-in for the PicsArt data: drawn people, exact masks, planted label defects."""

from personseg.sample.defects import COLUMNS, KINDS, rim_size
from personseg.sample.generate import generate

__all__ = ["COLUMNS", "KINDS", "generate", "rim_size"]
