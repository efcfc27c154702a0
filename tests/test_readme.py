"""The README's figures are the recorded ones; the commands in it and in docs/ exist."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from benchmarks import from_nothing
from stages.params import Params

README = Path("README.md").read_text(encoding="utf-8")
RESULTS = Path("results/picsart")
PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]


def tables(text):
    """Rows of the tables that come after `Table 1.` and `Table 2.`."""
    rows = []
    for number in (1, 2):
        block = text.split(f"Table {number}.", 1)[1].split("\n\n", 2)[1]
        rows += [line for line in block.splitlines() if line.startswith("|")]
    return rows


def test_both_tables_are_those_of_the_recorded_report():
    report = tables((RESULTS / "report.md").read_text(encoding="utf-8"))
    assert len(report) > 12
    assert tables(README) == report


def recorded(name):
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def experiments() -> str:
    """The words of docs/experiments.md, wherever its lines break."""
    return " ".join(Path("docs/experiments.md").read_text(encoding="utf-8").split())


def test_what_stands_around_the_tables_is_recorded():
    text, costs, training = " ".join(README.split()), recorded("costs.json"), recorded("training_cost.json")
    minutes = costs["total_seconds"] / 60, costs["stages"]["train"]["seconds"] / 60
    assert "{:.0f} minutes in all, {:.0f} of them training".format(*minutes) in text
    assert "The split here is {train} / {val} / {test} (".format(**recorded("metrics/split.json")) in text
    ratios = training["ratio"], training["freed_memory_kept"]["ratio"]
    steps = re.search(r"costs 1/(\d+) per photo .* which our training does, 1/(\d+),", text)
    assert [int(step) for step in steps.groups()] == [round(1 / ratio) for ratio in ratios]


def test_what_repairs_leave_of_the_reviewed_list_is_recorded():
    page, found = (RESULTS / "review/README.md").read_text(encoding="utf-8"), recorded("metrics/filter.json")
    counts = " / ".join(str(found["category"][category]) for category in "123")
    assert f"| after repairs: 1 / mended / left out | {counts} | |" in page
    assert f"| kept | {found['kept']} | 1051 |" in page


def test_the_photo_that_costs_most_is_the_one_named():
    text, rows = " ".join(README.split()), pd.read_csv(RESULTS / "data/evaluation/images.csv", dtype={"stem": str})
    rows = rows[rows["split"] == "test"].set_index("stem")
    worst = rows["iou"].idxmin()
    others = rows.drop(worst)[["tp", "fp", "fn"]].sum()
    assert f"on {worst} the network" in text and f"(IoU {rows['iou'][worst]:.2f})" in text
    assert f"without it test would be {others['tp'] / others.sum():.4f}" in text


def test_figures_beside_the_peer_are_those_recorded():
    text = " ".join(README.split())
    peers = recorded("metrics/peers.json")
    ours, theirs = peers["ours"], peers["mediapipe"]
    lead, edge = peers["difference"]["test"]["iou"], peers["difference"]["test"]["boundary_iou"]
    assert (
        f"test IoU {ours['test_iou']:.4f} against {theirs['test_iou']:.4f}, difference {lead['difference']:+.4f}"
        in text
    )
    assert f"{lead['ci95_low']:.4f} to {lead['ci95_high']:.4f})" in text
    assert f"boundary IoU {ours['test_boundary_iou']:.4f} against {theirs['test_boundary_iou']:.4f}" in text
    assert f"({edge['ci95_low']:+.4f} to {edge['ci95_high']:+.4f})" in text
    assert f"val and test {ours['raw_val_test_iou']:.4f} against {theirs['raw_val_test_iou']:.4f}" in text

    flips = recorded("flip_average.json")
    test, raw = (flips["difference"][name] for name in ("test", "raw_val_test"))
    interval = "({iou[ci95_low]:.4f} to {iou[ci95_high]:.4f}"
    assert "a val IoU of {val_iou:.4f} and a test IoU of {test_iou:.4f}".format(**flips["ours"]) in text
    assert f"{-test['iou']['difference']:.4f} behind MediaPipe {interval.format(**test)})" in text
    assert f"boundary IoU {test['boundary_iou']['difference']:.4f} ahead; on the raw masks" in text
    assert f"it is {raw['iou']['difference']:.4f} ahead {interval.format(**raw)};" in text
    assert flips["images"] == peers["images"] and flips["mediapipe"] == theirs, "the same photos and peer"

    views = pd.read_csv(RESULTS / "robustness.csv").set_index("view")
    for words, view in (
        ("twice as high, IoU is {:.2f} (MediaPipe: {:.2f})", "frame 2 times as high"),
        ("four times {:.2f} ({:.2f})", "frame 4 times as high"),
        ("in the dark {:.2f} ({:.2f})", "dark and noisy"),
        ("against the light {:.2f} ({:.2f})", "against the light"),
    ):
        assert words.format(views["ours_iou"][view], views["mediapipe_iou"][view]) in text, view
    for view in ("4000 px high", "16:9 between bars", "light from one side"):  # "it stays ahead"
        assert views["ours_iou"][view] > views["mediapipe_iou"][view]


def test_what_two_teachers_bring_is_told_as_recorded():
    page = experiments()
    alone = recorded("metrics/peers.json")["val_iou_at_best_threshold"]
    words = "has an IoU of {mean:.4f}, where the model alone has {ours:.4f} and MediaPipe {mediapipe:.4f}"
    assert words.format(**alone) in page and alone["mean"] > alone["ours"] > alone["mediapipe"]
    rows = pd.read_csv(RESULTS / "further.csv").set_index("variant")
    iou, peers = recorded("metrics/iou.json"), recorded("metrics/peers.json")
    row = rows.loc["taught by itself and MediaPipe"]
    assert f"a val IoU of {row['val_iou']:.4f} ({iou['val']['iou']:.4f} before)" in page
    assert f"a test IoU of {row['test_iou']:.4f} ({iou['test']['iou']:.4f};" in page
    both = rows.loc["a student of the default and MediaPipe"]
    assert f"has a val IoU of {both['val_iou']:.4f} and a test IoU of {both['test_iou']:.4f}" in page
    for row in (both, {key: peers["mediapipe"][key] for key in ("val_iou", "test_iou")}):
        assert row["val_iou"] < iou["val"]["iou"] and row["test_iou"] > iou["test"]["iou"]
    assert iou["val"]["iou_ci95_low"] < both["val_iou"] and both["test_iou"] < iou["test"]["iou_ci95_high"]


def test_what_people_far_away_are_good_for_is_told_as_recorded():
    page = experiments()
    near = pd.read_csv(RESULTS / "further.csv").set_index("variant").loc["nobody far away"]
    iou = recorded("metrics/iou.json")
    words = "val IoU is {:.4f} and test IoU {:.4f} ({:.4f} and {:.4f} with them;"
    assert words.format(near["val_iou"], near["test_iou"], *(iou[name]["iou"] for name in ("val", "test"))) in page
    with_them, without = (
        pd.read_csv(RESULTS / f"robustness{name}.csv").set_index("view")["ours_iou"]
        for name in ("", "_nobody_far_away")
    )
    for times, word in ((2, "twice as high IoU is"), (4, "four times as high")):
        view = f"frame {times} times as high"
        assert f"{word} {without[view]:.2f} instead of {with_them[view]:.2f}" in page


def test_what_is_said_of_the_ablation_is_in_its_table():
    page = experiments()
    table = pd.read_csv(RESULTS / "ablation.csv")
    plan = yaml.safe_load(Path("benchmarks/variants.yaml").read_text(encoding="utf-8"))["variants"]
    seeds = table.groupby("variant")["seed"].count()
    assert f"{len(seeds)} of the plan's {len(plan)} variants, two of them with a second seed" in page
    assert (seeds == 2).sum() == 2 and table["split"].nunique() == 1
    sizes = (recorded("metrics/iou.json")[name]["images"] for name in ("val", "test"))
    assert "Val and test are the record's {} and {} photos".format(*sizes) in page
    base, near = (table[table["variant"] == name] for name in ("base", "nobody far away"))
    for name in ("val_iou", "test_iou"):  # "half a point"
        assert base[name].max() - base[name].min() == pytest.approx(0.005, abs=5e-4)
    (val,), (edge,), (test,) = (near[name] for name in ("val_iou", "val_boundary_iou", "test_iou"))
    assert [round(1000 * (val - one)) for one in sorted(base["val_iou"], reverse=True)] == [4, 9]
    assert edge - base["val_boundary_iou"].max() > 0.02
    assert base["test_iou"].min() < test < base["test_iou"].max()
    for name in ("lite2", "larger photos"):
        rows = table[table["variant"] == name]
        assert all(rows[score].min() > base[score].max() for score in ("val_iou", "test_iou"))


def test_other_splits_are_those_recorded():
    text = " ".join(README.split())
    rows = pd.read_csv(RESULTS / "split_seeds.csv").set_index("split_seed")
    two, three, both = (rows.loc[name] for name in ("2", "3", "all"))
    assert len(rows) == 3 and f"test IoU is {two['test_iou']:.4f} and {three['test_iou']:.4f}" in text
    leads = f"the test IoU is {two['iou_difference']:+.4f} and {three['iou_difference']:+.4f} ahead, "
    together = f"on their {both['test_photos']:.0f} test photos together {both['iou_difference']:+.4f}"
    assert f"{leads}{together} ({both['iou_ci95_low']:.4f} to {both['iou_ci95_high']:.4f})" in text
    assert both["iou_ci95_low"] < 0 < both["iou_ci95_high"]


def test_what_cleaning_buys_is_what_was_measured():
    text = " ".join(Path("README.md").read_text(encoding="utf-8").split())
    apart = recorded("cleaning.json")
    raw, weighted, both = (
        apart[name] for name in ("raw masks", "raw masks weighted by quality", "1 + repaired 2, weighted by quality")
    )
    points = [-100 * raw[name]["difference"] for name in ("iou", "boundary_iou")]
    assert "is {:.1f} points ahead of the raw masks, above chance, and at the boundary {:.1f}".format(*points) in text
    assert raw["iou"]["ci95_high"] < 0 and raw["boundary_iou"]["ci95_high"] < 0
    assert f"nearly as good ({-100 * weighted['iou']['difference']:.1f} points less, within chance)" in text
    assert all(one["iou"]["ci95_low"] < 0 < one["iou"]["ci95_high"] for one in (weighted, both))
    assert f"it is {100 * both['boundary_iou']['difference']:.1f} points better, just above chance" in text
    assert both["boundary_iou"]["ci95_low"] > 0
    assert all(apart[name]["iou"]["difference"] < 0 for name in ("category 1", "1 + unrepaired 2"))
    runs = pd.read_csv(RESULTS / "cleaning.csv")
    assert set(runs["steps"]) == {424} and "424 steps and the same validations for each, two seeds" in text
    assert runs["variant"].nunique() == 6 == len(apart) + 1
    spread = runs.groupby("variant")["test_iou"].agg(lambda values: values.max() - values.min()).max()
    assert f"differ by up to {spread:.4f} (Table 3" in experiments()


def planted(kind, sets):
    """Planted defects of a kind in all sets, and precision and recall of finding them."""
    keys = ("planted", "found", "findings", "right")
    total = {key: sum(one["planted"][kind][key] for one in sets) for key in keys}
    return total["planted"], total["right"] / total["findings"], total["found"] / total["planted"]


def test_figures_of_the_audit_are_those_recorded():
    page = " ".join(Path("docs/cleaning.md").read_text(encoding="utf-8").split())
    files = sorted(Path("results/audit").glob("*.json")), sorted(Path("results/audit/earlier").glob("*.json"))
    sets, earlier = ([json.loads(path.read_text(encoding="utf-8")) for path in paths] for paths in files)
    assert len(sets) == len(earlier) == 3
    count, precision, recall = planted("hair_gap", sets + earlier)
    assert f"of the {count} gaps of all six {recall:.3f} are found, at precision {precision:.3f}" in page
    for kind, name in (
        ("spots", "spots"),
        ("hair_gap", "hair gaps"),
        ("holes", "holes"),
        ("extra_background", "extra"),
    ):
        count, precision, recall = planted(kind, sets)
        assert re.search(rf"\| {name}[^|]*\| {count} \| {precision:.3f} \| {recall:.3f} \|", page), kind
    repairs = [one["repair"] for one in sets]
    repaired, harmed = (sum(one[key] for one in repairs) for key in ("repaired", "harmed"))
    before, after = (sum(one["repaired"] * (1 - one[key]) for one in repairs) for key in ("iou_before", "iou_after"))
    assert f"Of {repaired} repaired masks {harmed} came out worse;" in page
    assert f"all of them fell to {after / before:.2f} of what it was" in page
    untouched = [one["untouched"] for one in sets]
    masks, changed = (sum(one[key] for one in untouched) for key in ("masks", "changed"))
    assert f"Of {masks} masks without a planted defect the repair changed {changed}" in page


def test_minutes_to_the_reports_iou_are_those_recorded():
    page = experiments()
    found = recorded("from_nothing.json")
    test, training = found["test"], found["stage_seconds"]["train"] / 60
    assert f"finished after {found['minutes']:.1f} minutes by the clock, {training:.1f} of them training" in page
    assert sum(found["stage_seconds"].values()) / 60 < found["minutes"] < 15
    low, high = test["iou_ci95_low"], test["iou_ci95_high"]
    assert f"a test IoU of {test['iou']:.3f} (95 % interval {low:.3f} to {high:.3f})" in page
    assert test["iou"] > 0.9453 and found["params"] == from_nothing.QUICK
    assert f"{found['cores']} cores of an {found['cpu']}" in page
    assert f"a test IoU of {test['iou']:.3f} on PicsArt" in README


def test_goals_of_speed_are_told_as_recorded():
    page = Path("docs/benchmarks.md").read_text(encoding="utf-8")
    rows = pd.read_csv(RESULTS / "ratios.csv").set_index(["backend", "height", "width"])["p50_s"]
    own, wide = rows["openvino_int8", 320, 256], rows["openvino_int8", 320, 320]
    theirs = rows["report_pytorch_fp32", 320, 320]
    assert f"| 10 times | {rows['pytorch_fp32', 320, 256] / own:.1f} times |" in page
    assert f"| 60 times | {theirs / own:.0f} times; {theirs / wide:.0f} with both at 320x320 |" in page
    assert f"| 3 times at most | {own / rows['mediapipe', 256, 256]:.1f} times; IoU not to be told apart |" in page
    lead = recorded("metrics/peers.json")["difference"]["test"]["iou"]
    assert lead["ci95_low"] < 0 < lead["ci95_high"]
    fp32, int8, bf16, fp16 = (
        100 * recorded(f"metrics/benchmark/{name}.json")["test_iou"]
        for name in ("pytorch_fp32", "openvino_int8", "openvino_bf16", "onnxruntime_fp16")
    )
    assert f"| 0.2, 0.1, 0.05 points | {fp32 - int8:.2f}, {fp32 - bf16:.4f}, {fp32 - fp16:.4f} (fp16" in page
    bf16_folder, int8_folder = recorded("folder.json"), recorded("folder_int8.json")
    assert f"| 12 times | {bf16_folder['ratio']:.1f} times in bf16, {int8_folder['ratio']:.1f} in int8 |" in page
    shares = (100 * found["outside_network"] for found in (bf16_folder, int8_folder))
    assert "| 30 % | {:.0f} % in bf16, {:.0f} % in int8 |".format(*shares) in page


def test_the_dense_network_is_told_as_timed():
    page = " ".join(Path("docs/benchmarks.md").read_text(encoding="utf-8").split())
    rows = pd.read_csv(RESULTS / "ratios_resnet34.csv").set_index(["backend", "height", "width"])["p50_s"]
    own, wide = rows["openvino_int8", 256, 192], rows["openvino_int8", 320, 320]
    own_ratio, wide_ratio = rows["pytorch_fp32", 256, 192] / own, rows["pytorch_fp32", 320, 320] / wide
    assert f"{own_ratio:.1f} times as fast as in PyTorch fp32, and {wide_ratio:.1f} times at 320x320" in page
    assert f"it takes {own / rows['mediapipe', 256, 256]:.1f} times MediaPipe's time" in page
    taught = pd.read_csv(RESULTS / "students.csv").set_index("variant").loc["resnet34 taught with hints"]
    behind = 100 * (recorded("metrics/iou.json")["test"]["iou"] - taught["test_iou"])
    assert f"{behind:.1f} points of test IoU behind" in page


def test_what_a_user_waits_for_is_as_recorded():
    page = " ".join(Path("docs/deployment.md").read_text(encoding="utf-8").split())
    found = json.loads(Path("results/in_hands.json").read_text(encoding="utf-8"))
    assert f"the first mask is there after {found['first_mask_s']:.1f} s" in page
    assert f"`personseg --help` after {found['help_s']:.2f} s" in page
    assert f"at most {found['largest_photo_bytes'] / 1e9:.1f} GB" in page


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_target_and_script_a_page_names_exists(page):
    text, makefile = page.read_text(encoding="utf-8"), Path("Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?make ([a-z][a-z-]+)", text)):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert Path(*module.split(".")).with_suffix(".py").is_file(), module
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_dvc_takes_the_overrides_of_a_page(page, tmp_path):
    shutil.copy("params.yaml", tmp_path)
    overrides = re.findall(r"-S ('[^']+'|\S+)", page.read_text(encoding="utf-8"))
    apply_overrides(tmp_path / "params.yaml", [override.strip("'") for override in overrides])
    Params.model_validate(yaml.safe_load((tmp_path / "params.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_parameters_a_page_sets_exist(page):
    text, params = page.read_text(encoding="utf-8"), yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    sections = "|".join(params)
    keys = re.findall(r"-S '?([\w.]+)=", text) + re.findall(rf"`((?:{sections})\.[\w.]+)[`:]", text)
    for key in keys:
        if key.endswith((".json", ".csv", ".py", ".safetensors")):
            continue  # a file
        place = params
        for part in key.split("."):
            assert part in place, key
            place = place[part]


def test_stages_the_readme_draws_are_those_of_the_road():
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    drawn = next(line for line in README.splitlines() if line.startswith("source -> "))
    assert set(drawn.replace("->", " ").split()) == set(stages) - {"env"}


def test_the_encoder_without_weights_is_told_as_recorded():
    rows = pd.read_csv(RESULTS / "students.csv").set_index("variant")
    alone, taught = rows.loc["resnet34 alone"], rows.loc["resnet34 taught with hints"]
    text = " ".join(README.split())
    assert f"a test IoU of {alone['test_iou']:.3f} in 38 epochs alone, and to {taught['test_iou']:.3f} in 76" in text
    page = experiments()
    intervals = [f"{row['test_iou_ci95_low']:.4f} to {row['test_iou_ci95_high']:.4f}" for row in (alone, taught)]
    assert f"is {taught['test_iou']:.4f} (95 % interval {intervals[1]}), past the report's 0.9453" in page
    short = 100 * (0.9453 - alone["test_iou"])
    assert f"it was {alone['test_iou']:.4f} ({intervals[0]}), {short:.1f} points short" in page
    assert taught["test_iou_ci95_low"] > 0.9453
