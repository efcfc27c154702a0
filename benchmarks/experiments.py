"""Runs of the road as experiments of DVC, one after the other, and the working tree as it was after each."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from personseg.errors import UserError

RESTORED = ("params.yaml", "dvc.lock", "metrics")
AFTERWARDS = {"data", "evaluate", "export", "benchmark", "report", "track"}  # sections that decide nothing of a model


def road_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser for a script that walks the road: --data, --name, -S; its help begins with the first line of `doc`."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--data", required=True, help="as data.source in params.yaml")
    parser.add_argument("--name", default="picsart")
    parser.add_argument(
        "-S", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="as of dvc exp run"
    )
    return parser


def source(data: str) -> str:
    """`data.source` for a path, a URL or `sample`: paths made absolute."""
    return str(Path(data).resolve()) if Path(data).exists() else data


def slug(data: str, variant: str, seed: int) -> str:
    """Name of the experiment: what git allows in a reference."""
    return re.sub(r"[^a-z0-9]+", "-", f"{data} {variant} {seed}".lower()).strip("-")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def refuse_uncommitted() -> None:
    """UserError if what `restore` would put back has changes that git does not have."""
    if changed := _git("status", "--porcelain", "--", *RESTORED).split():
        raise UserError(f"{changed[1]}: has uncommitted changes; commit them or do `git checkout {' '.join(RESTORED)}`")


def restore() -> None:
    """Put params.yaml, dvc.lock and metrics/ back; data/ and models/ stay the last run's until `dvc checkout`."""
    _git("checkout", "--quiet", "HEAD", "--", *RESTORED)
    _git("clean", "--quiet", "-d", "--force", "--", *RESTORED)  # the row of a backend that others do not run


def short_hash(data: bytes) -> str:
    """Eight hex digits of SHA-256, in a form that pandas does not take for a number."""
    return "0x" + hashlib.sha256(data).hexdigest()[:8]


def digest(values: Mapping[str, Any], but: str) -> str:
    """Name what decides a model, params.yaml with `values` (keys written flat) in it, whatever key `but` is.

    A table of experiments keeps it beside each row: rows of other params are rows of other models.
    """
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    for key, value in values.items():
        *sections, last = key.split(".")
        place = params
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = {**place.get(last, {}), **value} if isinstance(value, dict) else value
    section, _, last = but.partition(".")
    params.get(section, {}).pop(last, None)
    kept = {name: section for name, section in params.items() if name not in AFTERWARDS}
    return short_hash(json.dumps(kept, sort_keys=True).encode())


def refuse_other_params(rows: pd.DataFrame, params: str, table: Path) -> None:
    """UserError if `rows` of `table` are of other params than `digest` gave."""
    if len(rows) and ("params" not in rows or (rows["params"] != params).any()):
        raise UserError(f"{table}: has rows of other params; move it away, or name another with --out")


def settings(values: Mapping[str, Any]) -> list[str]:
    """KEY=VALUE as `dvc exp run -S` takes them."""

    def text(value: Any) -> str:
        if isinstance(value, str):
            return "'" + value.replace("'", r"\'") + "'"  # Hydra would read brackets and commas
        return str(yaml.safe_dump(value, default_flow_style=True, width=10**6).splitlines()[0])

    return [f"{key}={text(value)}" for key, value in values.items()]


def run_experiment(name: str, values: Mapping[str, Any], *targets: str, folder: str | Path = ".") -> None:
    """Do `dvc exp run` with these params, in place of an experiment of this name; UserError if it fails.

    `targets` are the stages to reach (all if none are named), `folder` the repository.
    """
    subprocess.run(["dvc", "exp", "remove", "--quiet", name], check=False, stderr=subprocess.DEVNULL, cwd=folder)
    options = [option for setting in settings(values) for option in ("-S", setting)]
    if subprocess.run(["dvc", "exp", "run", "-n", name, *options, *targets], check=False, cwd=folder).returncode != 0:
        raise UserError(f"variant {name} failed; its messages are above")


def parsed(settings: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE, as `dvc exp run -S` takes them, to params; UserError for anything else."""
    values = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise UserError(f"-S {setting}: write it as KEY=VALUE")
        values[key] = yaml.safe_load(value)
    return values
