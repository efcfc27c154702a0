"""The scaling table has every row that was asked for, in turns, and says what cannot run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import scaling
from benchmarks.scaling import Folders, Row, rows_of, runs_a_round, thread_counts
from personseg.benchmark import Protocol
from personseg.files import read_table, write_json, write_table
from personseg.images import write_image
from personseg.mediapipe import MediaPipe
from personseg.runtimes import Unavailable

SIZES = [(64, 48), (320, 320)]
FOLDERS = {size: Folders(Path("model"), Path("export")) for size in SIZES}
PROTOCOL = Protocol(runs=200, warmup_runs=10, warmup_s=0.2, max_seconds=4, threads=1)


def test_rows_are_all_combinations_but_the_reports_network_is_timed_once_a_thread_count() -> None:
    rows = rows_of(["openvino_f32", "report_pytorch_fp32"], [1, 4], [1, 2], SIZES)
    assert len(rows) == len(set(rows)) == 2 * 2 * 2 + 2
    assert {(row.batch, row.size) for row in rows if row.backend == "report_pytorch_fp32"} == {(1, (320, 320))}


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 4]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])]
)
def test_thread_counts_reach_all_cores(cores: int, counts: list[int]) -> None:
    assert thread_counts(cores) == counts


@pytest.mark.parametrize(("seconds", "runs"), [(0.001, 40), (0.04, 20), (0.2, 4), (9.0, 4)])
def test_a_row_takes_its_share_of_time_but_20_runs_in_all(seconds: float, runs: int) -> None:
    assert runs_a_round([seconds] * 3, 4.0) == runs
    assert scaling.FIRST_RUNS + (scaling.ROUNDS - 1) * scaling.LEAST_RUNS == 20


class Pool:
    """Stands in for a process: calls at once."""

    def __init__(self, *arguments: Any, **options: Any) -> None: ...

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: Any) -> None: ...

    def submit(self, function: Any, *arguments: Any) -> Any:
        class Done:
            def result(self) -> Any:
                return function(*arguments)

        return Done()


def test_rows_take_turns_and_one_that_cannot_run_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    timed: list[tuple[Row, Protocol]] = []

    def load(backend: str, size: scaling.Size, folders: Folders, threads: int) -> str | None:
        loaded.append((backend, size, threads))
        return "no GPU" if backend == "tensorrt_fp16" else None

    def time_row(row: Row, photos: Any, protocol: Protocol) -> list[float]:
        timed.append((row, protocol))
        return [0.1 * row.batch] * (protocol.runs - 1) + [0.1 * row.batch * (4 if row.threads == 2 else 1)]

    monkeypatch.setattr(scaling, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(scaling, "load", load)
    monkeypatch.setattr(scaling, "time_row", time_row)
    rows = rows_of(["openvino_f32", "tensorrt_fp16"], [1, 4], [1, 2], SIZES)
    table = scaling.measure(rows, FOLDERS, [], PROTOCOL)
    able = [row for row in rows if row.backend == "openvino_f32"]
    assert [row for row, _ in timed] == able * scaling.ROUNDS
    assert loaded.count(("openvino_f32", (64, 48), 2)) == 1 and len([1 for name, *_ in loaded if "rt" in name]) == 1
    assert [protocol.warmup_runs for _, protocol in timed[:: len(able)]] == [10, 2, 2, 2, 2]
    assert list(table.columns) == scaling.COLUMNS and len(table) == len(able) + 1

    write_table(tmp_path / "s.csv", table)
    found = read_table(tmp_path / "s.csv")
    first = found.iloc[0]
    assert (first["batch"], first["threads"], first["height"], first["width"]) == (1, 1, 64, 48)
    assert first["p50_s"] == pytest.approx(0.1) and first["images_per_s"] == pytest.approx(10)
    fours = found[(found["batch"] == 4) & (found["threads"] == 1)]
    assert fours["images_per_s"].tolist() == pytest.approx([10, 10])
    slow = found[found["threads"] == 2]
    assert slow["warning"].str.startswith("p95 is").all() and found[found["threads"] == 1]["warning"].isna().all()
    last = found.iloc[-1]
    assert last["backend"] == "tensorrt_fp16" and last["warning"] == "unavailable: no GPU" and np.isnan(last["p50_s"])


def test_a_batch_is_timed_by_the_benchmarks_own_stopwatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.jpg", np.full((60, 40, 3), 200, np.uint8))
    shapes: list[Any] = []

    class Runtime:
        def upload(self, images: Any) -> Any:
            shapes.append(images.shape)
            return images

        def run(self, images: Any) -> Any:
            return images

        def download(self, images: Any) -> Any:
            return images

        def device_seconds(self) -> None: ...

    monkeypatch.setitem(scaling._loaded, ("openvino_f32", (64, 48)), Runtime())  # type: ignore[misc]
    protocol = Protocol(runs=7, warmup_runs=2, warmup_s=0, max_seconds=60, threads=1)
    assert len(scaling.time_row(Row("openvino_f32", 4, 1, (64, 48)), [tmp_path / "a.jpg"], protocol)) == 7
    assert shapes == [(4, 64, 48, 3)] * 9


def test_mediapipe_is_timed_from_bytes_to_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.jpg", np.full((60, 60, 3), 255, np.uint8))
    given: list[Any] = []

    class Network(MediaPipe):
        def __init__(self, path: Path, threads: int) -> None:
            self.interpreter, self.input, self.output = self, {"index": 3}, {"index": 5}
            given.append((path, threads))

        def set_tensor(self, index: int, values: Any) -> None:
            given.append((index, values.shape, values.dtype, values.max()))

        def invoke(self) -> None: ...

        def get_tensor(self, index: int) -> Any:
            return np.full((1, 256, 256, 1), index, np.float32)

    monkeypatch.setattr(scaling, "MediaPipe", Network)
    path, size = tmp_path / "selfie.tflite", scaling.MEDIAPIPE_SIZE
    assert scaling.load("mediapipe", size, Folders(path, path), 2) is None
    row, protocol = Row("mediapipe", 1, 2, size), Protocol(runs=3, warmup_runs=1, warmup_s=0, max_seconds=60, threads=2)
    assert len(scaling.time_row(row, [tmp_path / "a.jpg"], protocol)) == 3
    assert given[0] == (path, 2) and given[1:] == [(3, (1, 256, 256, 3), np.float32, 1)] * 4
    assert scaling._loaded["mediapipe", size].infer(np.zeros((1, 256, 256, 3), np.uint8)).shape == (1, 256, 256)


def test_why_a_backend_does_not_load_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Runtime:
        def available(self) -> None: ...

        def load(self, *arguments: Any) -> None:
            raise Unavailable("no engine for this GPU")

    monkeypatch.setattr(scaling, "make_runtime", lambda name: Runtime())
    assert scaling.load("tensorrt_fp16", (64, 48), FOLDERS[64, 48], 1) == "no engine for this GPU"

    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'openvino'", name="openvino")

    monkeypatch.setattr(scaling, "make_runtime", missing)
    assert scaling.load("openvino_f32", (64, 48), FOLDERS[64, 48], 1) == "openvino cannot be imported"


def test_another_input_size_keeps_weights_and_threshold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from personseg.model_config import read_config
    from stages.params import load_params

    section = load_params().export
    (tmp_path / "data/splits").mkdir(parents=True)
    for name in ("train", "val", "test"):
        (tmp_path / f"data/splits/{name}.csv").write_text(f"stem\n{name}\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.safetensors").write_bytes(b"weights")
    write_json(
        tmp_path / "model/config.json",
        {"architecture": {}, "input_size": [64, 32], "threshold": 0.4, "postprocess": {}, "sha256": "ab"},
    )
    monkeypatch.chdir(tmp_path)
    exported: list[Any] = []
    monkeypatch.setattr("personseg.export.export", lambda *arguments: exported.append(arguments))
    folders = scaling.exported_at((320, 320), Path("model"), tmp_path / "new", section)
    config = read_config(folders.model)
    assert config.input_size == (320, 320) and config.threshold == 0.4 and config.sha256 == "ab"
    assert (folders.model / "model.safetensors").read_bytes() == b"weights"
    ((model, _, photos, val, drop, _),) = exported
    assert model == folders.model and [path.stem for path in photos] == ["train"] and drop == section.max_iou_drop
    assert val == [(Path("data/clean/images/val.jpg"), Path("data/clean/masks/val.jpg"))]


@pytest.mark.parametrize("arguments", [["--batches", "0"], ["--threads", "0"], ["--seconds", "0"]])
def test_impossible_numbers_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["scaling", *arguments])
    with pytest.raises(SystemExit):
        scaling.main()
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "--batches" in error and error.count("\n") == 1
