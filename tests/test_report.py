"""The report shows the figures it was given, opens offline, and comes out the same twice."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from personseg import charts
from personseg.errors import UserError
from personseg.report import (
    Options,
    chosen_overlays,
    engine,
    milliseconds,
    number,
    render,
    significant,
    variant_points,
    write_plot_tables,
)
from personseg.results import defect_counts, flatten, read_results
from tests.browser import browser
from tests.finished import BACKENDS, write_finished

OPTIONS = Options("People", "made-up", generated=False, worst=3, sheets=1, overlays=4)
PLOTS_PAGE = Path(__file__).parents[1] / ".dvc/plots_page.html"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finished(tmp_path_factory.mktemp("project"))


def rendered(root: Path, out: Path, options: Options = OPTIONS, photos: bool = True) -> tuple[str, str]:
    html, markdown = out / "report.html", out / "report.md"
    render(read_results(root, BACKENDS), options, html, markdown, photos)
    return html.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Collects every address a page refers to, and checks that its tags nest."""

    VOID = {"meta", "img", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_one_file_that_needs_no_network(project: Path, tmp_path: Path) -> None:
    html, _ = rendered(project, tmp_path)
    page = Page(html)
    assert [a for a in page.addresses if not a.startswith(("data:image/jpeg;base64,", "#"))] == []
    assert re.findall(r"url\((?!#)", html) == [] and "@import" not in html and "<script" not in html
    assert "prefers-color-scheme: dark" in html and 'name="viewport"' in html


def test_what_the_audit_found_stands_in_both_reports(project: Path, tmp_path: Path) -> None:
    html, markdown = rendered(project, tmp_path)
    for row in ("| reviewed as | suggested 1 | 2 | 3 |", "| 2 | 1 | 2 | 1 |", "| spots | 40 | 0.97 | 0.90 |"):
        assert row in markdown
    assert "| holes | 0 | – | – |" in markdown
    for text in (html, markdown):
        assert "0.67" in text
        assert "a mean IoU with the exact mask of 0.9500 to 0.9912 and left 2 worse" in text
    (root := tmp_path / "without").mkdir()
    write_finished(root)
    (root / "metrics/audit.json").unlink()
    for text in rendered(root, tmp_path):
        assert "reviewed as" not in text
        assert "planted defect" not in text


def test_variants_tried_stand_in_both_reports_best_on_val_first(project: Path, tmp_path: Path) -> None:
    measured = dict.fromkeys(("test_iou_ci95_low", "test_iou_ci95_high", "test_iou_imagewise"), 0.9)
    measured |= {"test_boundary_iou": 0.7, "training_minutes": 5.25, "parameters": 3_500_000}
    rows = [
        {"variant": "base", "seed": 1, "val_iou": 0.95, "test_iou": 0.96, "openvino_int8_p50_ms": 4.5, **measured},
        {"variant": "a | b", "seed": 1, "val_iou": 0.97, "test_iou": 0.94, "shows": "<more>", **measured},
        {"variant": "a | b", "seed": 2, "val_iou": 0.96, "test_iou": 0.93, **measured},
    ]
    found = read_results(project, BACKENDS)
    paths = tmp_path / "report.html", tmp_path / "report.md"
    render(found, OPTIONS, *paths, ablation=pd.DataFrame(rows))
    html, markdown = (path.read_text(encoding="utf-8") for path in paths)
    lines = [line for line in markdown.split("## Variants")[1].split("## Speed")[0].splitlines() if line[:2] == "| "]
    shown = "0.9000–0.9000 | 0.9000 | 0.7000 | 5.2 | 3.5"
    assert lines[1:] == [
        rf"| a \| b | 1 | 0.9700 | 0.9400 | {shown} | – | <more> |",
        rf"| a \| b | 2 | 0.9600 | 0.9300 | {shown} | – |  |",
        f"| base | 1 | 0.9500 | 0.9600 | {shown} | 4.5 |  |",
    ]
    assert "2 variants in 3 trainings" in html and "&lt;more&gt;" in html
    assert html.count("with the Pareto front") == 2 and "base (4.50 ms, 0.9500)." in markdown
    Page(html)
    assert "Variants" not in rendered(project, tmp_path)[0]


def test_charts_take_all_their_colours_from_the_page(project: Path, tmp_path: Path) -> None:
    html, _ = rendered(project, tmp_path)
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 5
    for drawing in drawings:
        assert "var(--ink)" in drawing and "var(--series-1)" in drawing
        assert re.findall(r"(?:fill|stroke): #\w+", drawing) == []


def test_the_front_leaves_out_what_is_slower_and_no_better() -> None:
    points = [charts.Point(*values) for values in (("slow", 9, 0.96), ("best", 8, 0.96), ("quick", 2, 0.9))]
    points += [charts.Point("twin", 2, 0.8), charts.Point("worse", 5, 0.9), charts.Point("middle", 4, 0.93)]
    assert [point.name for point in charts.pareto_front(points)] == ["quick", "middle", "best"]
    assert charts.pareto_front(points[::-1]) == charts.pareto_front(points)
    drawing = charts.latency_against_iou(points, "test IoU")
    assert all(f">{name}<" in drawing for name in ("quick", "middle", "best")) and ">worse<" not in drawing


def test_names_of_close_points_do_not_overprint_each_other() -> None:
    points = [charts.Point(f"OpenVINO {ms}", ms, 0.9 + ms / 1000) for ms in (4.8, 5.0, 7.6, 27.0)]
    drawing = charts.latency_against_iou(points, "test IoU")
    heights = [re.search(rf' y="([\d.]+)"[^>]*>{point.name}<', drawing) for point in points]
    first, second, third, last = (float(height[1]) for height in heights if height)
    assert first < second - 10 < third - 20 and last == third


def test_runtimes_on_the_front_stand_in_both_reports(project: Path, tmp_path: Path) -> None:
    html, markdown = rendered(project, tmp_path)
    assert "as good as: OpenVINO int8 (6.01 ms, 0.9573)." in markdown
    assert html.count("with the Pareto front") == 1


def test_variants_are_means_over_seeds_where_they_were_timed() -> None:
    table = pd.DataFrame({"variant": ["b", "a", "b", "c"], "val_iou": [0.9, 0.95, 0.92, 0.99]})
    table["openvino_int8_p50_ms"] = [4.0, 6.0, 5.0, None]
    assert variant_points(table) == [("b", 4.5, pytest.approx(0.91)), ("a", 6.0, 0.95)]
    assert variant_points(None) == []


def test_both_files_hold_both_tables(project: Path, tmp_path: Path) -> None:
    for text in rendered(project, tmp_path):
        for figure in ("0.95586", "0.94976", "0.9453", "0.97020", "0.95731", "0.95850", "+0.01320", "0.9511–0.9633"):
            assert figure in text, figure
        for figure in ("24.62", "41.44", "17.62", "0.11", "6.01", "166", "0.021 %"):
            assert figure in text, figure
        for count in ("762", "407", "289", "322", "1051", "900"):
            assert count in text
        assert "OpenVINO int8" in text


def test_a_backend_that_did_not_run_has_its_reason_and_the_engine_facts(project: Path, tmp_path: Path) -> None:
    for text in rendered(project, tmp_path):
        assert "no NVIDIA GPU: the engine was built, not run" in text
        assert "TensorRT RTX engine for SM80 and later: 9.87 MB, built in 0.610 s" in text


def test_a_backend_without_a_file_is_said_to_be_missing(project: Path, tmp_path: Path) -> None:
    found = read_results(project, [*BACKENDS, "tensorrt_int8"])
    render(found, OPTIONS, tmp_path / "a.html", tmp_path / "a.md")
    assert "TensorRT int8 | not run yet; `dvc repro benchmark@tensorrt_int8`" in (tmp_path / "a.md").read_text()


def test_the_card_rounds_as_the_tables_do(tmp_path: Path) -> None:
    root = write_finished(tmp_path / "project")
    scores = json.loads((root / "metrics/iou.json").read_text())
    scores["test"]["iou"] = 0.96839
    (root / "metrics/iou.json").write_text(json.dumps(scores))
    html, _ = rendered(root, tmp_path)
    assert '<span class="value">0.9684</span>' in html


def test_masks_whose_repair_was_undone_count_as_category_2(project: Path, tmp_path: Path) -> None:
    html, markdown = rendered(project, tmp_path)  # filter counts 41 in 2 and 40 in 3 once 7 repairs were undone
    assert "| category 2: quickly fixable | 48 | 407 |\n| of category 2, repaired | 41 | 289 |" in markdown
    assert "| of category 2, not repaired, left out | 7 | 118 |\n| category 3: long to fix, left out | 33 |" in markdown
    assert "7 repairs were undone" in html and "7 repairs were undone" in markdown


def test_pictures_are_there_before_the_page_is_scrolled(project: Path, tmp_path: Path) -> None:
    assert 'loading="lazy"' not in rendered(project, tmp_path)[0]


def test_without_any_measurement_the_page_still_comes(project: Path, tmp_path: Path) -> None:
    render(read_results(project, ["tensorrt_fp16"]), OPTIONS, tmp_path / "a.html", tmp_path / "a.md")
    assert "No runtime could be measured" in (tmp_path / "a.html").read_text()


def test_same_results_give_same_bytes(project: Path, tmp_path: Path) -> None:
    assert rendered(project, tmp_path / "a") == rendered(project, tmp_path / "b")


def test_a_phone_shows_it_without_scrolling_sideways(project: Path, tmp_path: Path) -> None:
    rendered(project, tmp_path)
    with browser() as chromium:
        for width in (360, 390, 1280):
            page = chromium.new_page(viewport={"width": width, "height": 800})
            page.goto((tmp_path / "report.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == width
            box = page.locator("table:has(caption:text('Table 1.'))").bounding_box()
            assert box["x"] + box["width"] <= width, "the table that matters most is seen whole"
            page.close()


def test_where_it_ran_is_said_in_words(tmp_path: Path) -> None:
    root = write_finished(tmp_path / "project")
    (root / "data/env.json").write_text('{"instruction_sets": ["avx2", "amx_int8"], "versions": {"torch": "2.14.1"}}')
    for text in rendered(root, tmp_path):
        assert "avx2, amx_int8" in text and "versions." not in text and "['" not in text


def test_photos_are_left_out_on_demand(project: Path, tmp_path: Path) -> None:
    with_photos, _ = rendered(project, tmp_path)
    without, _ = rendered(project, tmp_path, photos=False)
    assert with_photos.count("data:image/jpeg") == 5
    assert "data:image" not in without and "Pictures are left out" in without


def test_generated_data_is_called_so(project: Path, tmp_path: Path) -> None:
    sample = Options("People", "sample", generated=True, worst=3, sheets=0, overlays=0)
    warning = "These pictures were generated"
    assert all(warning in text for text in rendered(project, tmp_path, sample))
    assert not any(warning in text for text in rendered(project, tmp_path))


def test_missing_pictures_and_optional_files_do_no_harm(tmp_path: Path) -> None:
    root = write_finished(tmp_path / "project")
    for path in [*root.glob("data/evaluation/overlays/*"), *root.glob("data/audit/sheets/*")]:
        path.unlink()
    for name in ("data/env.json", "data/jpg/rejected.csv"):
        (root / name).unlink()
    html, _ = rendered(root, tmp_path)
    assert "data:image" not in html and "rejected.csv" not in html


def test_a_missing_metric_is_one_line(tmp_path: Path) -> None:
    root = write_finished(tmp_path)
    (root / "metrics/iou.json").unlink()
    with pytest.raises(UserError, match=r"iou\.json.*dvc repro"):
        read_results(root, BACKENDS)


def test_text_from_the_data_cannot_become_markup(tmp_path: Path) -> None:
    root = write_finished(tmp_path / "project")
    scores = pd.read_csv(root / "data/audit/scores.csv", dtype={"stem": str})
    scores.loc[0, ["stem", "quality", "reasons"]] = ["<b>x|y", 0.0, "<script>alert(1)</script>"]
    scores.to_csv(root / "data/audit/scores.csv", index=False)
    html, markdown = rendered(root, tmp_path)
    assert "<b>x" not in html and "<script" not in html
    assert "x\\|y" in markdown


def test_worst_masks_come_first(project: Path, tmp_path: Path) -> None:
    worst = read_results(project, []).scores.sort_values("quality")["stem"].iloc[0]
    _, markdown = rendered(project, tmp_path)
    assert markdown.split("| photo | quality")[1].splitlines()[2].startswith(f"| {worst} |")


def test_overlays_are_half_the_worst_and_half_a_spread(project: Path) -> None:
    folder = project / "data/evaluation/overlays"  # ranks 1 to 4 are the worst, 5 to 8 spread over the rest
    assert [path.name[5:7] for path in chosen_overlays(folder, 4)] == ["01", "02", "05", "07"]
    assert len(chosen_overlays(folder, 100)) == 8
    assert chosen_overlays(folder, 0) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(0.95731), "0.9573"),
        (number(None), "–"),
        (number(float("nan")), "–"),
        (significant(0), "0"),
        (significant(0.99996), "1.00"),
        (significant(1234.5), "1230"),
        (significant(0.0012345), "0.00123"),
        (milliseconds(0.00601), "6.01"),
        (engine("tensorrt", {"not_built": "no GPU"}), "TensorRT engine: not built, no GPU"),
    ],
)
def test_formatting(text: str, expected: str) -> None:
    assert text == expected


