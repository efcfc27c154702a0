"""Every variant of the ablation is a set of params that DVC takes and the road accepts."""

import re
import shutil
import subprocess

import pandas as pd
import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from benchmarks import ablation
from personseg.errors import UserError
from stages.params import Params

PLAN = yaml.safe_load(ablation.VARIANTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PLAN["variants"])
def test_params_of_a_variant(name, tmp_path):
    shutil.copy("params.yaml", tmp_path)
    values = ablation.overrides(PLAN["variants"][name], PLAN["shared"], 3)
    apply_overrides(tmp_path / "params.yaml", ablation.settings(values))
    params = yaml.safe_load((tmp_path / "params.yaml").read_text(encoding="utf-8"))
    assert Params.model_validate(params).train.seed == 3
    for key, value in values.items():
        place = params
        for part in key.split("."):
            place = place[part]
        assert (place | value if isinstance(value, dict) else value) == place, key


def test_experiments_have_names_git_takes():
    names = [ablation.slug(name, seed) for name in PLAN["variants"] for seed in (1, 2)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) for name in names)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("a: 1\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@e.org", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablation, "RESTORED", ("params.yaml",))
    return tmp_path


def test_what_the_table_has_is_not_run_again(repository, monkeypatch):
    done = []

    def run(name, values):
        done.append(name)
        (repository / "params.yaml").write_text("a: 2\n")

    monkeypatch.setattr(ablation, "run_experiment", run)
    monkeypatch.setattr(
        ablation, "row_of_run", lambda variant, seed, name: {"variant": variant, "seed": seed, "experiment": name}
    )
    out = repository / "table.csv"
    ablation.ablate("sample", "sample", [1], ["base", "lovasz"], out)
    table = ablation.ablate("sample", "sample", [1, 2], ["base"], out)
    assert done == ["base-1", "lovasz-1", "base-2"]
    assert list(table["experiment"]) == done == list(pd.read_csv(out)["experiment"])
    assert (repository / "params.yaml").read_text() == "a: 1\n"


def test_unknown_variants_and_changed_params_are_refused(repository):
    with pytest.raises(UserError, match="no variant 'nonsense'"):
        ablation.ablate("sample", "sample", [1], ["nonsense"], repository / "table.csv")
    (repository / "params.yaml").write_text("a: 3\n")
    with pytest.raises(UserError, match="uncommitted changes"):
        ablation.ablate("sample", "sample", [1], None, repository / "table.csv")
