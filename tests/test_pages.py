"""The tables of README and docs/ are those of the recorded figures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks import markdown, pages
from benchmarks.pages import PAGES, replace, written_anew
from personseg.errors import UserError
from personseg.files import write_json, write_table


@pytest.mark.parametrize("page", PAGES)
def test_tables_of_a_page_are_those_recorded(page: str) -> None:
    assert written_anew(page) == Path(page).read_text(encoding="utf-8"), "python -m benchmarks.pages writes it anew"


def test_a_table_is_put_between_its_marks() -> None:
    page = "before\n<!-- costs -->\nold\n<!-- /costs -->\nafter\n"
    assert replace(page, "costs", "| new |") == "before\n<!-- costs -->\n| new |\n<!-- /costs -->\nafter\n"
    with pytest.raises(UserError, match="no place for the table costs"):
        replace("<!-- costs -->\n", "costs", "x")


def test_markdown_has_figures_to_the_right() -> None:
    assert markdown.table(["what", "ms"], [["a", 1], ["b", 22]]) == "| what | ms |\n|---|---:|\n| a | 1 |\n| b | 22 |"


def test_cleaning_is_the_mean_over_seeds_and_how_far_it_is_from_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {"test_iou": [0.9, 0.92] * 2, "test_iou_imagewise": [0.8, 0.81] * 2, "test_boundary_iou": [0.5, 0.6] * 2}
    runs = {"variant": ["raw", "raw", "best", "best"], "seed": [1, 2] * 2, "photos": [7] * 4, "steps": [5] * 4}
    write_table(tmp_path / "picsart/cleaning.csv", pd.DataFrame(runs | scores))
    apart = {"difference": -0.01, "ci95_low": -0.03, "ci95_high": 0.02}
    write_json(tmp_path / "picsart/cleaning.json", {"raw": {"iou": apart}})
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    figures = "7 | 0.9100 | 0.8050 | 0.5500 | 0.9000 / 0.9200"
    assert pages.cleaning().splitlines()[2:] == [
        f"| raw | {figures} | -0.0100 [-0.0300, +0.0200] |",
        f"| best | {figures} | the default |",
    ]


def test_a_variant_has_a_row_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"variant": "base", "val_iou": 0.95, "val_boundary_iou": 0.7, "test_iou": 0.94, "test_iou_ci95_low": 0.93}
    row |= {"test_iou_ci95_high": 0.951, "test_boundary_iou": 0.68, "training_minutes": 5.26, "shows": "it"}
    row |= {"parameters": 3.54e6, "openvino_int8_p50_ms": 4.44}
    write_table(tmp_path / "picsart/ablation.csv", pd.DataFrame([{**row, "seed": seed} for seed in (1, 2)]))
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    figures = "0.9500 | 0.700 | 0.9400 [0.9300, 0.9510] | 0.680 | 5.3 | 3.5 | 4.4"
    assert pages.variants("ablation.csv").splitlines()[2:] == [
        f"| base | {figures} | it |",
        f"| base, seed 2 | {figures} |  |",
    ]


def test_speed_is_told_against_the_quickest_and_by_threads_and_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, report = (320, 256), (320, 320)
    rows = [
        (name, batch, threads, *size, seconds / threads, batch * threads / seconds)
        for name, size, seconds in (
            ("pytorch_fp32", own, 0.06),
            ("openvino_int8", own, 0.01),
            ("openvino_int8", report, 0.0125),
            ("report_pytorch_fp32", report, 1.0),
            ("mediapipe", (256, 256), 0.02),
        )
        for batch in (1, 4)
        for threads in (1, 2)
        if batch == 1 or "_int8" in name or name == "pytorch_fp32"
    ]
    columns = ["backend", "batch", "threads", "height", "width", "p50_s", "images_per_s"]
    table = pd.concat([pd.DataFrame(rows, columns=columns), pd.DataFrame([{"backend": "tensorrt_fp16"}])])
    table["warning"] = ["p95 is 2.0 times the median" if name == "mediapipe" else None for name in table["backend"]]
    for name in ("ratios", "scaling"):
        write_table(tmp_path / f"picsart/{name}.csv", table)
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    assert pages.ratios().splitlines()[2:] == [
        "| OpenVINO int8 | 320x256 | 5 | 1 |",
        "| OpenVINO int8 | 320x320 | 6.25 | 1.25 |",
        "| PyTorch fp32 | 320x256 | 30 | 6 |",
        "| PyTorch fp32, the report's network | 320x320 | 500 | 100 |",
        "| MediaPipe's selfie segmenter, LiteRT | 256x256 | 10 | 2 |",
        "",
        "MediaPipe's selfie segmenter, LiteRT at 256x256: p95 is 2.0 times the median.",
    ]
    head, _, *lines = pages.throughput().splitlines()
    assert head == "| photos / s | 1 thread, batch 1 | 1 thread, batch 4 | 2 threads, batch 1 | 2 threads, batch 4 |"
    assert lines == ["| PyTorch fp32 | 16.7 | 66.7 | 33.3 | 133 |", "| OpenVINO int8 | 100 | 400 | 200 | 800 |"]


def test_a_folder_stands_beside_pytorch_and_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"runtime": "openvino_bf16", "images_per_s": 118.4, "ratio": 3.24, "outside_network": 0.152}
    found |= {"one_by_one": {"images_per_s": 36.55}, "same_runtime_one_by_one": {"images_per_s": 107.4}}
    ms = {"decode": 0.5, "prepare": 0.02, "network": 7.5, "finish": 0.7, "encode": 0.4, "between": 0.1, "in_all": 9.2}
    for name in ("folder", "folder_int8"):
        write_json(tmp_path / f"picsart/{name}.json", {**found, "profile": {"ms": ms}})
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    row = "| OpenVINO bf16 | 118 | 107 | 36.5 | 3.2 | 0.50 | 0.02 | 7.50 | 0.70 | 0.40 | 15 % |"
    assert pages.folders().splitlines()[2:] == [row, row]