def test_defects_are_counted_by_kind() -> None:
    reasons = ["3 spots, 140 px; hair gap 5 px over 9 px", "1 spot, 30 px", None, "empty mask"]
    assert defect_counts(pd.DataFrame({"reasons": reasons})) == {"spot": 2, "empty mask": 1, "hair gap": 1}


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": [3]}) == {"a.b": 1, "a.c.d": 2, "e": [3]}


def test_histogram_counts_every_photo_once() -> None:
    images = pd.DataFrame({"split": ["test"] * 4 + ["val"], "iou": [0.1, 0.805, 0.955, 1.0, 0.9]})
    table = charts.iou_histogram(images)
    test = table[table["split"] == "test"].set_index("iou")
    assert test["images"].sum() == 4 and test["share"].sum() == pytest.approx(1)
    assert test.loc[0.80, "images"] == 2 and test.loc[0.95, "images"] == 1 and test.loc[0.99, "images"] == 1


def test_plot_tables(project: Path, tmp_path: Path) -> None:
    write_plot_tables(read_results(project, BACKENDS), tmp_path / "l.csv", tmp_path / "d.csv")
    latency = pd.read_csv(tmp_path / "l.csv").set_index("runtime")["p50_ms"]
    shares = pd.read_csv(tmp_path / "d.csv")
    assert list(shares) == ["iou", "test", "val"] and shares["test"].sum() == pytest.approx(100)
    assert latency["OpenVINO int8"] == pytest.approx(6.01) and "TensorRT fp16" not in latency


def test_the_page_of_dvc_plots_carries_its_own_scripts() -> None:
    text = PLOTS_PAGE.read_text(encoding="utf-8")
    assert "{plot_divs}" in text and "{scripts}" not in text and "<script src" not in text
    assert PLOTS_PAGE.stat().st_size < 1_500_000
    for package in ("vega 5.33.1", "vega-lite 5.23.0", "vega-embed 6.29.0"):
        assert package in text


def test_every_backend_of_the_design_has_a_title() -> None:
    from personseg.results import BACKEND_TITLES, backend_title

    assert len(BACKEND_TITLES) == 13 and backend_title("new_one") == "new_one"


def test_fixture_follows_the_metrics_contract(project: Path) -> None:
    row = json.loads((project / "metrics/benchmark/openvino_int8.json").read_text())
    assert set(row) >= {"status", "mean_s", "std_s", "p50_s", "p95_s", "p99_s", "images_per_s", "end_to_end_p50_s"}
