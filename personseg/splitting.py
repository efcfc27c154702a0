"""Train, val and test lists in which near-duplicates stay on one side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from personseg.errors import UserError
from personseg.files import fresh_folder, natural_key, read_table, write_table
from personseg.parallel import parallel_map
from personseg.splits import NAMES

HASH_BITS = 64


def perceptual_hash(stem: str, images: Path) -> int:
    """64-bit perceptual hash (DCT of the grey image, imagehash.phash) of `images`/STEM.jpg."""
    import imagehash
    from PIL import Image

    with Image.open(images / f"{stem}.jpg") as image:
        return int(str(imagehash.phash(image)), 16)


def near_duplicates(hashes: Sequence[int], distance: int) -> list[tuple[int, int]]:
    """Return index pairs whose 64-bit hashes differ in at most `distance` bits.

    Of distance + 1 slices of the bits at least one must be equal (pigeonhole), so only hashes that
    share a slice are compared: near-linear instead of quadratic.
    """
    edges = [HASH_BITS * i // (distance + 1) for i in range(distance + 2)]
    pairs: set[tuple[int, int]] = set()
    for low, high in pairwise(edges):
        buckets: dict[int, list[int]] = defaultdict(list)
        for index, value in enumerate(hashes):
            buckets[(value >> low) & ((1 << (high - low)) - 1)].append(index)
        for members in buckets.values():
            for a, b in combinations(members, 2):
                if (hashes[a] ^ hashes[b]).bit_count() <= distance:
                    pairs.add((a, b))
    return sorted(pairs)


def group(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Connected components of `count` items under `pairs` (union-find), each and all in ascending order."""
    parent = list(range(count))

    def find(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for a, b in pairs:
        low, high = sorted((find(a), find(b)))
        parent[high] = low
    groups: dict[int, list[int]] = defaultdict(list)
    for item in range(count):
        groups[find(item)].append(item)
    return list(groups.values())


def assign(groups: Sequence[Sequence[int]], val: int, test: int, seed: int) -> dict[str, list[int]]:
    """Deal shuffled groups: whole groups to test until it holds `test` items, to val until `val`, rest to train."""
    sides: dict[str, list[int]] = {name: [] for name in NAMES}
    for position in np.random.default_rng(seed).permutation(len(groups)):
        members = groups[position]
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
    manifest = read_table(clean / "manifest.csv")
    stems = sorted(manifest.loc[manifest["kept"] == 1, "stem"], key=natural_key)
    val, test = round(len(stems) * val_fraction), round(len(stems) * test_fraction)
    if min(val, test, len(stems) - val - test) < 1:
        raise UserError(
            f"split: {len(stems)} kept pairs cannot give train, val and test at val_fraction {val_fraction:g}"
            f" and test_fraction {test_fraction:g}; add photos or change the fractions"
        )
    hashes = list(parallel_map(partial(perceptual_hash, images=clean / "images"), stems, workers, "hash"))
    pairs = near_duplicates(hashes, distance)
    sides = assign(group(len(stems), pairs), val, test, seed)
    if empty := [name for name in NAMES if not sides[name]]:
        raise UserError(
            f"split: {empty[0]} would be empty: groups of near-duplicates are larger than it; add other photos,"
            " raise its fraction or lower split.hash_distance"
        )
    with fresh_folder(out) as temporary:
        for name in NAMES:
            table = pd.DataFrame({"stem": sorted((stems[i] for i in sides[name]), key=natural_key)})
            write_table(temporary / f"{name}.csv", table)
    return {**{name: len(sides[name]) for name in NAMES}, "near_duplicate_pairs": len(pairs)}
