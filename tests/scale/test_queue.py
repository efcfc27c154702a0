"""Queued experiments, two workers at once, one MLflow server. (On the local database: tests/test_pipeline.py.)"""

from __future__ import annotations

import time

from personseg.tracking import COMPLETE, FINGERPRINT
from tests.scale.conftest import SECRET, Road

NAMES = [f"resampled-{seed}" for seed in (2, 3, 4)]


def states(road: Road) -> dict[str, str]:
    lines = [line.split() for line in road.run("dvc", "queue", "status").stdout.splitlines()]
    return {words[1]: words[-1] for words in lines if len(words) > 3 and words[1] in NAMES}


def test_workers_side_by_side_leave_a_whole_run_each(road: Road) -> None:
    before = {run.info.run_id for run in road.runs()}
    for name in NAMES:
        road.run("dvc", "exp", "run", "--queue", "-n", name, "-S", f"evaluate.seed={name[-1]}")
    try:
        road.run("dvc", "queue", "start", "--jobs", "2")
        deadline = time.monotonic() + 1800
        while (now := states(road)) != dict.fromkeys(NAMES, "Success"):
            assert "Failed" not in now.values(), [
                road.run("dvc", "queue", "logs", name, check=False).stdout for name in NAMES
            ]
            assert time.monotonic() < deadline, now
            time.sleep(3)
    finally:
        road.run("dvc", "queue", "stop", "--kill", check=False)
    new = [run for run in road.runs() if run.info.run_id not in before]
    assert sorted(run.info.run_name.split(" · ")[-1] for run in new) == NAMES
    assert {run.info.status for run in new} == {"FINISHED"} and {run.data.tags[COMPLETE] for run in new} == {"true"}
    assert len({run.data.tags[FINGERPRINT] for run in new}) == len(NAMES)
    assert {run.data.params["evaluate.seed"] for run in new} == {"2", "3", "4"}
    logs = "".join(road.run("dvc", "queue", "logs", name).stdout for name in NAMES)
    assert "stages.evaluate" in logs and SECRET not in logs
