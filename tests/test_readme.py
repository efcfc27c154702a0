"""The README's figures are the recorded ones, and its commands exist."""

import re
from pathlib import Path

import pytest
import yaml

README = Path("README.md").read_text(encoding="utf-8")
RESULTS = Path("results/picsart")


def tables(text):
    """Rows of the tables that come after `Table 1.` and `Table 2.`."""
    rows = []
    for number in (1, 2):
        block = text.split(f"Table {number}.", 1)[1].split("\n\n", 2)[1]
        rows += [line for line in block.splitlines() if line.startswith("|")]
    return rows


def test_both_tables_are_those_of_the_recorded_report():
    recorded = tables((RESULTS / "report.md").read_text(encoding="utf-8"))
    assert len(recorded) > 12
    assert tables(README) == recorded


def test_every_target_and_script_the_readme_names_exists():
    makefile = Path("Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?make ([a-z][a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for module in re.findall(r"python -m ([\w.]+)", README):
        assert Path(*module.split(".")).with_suffix(".py").is_file(), module
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert Path(link).exists(), link


@pytest.mark.parametrize("override", re.findall(r"-S '?([\w.]+)=", README))
def test_parameters_the_readme_sets_exist(override):
    place = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    for key in override.split("."):
        assert key in place, override
        place = place[key]


def test_stages_the_readme_draws_are_those_of_the_road():
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    drawn = next(line for line in README.splitlines() if line.startswith("source -> "))
    assert set(drawn.replace("->", " ").split()) == set(stages) - {"env"}
