"""Every variant of the ablation is a set of params that DVC takes and the road accepts."""

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from benchmarks import ablation, experiments
from personseg.errors import UserError
from personseg.files import write_json
from personseg.ranks import PLACEMENT
from stages.params import Params

PLAN = yaml.safe_load(ablation.VARIANTS.read_text(encoding="utf-8"))
RECIPE = yaml.safe_load(ablation.VARIANTS.with_name("report_recipe.yaml").read_text(encoding="utf-8"))
STUDENTS = yaml.safe_load(ablation.VARIANTS.with_name("students.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("plan", "name"), [(plan, name) for plan in (PLAN, RECIPE, STUDENTS) for name in plan["variants"]]
)
def test_params_of_a_variant(plan, name, tmp_path):
    shutil.copy("params.yaml", tmp_path)
    shared = {**plan["shared"], "data.source": "/photos (1), all=mine/it's.zip"}
    values = ablation.overrides(plan["variants"][name], shared, 3)
    apply_overrides(tmp_path / "params.yaml", experiments.settings(values))
    params = yaml.safe_load((tmp_path / "params.yaml").read_text(encoding="utf-8"))
    assert Params.model_validate(params).train.seed == 3
    for key, value in values.items():
        place = params
        for part in key.split("."):
            place = place[part]
        assert (place | value if isinstance(value, dict) else value) == place, key


def test_experiments_have_names_git_takes():
    names = [experiments.slug("sample", name, seed) for name in PLAN["variants"] for seed in (1, 2)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) for name in names)


