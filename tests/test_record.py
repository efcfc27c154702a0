"""A record holds the figures of a run and no picture, and leaves alone what is not its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from personseg.errors import UserError
from personseg.record import costs, record
from tests.finished import write_finished

PICTURES = {".jpg", ".jpeg", ".png", ".safetensors"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_finished(tmp_path / "project")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_table_under_the_name_of_the_variants_is_refused(project, tmp_path):
    target = tmp_path / "results"
    target.mkdir()
    (target / "ablation.csv").write_text("kept\n")
    with pytest.raises(UserError, match=r"ablation\.csv"):
        record(project, target)
    assert [path.name for path in target.iterdir()] == ["ablation.csv"]


def test_record_holds_the_figures_and_no_picture(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "results/made-up"
    record(project, target)
    names = set(contents(target))
    assert {"params.yaml", "dvc.lock", "metrics/iou.json", "metrics/benchmark/openvino_int8.json"} <= names
    assert {"plots/history.csv", "data/splits/test.csv", "report.md", "report.html", "costs.json"} <= names
    assert not [name for name in names if Path(name).suffix in PICTURES]
    assert "data:image" not in (target / "report.html").read_text()
    assert (target / "metrics/iou.json").read_bytes() == (project / "metrics/iou.json").read_bytes()
    readme = (target / "README.md").read_text()
    for name in names - {name for name in names if "/" in name}:
        assert f"`{name}`" in readme


def test_costs_are_added_up(project: Path) -> None:
    total = costs(project / "logs/costs")
    assert total["total_seconds"] == 3640.75 and total["peak_rss_bytes"] == 3600 << 20
    assert total["stages"]["audit"] == {"seconds": 40.25, "peak_rss_bytes": 40 << 20}


def test_what_is_not_its_own_is_kept(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "results"
    (target / "peers").mkdir(parents=True)
    (target / "peers/notes.txt").write_text("kept")
    (target / "cleaning.csv").write_text("kept")
    (target / "training_cost.json").write_text("{}")
    (target / "metrics").mkdir()
    (target / "metrics/peers.json").write_text('{"ours": 1}')
    (target / "metrics/old.json").write_text("{}")
    record(project, target)
    record(project, target)
    assert (target / "cleaning.csv").read_text() == (target / "peers/notes.txt").read_text() == "kept"
    assert (target / "metrics/peers.json").read_text() == '{"ours": 1}'
    assert not (target / "metrics/old.json").exists()
    readme = (target / "README.md").read_text()
    assert "`python -m benchmarks.training_cost`" in readme and "`python -m benchmarks.peers`" in readme


@pytest.mark.parametrize("missing", ["dvc.lock", "metrics/iou.json", "data/env.json", "logs/costs", "params.yaml"])
def test_a_missing_input_changes_nothing(project: Path, tmp_path: Path, missing: str) -> None:
    target = tmp_path / "results"
    record(project, target)
    before = contents(target)
    (project / missing).rename(project / "gone")
    with pytest.raises(UserError, match=r"dvc repro|project's folder"):
        record(project, target)
    assert contents(target) == before
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_long_raw_timings_stay_out(project: Path, tmp_path: Path) -> None:
    (project / "plots/benchmark/pytorch_fp32.csv").write_text("run,seconds\n" + "1,0.05\n" * 50_000)
    record(project, tmp_path / "results")
    assert not (tmp_path / "results/plots/benchmark").exists()
    assert "plots/benchmark" not in (tmp_path / "results/README.md").read_text()


def test_a_record_names_no_folder_of_this_machine(project: Path, tmp_path: Path) -> None:
    source = str(tmp_path / "elsewhere/photos.zip")
    for name in ("params.yaml", "dvc.lock"):
        values = yaml.safe_load((project / name).read_text())
        values |= {"data": {"name": "mine", "source": source, "sha256": None}}
        (project / name).write_text(yaml.safe_dump(values))
    record(project, tmp_path / "results")
    for name, data in contents(tmp_path / "results").items():
        assert str(tmp_path).encode() not in data, name
    assert yaml.safe_load((tmp_path / "results/params.yaml").read_text())["data"]["source"] == "photos.zip"


def test_params_without_what_the_report_needs(project: Path, tmp_path: Path) -> None:
    (project / "params.yaml").write_text("data: {name: x, source: y}\n")
    with pytest.raises(UserError, match="'report' is missing"):
        record(project, tmp_path / "results")
