"""Every command of the README and of docs/ is run here, or says below which test stands for it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from exported import Exported, exported  # noqa: F401 (a fixture)
from typer.testing import CliRunner

from personseg.cli import app

PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]
ELSEWHERE = {
    "make": "test_readme: the target exists; CI itself runs `make run` and `make test`",
    "python": "test_readme: the script exists; each has tests of its own",
    "dvc exp run": "test_readme: DVC takes the overrides and params.yaml stays valid; test_ablation runs one",
    "cp": "the shell's",
}
READ_ONLY = ("dvc metrics show", "dvc metrics diff", "dvc exp show", "dvc plots show", "dvc plots diff")
HELP_ONLY = ("dvc queue start", "dvc exp apply")  # they change what is checked out
OUTPUTS = {"-o masks": ["masks/me.png", "masks/you.png"], "-o submission.csv": ["submission.csv"]}


def blocks(language: str) -> list[str]:
    found: list[str] = []
    for page in PAGES:
        found += re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    return list(dict.fromkeys(found))


COMMANDS = list(
    dict.fromkeys(
        " ".join(shlex.split(line, comments=True) if "'" not in line else [line.split("  #")[0].strip()])
        for block in blocks("bash")
        for line in block.splitlines()
        if line.strip() and not line.startswith("#")
    )
)


def of(*prefixes: str) -> list[str]:
    return [command for command in COMMANDS if command.startswith(prefixes)]


@pytest.fixture
def user(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A folder such as the pages speak of: a model, photos, a video."""
    shutil.copytree(exported.model, tmp_path / "models/person")
    (tmp_path / "photos/below").mkdir(parents=True)
    for number, name in enumerate(("photo.jpg", "me.jpg", "photos/me.jpg", "photos/you.jpg", "photos/below/she.jpg")):
        shutil.copy(exported.pairs[number % len(exported.pairs)][0], tmp_path / name)
    writer = cv2.VideoWriter(str(tmp_path / "walk.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 80))
    assert writer.isOpened()
    for _ in range(2):
        writer.write(np.full((80, 64, 3), 120, np.uint8))
    writer.release()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_is_run_or_accounted_for() -> None:
    assert len(COMMANDS) > 20
    known = ("personseg", *ELSEWHERE, *READ_ONLY, *HELP_ONLY)
    assert [command for command in COMMANDS if not command.startswith(known)] == []


@pytest.mark.parametrize("command", of("personseg "))
def test_commands_for_photos_do_what_they_say(user: Path, command: str) -> None:
    before = set(user.rglob("*"))
    outcome = CliRunner().invoke(app, shlex.split(command)[1:])
    assert outcome.exit_code == 0, outcome.output
    made = {path.relative_to(user).as_posix() for path in set(user.rglob("*")) - before if path.is_file()}
    expected = next((names for text, names in OUTPUTS.items() if text in command), [])
    assert set(expected) <= made
    assert made or command.startswith("personseg info")


@pytest.mark.parametrize("code", blocks("python"))
def test_python_of_the_pages_runs(user: Path, code: str) -> None:
    if "mlflow" in code:
        pytest.skip("test_registry: the stored model segments photos elsewhere")
    names = {"paths": sorted(Path("photos").glob("*.jpg"))}
    exec(compile(code, "page", "exec"), names)


@pytest.mark.parametrize("command", of(*READ_ONLY))
def test_tables_and_plots_of_dvc(command: str, tmp_path: Path) -> None:
    arguments = shlex.split(command)[1:] + (["--out", str(tmp_path / "plots")] if " plots " in command else [])
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if " plots " in command:
        page = (tmp_path / "plots/index.html").read_text(encoding="utf-8")
        assert len(page) > 10_000
    else:
        assert ("Experiment" if " exp " in command else "iou") in done.stdout or "diff" in command


def test_table_of_experiments_is_short_enough_to_read() -> None:
    recipe = Path("Makefile").read_text(encoding="utf-8").split("\nexperiments:", 1)[1].splitlines()[1]
    arguments = shlex.split(recipe.strip().lstrip("@").replace("$$", "$"))[1:]
    command = [sys.executable, "-m", "dvc", *arguments, "--csv"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    columns = table.splitlines()[0].split(",")
    assert {"Experiment", "val.iou", "test.iou"} <= set(columns) and len(columns) < 25


@pytest.mark.parametrize("command", of(*HELP_ONLY))
def test_other_commands_of_dvc_exist(command: str) -> None:
    words = shlex.split(command)[1:3]
    subprocess.run([sys.executable, "-m", "dvc", *words, "--help"], check=True, capture_output=True)
