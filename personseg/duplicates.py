"""Near-duplicate photos, found by perceptual hashes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

from personseg.parallel import parallel_map

HASH_BITS = 64


def perceptual_hash(path: Path) -> int:
    """64-bit perceptual hash (DCT of the grey image, imagehash.phash) of a photo."""
    import imagehash
    from PIL import Image

    with Image.open(path) as image:
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


def duplicate_groups(photos: Sequence[Path], distance: int, workers: int) -> list[list[int]]:
    """Group photos, as indices, by hashes within `distance` of 64 bits, directly or through others."""
    hashes = list(parallel_map(perceptual_hash, photos, workers, "hash"))
    return group(len(photos), near_duplicates(hashes, distance))
