"""Costs on paper: the arithmetic, and the recorded table follows from the recorded rates."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.scale_costs import EFFICIENCY, HOURS, cost, duration, number, tables

RESULTS = Path("results")
FIGURES = ("spark.json", "spark_large.json", "serving.json")
measured = pytest.mark.skipif(
    not all((RESULTS / name).is_file() for name in FIGURES),
    reason="not measured yet: python -m benchmarks.spark and python -m benchmarks.serving on an idle machine",
)


def figures(rate: float, **changes: Any) -> dict[str, Any]:
    spark = {"photos_per_s": rate, "start_s": 10.0}
    base = {"spark": spark, "cores": 2, "mean_photo_bytes": 4e6, "mean_row_bytes": 2000.0, "listed_per_s": 1e5}
    return base | changes


def test_costs_follow_from_the_measured_rate() -> None:
    row = cost(figures(100.0), figures(5.0), 1_000_000)
    assert row["small_hours"] * 3600 == pytest.approx(10 + 1_000_000 / 100)
    assert row["large_core_hours"] == pytest.approx(1_000_000 / 2.5 / 3600)
    assert row["cores_for_a_night"] == math.ceil(row["large_core_hours"] / HOURS / EFFICIENCY) == 18
    assert row["read_gigabytes"] == 4000 and row["written_gigabytes"] == 2
    assert row["read_gigabytes_per_s"] * HOURS * 3600 == pytest.approx(4000)
    assert row["listing_hours"] * 3600 == pytest.approx(10)
    twice = cost(figures(100.0), figures(10.0), 1_000_000)
    assert twice["large_core_hours"] == pytest.approx(row["large_core_hours"] / 2)


@pytest.mark.parametrize(
    ("hours", "text"),
    [(0.001, "3.6 s"), (0.5, "30 min"), (7.26, "7.3 h"), (100, "4.2 days"), (87660, "10 years"), (5e6, "570 years")],
)
def test_durations_are_as_a_person_says_them(hours: float, text: str) -> None:
    assert duration(hours) == text


def test_numbers_have_two_digits() -> None:
    assert [number(value) for value in (0, 0.0123, 1.26, 44.4, 1234567)] == ["0", "0.012", "1.3", "44", "1 200 000"]


@measured
def test_recorded_costs_follow_from_the_recorded_rates() -> None:
    recorded = pd.read_csv(RESULTS / "scale_costs.csv")
    pd.testing.assert_frame_equal(recorded, tables(RESULTS)[0], check_dtype=False, rtol=1e-4)


@measured
def test_figures_say_what_they_were_measured_with() -> None:
    for name in FIGURES:
        found = json.loads((RESULTS / name).read_text(encoding="utf-8"))
        assert found["cpu"] and found["cores"] >= 1 and found.get("masks_that_differ", 0) == 0
