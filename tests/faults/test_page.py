"""The figures of kills on docs/reliability.md are the record's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.kill import told

RECORD = Path("results/torture.json")


@pytest.mark.skipif(not RECORD.is_file(), reason="make torture has not run here")
def test_the_page_tells_the_record() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    outcomes = record["outcomes"]
    kills = [outcome for outcome in outcomes if outcome["fault"].startswith("kill -9, ")]
    assert (record["faults"], record["kills"]) == (len(outcomes), len(kills))
    assert record["faults_survived"] == sum(not outcome["notes"] for outcome in outcomes)
    assert all(outcome["stage"] and outcome["hit"] for outcome in kills)
    assert told(record) in " ".join(Path("docs/reliability.md").read_text(encoding="utf-8").split())
