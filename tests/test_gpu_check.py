"""The GPU check says what is missing, prints what was measured, and fails on the row that is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_check
from personseg.errors import UserError
from personseg.files import read_json
from personseg.runtimes import BACKENDS


def measured(disagreement: float | None = 0.0, **other: Any) -> dict[str, Any]:
    """A made-up row; without a disagreement it is the report's network's, which has no accuracy."""
    accuracy = None if disagreement is None else 0.95
    return {
        "status": "measured",
        "p50_s": 0.00123,
        "p95_s": 0.0045,
        "images_per_s": 789.4,
        "test_iou": accuracy,
        "max_logit_diff": None if disagreement is None else 0.0123,
        "mask_disagreement": disagreement,
        "device": "Imaginary RTX",
        **other,
    }


def unavailable(name: str) -> dict[str, Any]:
    return {"status": "unavailable", "reason": f"no engine for {name}", "precision": "fp16"}


def start(
    monkeypatch: pytest.MonkeyPatch, out: Path, measure: Callable[[str], dict[str, Any]], *arguments: str
) -> int | str | None:
    """Run main as on a machine with a GPU, each row from `measure`; return the exit code."""
    monkeypatch.setattr(gpu_check, "require_gpu", lambda: None)
    monkeypatch.setattr(gpu_check, "measure_apart", measure)
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--out", str(out), *arguments])
    try:
        gpu_check.main()
    except SystemExit as end:
        return end.code
    return 0


def test_every_gpu_row_is_a_known_backend() -> None:
    assert set(gpu_check.BACKENDS) <= set(BACKENDS)
    assert not [name for name in BACKENDS if name.startswith("tensorrt") and name not in gpu_check.BACKENDS]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (None, "no NVIDIA GPU here"),
        (
            {"name": "RTX 2080", "driver": "390.1", "compute_capability": "7.5"},
            "cannot use the RTX 2080 (driver 390.1)",
        ),
    ],
)
def test_without_a_usable_gpu_one_line_says_so(
    found: dict[str, str] | None,
    wanted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_check, "gpu", lambda: found)
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--out", str(tmp_path / "gpu")])
    with pytest.raises(SystemExit) as end:
        gpu_check.main()
    output = capsys.readouterr()
    assert end.value.code == 1 and output.out == ""
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    assert wanted in output.err
    assert not (tmp_path / "gpu").exists()


def test_table_lines_up_and_shows_every_figure() -> None:
    rows = {
        "pytorch_fp32": measured(),
        "tensorrt_fp16": unavailable("tensorrt_fp16"),
        "tensorrt_int8": measured(0.00321, warning="p95 is 3.7 times the median"),
        "report_pytorch_fp32": measured(None),
    }
    lines = gpu_check.table(rows).splitlines()
    assert lines[1].split() == ["pytorch_fp32", "1.23", "4.50", "789.4", "0.9500", "0.012", "0.000%"]
    assert lines[2].split(maxsplit=1) == ["tensorrt_fp16", "unavailable: no engine for tensorrt_fp16"]
    assert lines[3].split()[-1] == "0.321%"
    assert lines[4].split()[-3:] == ["-", "-", "-"]
    assert len({len(lines[i]) for i in (0, 1, 3, 4)}) == 1
    assert "tensorrt_int8: p95 is 3.7 times the median" in lines
    assert lines[-1] == "Imaginary RTX"


def test_rows_are_written_and_pass_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(name: str) -> dict[str, Any]:
        if name == "tensorrt_fp16":
            return unavailable(name)
        return measured(None if name == "report_pytorch_fp32" else 0.005)

    assert start(monkeypatch, tmp_path, measure) == 0
    assert {path.stem for path in tmp_path.iterdir()} == set(gpu_check.BACKENDS)
    assert read_json(tmp_path / "tensorrt_int8.json")["mask_disagreement"] == 0.005
    assert read_json(tmp_path / "tensorrt_fp16.json")["status"] == "unavailable"
    assert "unavailable: no engine for tensorrt_fp16" in capsys.readouterr().out


def test_a_row_beyond_the_limit_is_named_after_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(name: str) -> dict[str, Any]:
        return measured(0.0061 if name == "tensorrt_int8" else 0.0)

    assert start(monkeypatch, tmp_path, measure) == 1
    output = capsys.readouterr()
    error = output.err.splitlines()[-1]
    assert error.startswith("error: tensorrt_int8's masks differ") and "0.610%" in error and "0.5%" in error
    assert "tensorrt_fp16" not in error
    assert "report_pytorch_fp32" in output.out
    assert len(list(tmp_path.iterdir())) == len(gpu_check.BACKENDS)
    assert start(monkeypatch, tmp_path, measure, "--max-differ", "0.7") == 0


def test_a_gpu_that_no_engine_runs_on_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(name: str) -> dict[str, Any]:
        return unavailable(name) if name.startswith("tensorrt") else measured()

    assert start(monkeypatch, tmp_path, measure) == 1
    assert "error: no row of TensorRT ran" in capsys.readouterr().err


@pytest.mark.parametrize("share", ["-1", "101", "much", "nan"])
def test_a_share_that_is_no_percentage_is_refused(
    share: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(monkeypatch, tmp_path, unavailable, "--max-differ", share) == 2
    assert "--max-differ" in capsys.readouterr().err


def test_a_missing_model_ends_the_check_with_its_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(name: str) -> dict[str, Any]:
        raise UserError("models/person/config.json: not found; run `dvc repro` to make it")

    assert start(monkeypatch, tmp_path, measure) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: models/person/config.json: not found")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("CUDA error: out of memory\nmore"), "RuntimeError: CUDA error: out of memory"),
        (BrokenProcessPool("x"), "its process died"),
    ],
)
def test_a_row_that_breaks_down_is_kept_and_fails_the_check(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(gpu_check, "in_own_process", break_down)
    row = gpu_check.measure_apart("tensorrt_fp16")
    assert row == {"status": "failed", "reason": reason}
    with pytest.raises(UserError, match="tensorrt_fp16 failed"):
        gpu_check.check({"pytorch_fp32": measured(), "tensorrt_fp16": row}, 0.5)


def test_a_row_has_a_process_of_its_own() -> None:
    assert gpu_check.in_own_process(os.getpid) != os.getpid()
    with pytest.raises(BrokenProcessPool):
        gpu_check.in_own_process(os._exit, 3)
