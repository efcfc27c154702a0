"""Near-duplicate photos, found by perceptual hashes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from personseg.parallel import parallel_map

HASH_BITS = 64
Hashes = NDArray[np.uint64]


def perceptual_hash(path: str | Path) -> int:
    """64-bit perceptual hash (DCT of the grey image, imagehash.phash) of a photo."""
    import imagehash
    from PIL import Image

    with Image.open(path) as image:
        return int(str(imagehash.phash(image)), 16)


def near_pairs(hashes: Hashes, distance: int) -> Iterator[tuple[int, int]]:
    """Index pairs whose 64-bit hashes differ in at most `distance` bits, some more than once, in no order.

    Of distance + 1 slices of the bits at least one must be equal (pigeonhole), so only hashes that
    share a slice are compared: near-linear instead of quadratic. No list of pairs is made.
    """
    edges = [HASH_BITS * i // (distance + 1) for i in range(distance + 2)]
    for low, high in pairwise(edges):
        keys = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(keys, kind="stable")  # in a bucket of equal keys, indices ascend
        ends = np.flatnonzero(np.diff(keys[order])) + 1
        for start, end in pairwise([0, *ends.tolist(), len(hashes)]):
            members, values = order[start:end], hashes[order[start:end]]
            for at in range(end - start - 1):
                near = np.bitwise_count(values[at + 1 :] ^ values[at]) <= distance
                if near.any():
                    first = int(members[at])
                    yield from ((first, other) for other in members[at + 1 :][near].tolist())


def near_duplicates(hashes: Sequence[int], distance: int) -> list[tuple[int, int]]:
    """The pairs of `near_pairs`, each once, in order."""
    return sorted(set(near_pairs(np.array(hashes, np.uint64), distance)))


def group(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
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


def duplicate_groups(photos: Sequence[str | Path], distance: int, workers: int) -> list[list[int]]:
    """Group photos, as indices, by hashes within `distance` of 64 bits, directly or through others."""
    hashes = np.fromiter(parallel_map(perceptual_hash, photos, workers, "hash"), np.uint64, len(photos))
    return group(len(photos), near_pairs(hashes, distance))
