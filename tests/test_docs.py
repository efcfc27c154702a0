"""Every command of the README and of docs/ is run here, or says below which test stands for it."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from exported import Exported, exported  # noqa: F401 (a fixture)
from typer.testing import CliRunner

from personseg import review_sheets
from personseg.cli import app
from personseg.files import write_table
from personseg.images import write_image, write_mask
from tests.figures import person

ROOT = Path.cwd()
PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]
ELSEWHERE = {
    "make run": "CI",
    "make test": "CI",
    "make picsart": "test_pipeline",
    "make experiments": "test_pipeline",
    "make ui": "test_mlflow_page",
    "make confirm": "hours, and MediaPipe's own package: test_split_seeds runs it with models that only answer",
    "make torture": "hours: its parts are those of `make test` and of tests.faults.kill",
    "python -m tests.faults.kill": "hours: tests/faults/test_kill.py ends single stages by the same means",
    "python -m benchmarks.ablation": "test_pipeline",
    "python -m benchmarks.from_nothing": "test_from_nothing; the stages are those of `make run`",
    "python -m benchmarks.folder": "test_pipeline",
    "python -m benchmarks.scaling": "test_pipeline",
    "python -m personseg.review_sheets": "below",
    "python -m personseg.spark": "tests/scale/test_spark.py",
    "dvc exp run": "test_pipeline, with overrides of its own; test_readme gives DVC those of the pages",
    "dvc exp apply": "test_pipeline",
    "dvc queue start": "test_pipeline",
    "cp": "the shell's",
    "pip install": "pip's; its file is a peer's",
    "pip download": "the same",
    "unzip": "the same",
    "export": "the shell's",
    "dvc remote": "tests/scale/test_remotes.py",
    "dvc push": "tests/scale/test_remotes.py",
    "dvc pull": "tests/scale/test_remotes.py",
    "dvc repro": "test_pipeline",
    "dvc commit": "tests/scale/test_nodes.py",
    "mlflow server": "tests/scale/conftest.py",
    "torchrun": "tests/scale/test_nodes.py",
}
READ_ONLY = ("dvc metrics show", "dvc metrics diff", "dvc exp show", "dvc plots show", "dvc plots diff")
OUTPUTS = {"-o masks": ["masks/me.png", "masks/you.png"], "-o submission.csv": ["submission.csv"]}


def blocks(language: str, pages: Sequence[Path] = PAGES) -> list[str]:
    found: list[str] = []
    for page in pages:
        text = (ROOT / page).read_text(encoding="utf-8")
        found += re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    return list(dict.fromkeys(found))


def commands(*pages: Path) -> list[str]:
    """Commands of the shell on some pages, each once, without comments."""
    found = [
        " ".join(shlex.split(line, comments=True) if "'" not in line else [line.split("  #")[0].strip()])
        for block in blocks("bash", pages)
        for line in block.splitlines()
        if line.strip() and not line.startswith("#")
    ]
    return list(dict.fromkeys(found))


COMMANDS = commands(*PAGES)


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
    known = ("personseg", *ELSEWHERE, *READ_ONLY)
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


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "personseg predict" in page.read_text(encoding="utf-8")], ids=str
)
def test_a_newcomer_may_run_them_one_after_the_other(user: Path, page: Path) -> None:
    for command in commands(page):
        if command.startswith("personseg "):
            outcome = CliRunner().invoke(app, shlex.split(command)[1:])
            assert outcome.exit_code == 0 and "skipped" not in outcome.output, (command, outcome.output)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_of_the_pages_runs(user: Path, code: str) -> None:
    if "mlflow" in code:
        pytest.skip("test_registry: the stored model segments photos elsewhere")
    names = {"paths": sorted(Path("photos").glob("*.jpg"))}
    exec(compile(code, "page", "exec"), names)


def scripts() -> dict[str, set[str]]:
    """Modules that the pages run, tables and sentences included, and the options they are given there."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        for module, rest in re.findall(r"python -m ([\w.]+)([^`#\n]*)", page.read_text(encoding="utf-8")):
            found.setdefault(module, set()).update(re.findall(r"--[\w-]+", rest))
    return found


@pytest.mark.parametrize(("module", "options"), scripts().items(), ids=str)
def test_scripts_start_and_take_the_options_of_the_pages(
    module: str, options: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as end:  # here, as a process each would import PyTorch anew
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    text = capsys.readouterr().out
    assert not end.value.code and "usage:" in text
    assert options <= set(re.findall(r"--[\w-]+", text))


@pytest.mark.parametrize("command", of("python -m personseg.review_sheets"))
def test_sheets_to_look_at(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        photo, mask = person(number)
        write_image(tmp_path / f"data/jpg/images/{number}.jpg", photo)
        write_mask(tmp_path / f"data/jpg/masks/{number}.jpg", mask)
    table = pd.DataFrame({"stem": ["0", "1", "2"], "quality": [0.9, 0.1, 0.5]})
    write_table(tmp_path / "data/audit/scores.csv", table)
    monkeypatch.setattr(sys, "argv", shlex.split(command)[2:])
    review_sheets.main()
    made = tmp_path / sys.argv[1]
    shown = pd.read_csv(made / "sheets.csv", dtype=str)["stem"].tolist()
    assert shown == (["1", "2", "0"] if "--fraction" not in command else shown[:1])
    assert (made / "sheet_0001.png").stat().st_size > 1000


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
