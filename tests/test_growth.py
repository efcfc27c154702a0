"""What does not grow with the number of photos, and that it changes no byte of what is written."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.growth import ROAD, add_road, compare, table
from personseg import tables
from personseg.convert import find_pairs
from personseg.duplicates import group, near_pairs
from personseg.files import write_table
from personseg.sources import fetch
from personseg.tables import blocks, write_rows


def peak_bytes(work: Callable[[], Any]) -> int:
    """The most that Python and NumPy had allocated at a time in `work`, its result included."""
    tracemalloc.start()
    try:
        kept = work()
        del kept
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def rows(count: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(1)
    for number in range(count):
        yield {
            "stem": ["007", "NA", 'a,"b"', "two\nlines", "Привет", f"{number}"][number % 6],
            "whole": number % 5,
            "mixed": 0 if number < 2500 else float(rng.normal()),
            "gaps": None if number % 7 == 0 else float(rng.normal() * 10.0 ** (number % 12)),
            "words": "" if number % 3 else "spots (2)",
        }


@pytest.mark.parametrize("count", [1, tables.BLOCK, 2 * tables.BLOCK + 1])
def test_a_table_written_in_blocks_is_the_table_written_at_once(count: int, tmp_path: Path) -> None:
    write_table(tmp_path / "at_once.csv", pd.DataFrame(rows(count)))
    write_rows(tmp_path / "in_blocks.csv", rows(count))
    write_table(tmp_path / "gathered.csv", pd.concat(blocks(rows(count)), ignore_index=True))
    whole = (tmp_path / "at_once.csv").read_bytes()
    assert (tmp_path / "in_blocks.csv").read_bytes() == whole == (tmp_path / "gathered.csv").read_bytes()


def test_rows_of_a_table_are_not_kept(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        return peak_bytes(lambda: write_rows(tmp_path / "table.csv", rows(count)))

    peak(10)  # what pandas makes once
    assert peak(10 * tables.BLOCK) < 1.5 * peak(2 * tables.BLOCK)


def test_a_pair_takes_few_bytes_until_it_is_read(tmp_path: Path) -> None:
    count = 5000
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / folder).mkdir()
        for number in range(count):
            (tmp_path / folder / f"{number:06d}.{suffix}").touch()

    def held() -> int:
        tracemalloc.start()
        pairs, _ = find_pairs(tmp_path)
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(pairs) == count
        return taken

    def fetched() -> None:
        fetch(str(tmp_path), None, tmp_path / "raw", tmp_path)

    fetched()  # what is imported and made once
    # Python's table of names, which paths go to, grows now and then: by megabytes at once.
    assert min(held() for _ in range(3)) / count < 300  # two paths take 1200
    assert min(peak_bytes(fetched) for _ in range(3)) / count < 300


def test_near_duplicates_are_joined_without_a_list_of_pairs() -> None:
    """Copies of one photo: 200 are 20,000 pairs, which would be 3 MB."""
    hashes = np.zeros(200, np.uint64)
    assert peak_bytes(lambda: group(200, near_pairs(hashes, 4))) < 300_000
    assert group(200, near_pairs(hashes, 4)) == [list(range(200))]
    assert group(0, near_pairs(np.zeros(0, np.uint64), 4)) == []


def test_growth_is_told_against_the_smallest_count() -> None:
    measured = [
        {"step": "fetch", "photos": 100, "height": 48, "seconds": 1.0, "cpu_seconds": 1.0, "peak_bytes": 100},
        {"step": "fetch", "photos": 1000, "height": 48, "seconds": 12.0, "cpu_seconds": 11.0, "peak_bytes": 115},
    ]
    add_road(measured)
    add_road(measured)
    compare(measured)
    assert [row["step"] for row in measured] == ["fetch", "fetch", ROAD, ROAD]
    assert measured[1]["memory_growth"] == pytest.approx(0.15)
    assert measured[1]["time_per_photo_growth"] == pytest.approx(0.2)
    assert measured[1]["cpu_per_photo_growth"] == pytest.approx(0.1)
    assert table(measured).splitlines()[-2] == "| fetch | 1000 | 12.0 | 11.0 | 0 | +15 % | +20 % | +10 % |"


def test_the_road_is_the_sum_of_its_steps() -> None:
    row = {"photos": 100, "height": 48, "seconds": 1.0, "cpu_seconds": 1.5, "peak_bytes": 100}
    rows = [{"step": "fetch", **row}, {"step": "split", **row, "seconds": 3.0, "peak_bytes": 70}]
    add_road(rows)
    expected = {"step": ROAD, "photos": 100, "height": 48, "seconds": 4.0, "cpu_seconds": 3.0, "peak_bytes": 100}
    assert rows[-1] == expected