CHANGED = ("params.yaml", "dvc.lock", "metrics/iou.json")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    (tmp_path / "metrics").mkdir()
    for name in experiments.RESTORED:
        path = tmp_path / name
        (path / "iou.json" if path.is_dir() else path).write_text("a: 1\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@e.org", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_recipe_leaves_nothing_of_the_training_to_todays_default():
    sections = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["train"]
    said = {key.removeprefix("train.") for key in RECIPE["shared"] if key.startswith("train.")}
    named = {f"augment.{key}" for key in sections.pop("augment")} | set(sections)
    of_the_machine = {"seed", "warmup_fraction", "gradient_clip", "precision", "channels_last", "accelerator"}
    assert named - said - of_the_machine == {*PLACEMENT, "workers", "augment.hue", "augment.saturation"}


def test_what_variants_show_is_said_of_variants():
    assert set(PLAN["shows"]) <= set(PLAN["variants"])


def test_what_the_table_has_is_not_run_again(repository, monkeypatch):
    done = []

    def run(name, values):
        done.append(name)
        for path in CHANGED:
            (repository / path).write_text("a: 2\n")
        (repository / "metrics/another.json").touch()
        if name.endswith("-3"):
            raise UserError("failed")

    monkeypatch.setattr(ablation, "run_experiment", run)
    monkeypatch.setattr(
        ablation, "row_of_run", lambda variant, seed, name: {"variant": variant, "seed": seed, "experiment": name}
    )
    out = repository / "table.csv"
    ablation.ablate("sample", "sample", [1], ["base", "lovasz"], out)
    table = ablation.ablate("sample", "sample", [1, 2], ["base"], out)
    assert done == ["sample-base-1", "sample-lovasz-1", "sample-base-2"]
    assert list(table["shows"]) == [PLAN["shows"][name] for name in ("base", "lovasz", "base")]
    assert list(table["experiment"]) == done == list(pd.read_csv(out)["experiment"])
    with pytest.raises(UserError, match="failed"):
        ablation.ablate("sample", "sample", [3], ["base"], out)
    assert all((repository / path).read_text() == "a: 1\n" for path in CHANGED)
    assert not (repository / "metrics/another.json").exists()


def test_a_training_out_of_the_cache_has_no_minutes(repository, monkeypatch):
    cost, scores = Path("logs/costs/train.json"), dict.fromkeys(("iou", "boundary_iou", "iou_imagewise"), 0.9)
    scores |= {"iou_ci95_low": 0.8, "iou_ci95_high": 1.0}

    def run(name, values):
        Path("metrics/iou.json").write_text(json.dumps({"val": scores, "test": scores}))
        Path("metrics/train.json").write_text('{"parameters": 5}')
        if name == "sample-base-1":  # the other's training is known already
            write_json(cost, {"seconds": 90})

    monkeypatch.setattr(ablation, "run_experiment", run)
    monkeypatch.setattr(ablation, "split_digest", lambda folder: "0x0")
    out = repository / "table.csv"
    ablation.ablate("sample", "sample", [1], ["base", "lovasz"], out)
    assert pd.read_csv(out)["training_minutes"].isna().tolist() == [False, True]


def test_networks_of_a_kind_are_timed_once_for_all_their_variants(tmp_path, monkeypatch):
    asked = {}

    def side_by_side(models, section):
        asked.update(models)
        return {name: {"p50_s": model["input_size"][0] / 1e5} for name, model in models.items()}

    monkeypatch.setattr("benchmarks.structure.side_by_side", side_by_side)
    out = tmp_path / "table.csv"
    names = ["base", "lovasz", "larger photos", "base", "flip average"]
    rows = pd.DataFrame({"variant": names, "seed": [1, 1, 1, 2, 1]})
    rows.to_csv(out, index=False)
    with pytest.raises(UserError, match=r"table\.csv: has rows of other params"):
        ablation.add_times(out)
    values = [ablation.overrides(PLAN["variants"][name], PLAN["shared"], 1) for name in names]
    rows.assign(params=[experiments.digest(each, but="train.seed") for each in values]).to_csv(out, index=False)
    table = ablation.add_times(out)
    assert [model["input_size"] for model in asked.values()] == [[256, 192], [320, 256], [256, 192]]
    assert [model["flip_average"] for model in asked.values()] == [False, False, True]
    assert all(model["encoder"] == PLAN["shared"]["model.encoder"] for model in asked.values())
    assert table["openvino_int8_p50_ms"].tolist() == pytest.approx([2.56, 2.56, 3.2, 2.56, 2.56])
    pd.testing.assert_frame_equal(pd.read_csv(out), table)


def test_rows_of_other_params_are_not_joined(repository, monkeypatch):
    monkeypatch.setattr(ablation, "run_experiment", lambda name, values: None)
    monkeypatch.setattr(ablation, "row_of_run", lambda variant, seed, name: {"variant": variant, "seed": seed})
    out = repository / "table.csv"
    ablation.ablate("sample", "sample", [1], ["base"], out)
    (repository / "params.yaml").write_text("split: {seed: 2}\n")
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@e.org", "commit", "-qam", "y"], check=True)
    ablation.ablate("sample", "sample", [1], ["lovasz"], out)
    for seed in (1, 2):
        with pytest.raises(UserError, match=r"table\.csv: has rows of other params; move it away"):
            ablation.ablate("sample", "sample", [seed], ["base"], out)


def test_params_that_decide_a_model_have_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("data: {source: a}\ntrain: {seed: 1, loss: {focal: 1, dice: 1}, epochs: 5}\n")
    name = experiments.digest({}, but="train.seed")
    assert pd.read_csv(io.StringIO(f"params\n{name}\n0x12345678\n"))["params"].tolist() == [name, "0x12345678"]
    same = ({"train.seed": 2}, {"data.source": "b"}, {"train.epochs": 5}, {"train.loss": {"dice": 1}})
    others = ({"train.epochs": 6}, {"train.loss": {"dice": 0}}, {"split.seed": 1})
    assert {experiments.digest(values, but="train.seed") for values in same} == {name}
    assert len({name, *(experiments.digest(values, but="train.seed") for values in others)}) == 1 + len(others)


@pytest.mark.parametrize("changed", CHANGED)
def test_unknown_variants_and_uncommitted_changes_are_refused(repository, changed):
    with pytest.raises(UserError, match="no variant 'nonsense'"):
        ablation.ablate("sample", "sample", [1], ["nonsense"], repository / "table.csv")
    (repository / changed).write_text("a: 3\n")
    with pytest.raises(UserError, match="uncommitted changes"):
        ablation.ablate("sample", "sample", [1], None, repository / "table.csv")
