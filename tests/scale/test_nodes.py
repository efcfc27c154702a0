"""Two torchrun agents on this machine stand for two machines that share a folder: stage train, the real network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from tests.project import environment, set_params
from tests.scale.conftest import Road, copy_of, free_port


def train_on_two(road: Road) -> tuple[list[int], list[str]]:
    """Exit codes and output of `torchrun ... -m stages.train` on both "machines"."""
    port = free_port()
    agents = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"),
                *(f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}", "-m", "stages.train"),
            ],
            cwd=road.folder,
            env={**environment(), **road.extra},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for node in (0, 1)
    ]
    said = [agent.communicate(timeout=1200)[0] for agent in agents]
    return [agent.returncode for agent in agents], said


def test_two_machines_train_and_the_first_writes(road: Road, tmp_path: Path) -> None:
    project = copy_of(road, tmp_path / "shared")
    set_params(project.folder, {"train.num_nodes": 2, "train.devices": 1, "train.epochs": 2})
    costs = project.folder / "logs/costs/train.json"
    costs.unlink()
    codes, said = train_on_two(project)
    assert codes == [0, 0], "\n".join(said)
    assert "epoch   2" in said[0] and "epoch " not in said[1].lower().replace("epochs", "")
    assert len(pd.read_csv(project.folder / "plots/history.csv")) == 2
    assert json.loads((project.folder / "metrics/train.json").read_text())["epochs"] == 2
    assert costs.is_file() and not (project.folder / ".resume/train").exists()

    # DVC takes over what was trained beside it, and goes on from there.
    project.run("dvc", "commit", "--force", "train")
    done = project.run("dvc", "repro", "evaluate")
    assert "stages.train" not in done.stdout and "stages.calibrate" in done.stdout


def test_a_machine_too_few_is_one_line(road: Road, tmp_path: Path) -> None:
    project = copy_of(road, tmp_path / "alone")
    set_params(project.folder, {"train.num_nodes": 2})
    done = project.run("python", "-m", "stages.train", check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and len(lines) == 1 and "train.num_nodes is 2" in lines[0]
