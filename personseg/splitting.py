"""Train, val and test lists in which near-duplicates stay on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from personseg.duplicates import duplicate_groups
from personseg.errors import UserError
from personseg.files import fresh_folder, natural_key, read_table, write_table
from personseg.splits import NAMES


def assign(
    groups: Sequence[Sequence[int]], stems: Sequence[str], val: int, test: int, seed: int
) -> dict[str, list[int]]:
    """Deal groups (indices into `stems`) whole: to test until it holds `test`, to val until `val`, the rest to train.

    The order is that of a hash of the seed and a group's first stem. So a pair more or less, as cleaning keeps it or
    not, moves only groups at the borders between the lists, where a shuffle would deal all of them anew.
    """

    def rank(members: Sequence[int]) -> bytes:
        return hashlib.sha256(f"{seed} {stems[members[0]]}".encode()).digest()

    sides: dict[str, list[int]] = {name: [] for name in NAMES}
    for members in sorted(groups, key=rank):
        if len(sides["test"]) + len(members) <= test:
            side = "test"
        elif len(sides["val"]) + len(members) <= val:
            side = "val"
        else:
            side = "train"
        sides[side].extend(members)
    return sides


def split(
    clean: Path, out: Path, val_fraction: float, test_fraction: float, distance: int, seed: int, workers: int
) -> dict[str, int]:
    """Write `out`/{train,val,test}.csv for the pairs of `clean`/manifest.csv; return the counts.

    Photos whose perceptual hashes differ in at most `distance` of 64 bits are one group and never straddle
    two lists. UserError when there are too few pairs for three lists.
    """
    manifest = read_table(clean / "manifest.csv", ["stem", "kept"])
    stems = sorted(manifest.loc[manifest["kept"] == 1, "stem"], key=natural_key)
    del manifest
    val, test = round(len(stems) * val_fraction), round(len(stems) * test_fraction)
    if min(val, test, len(stems) - val - test) < 1:
        raise UserError(
            f"split: {len(stems)} kept pairs cannot give train, val and test at val_fraction {val_fraction:g}"
            f" and test_fraction {test_fraction:g}; add photos or change the fractions"
        )
    photos = [f"{clean}/images/{stem}.jpg" for stem in stems]  # no paths: they take ten times the memory
    groups = duplicate_groups(photos, distance, workers)
    sides = assign(groups, stems, val, test, seed)
    if empty := [name for name in NAMES if not sides[name]]:
        raise UserError(
            f"split: {empty[0]} would be empty: groups of near-duplicates are larger than it; add other photos,"
            " raise its fraction or lower split.hash_distance"
        )
    with fresh_folder(out) as temporary:
        for name in NAMES:
            table = pd.DataFrame({"stem": sorted((stems[i] for i in sides[name]), key=natural_key)})
            write_table(temporary / f"{name}.csv", table)
    return {**{name: len(sides[name]) for name in NAMES}, "near_duplicates": len(stems) - len(groups)}
