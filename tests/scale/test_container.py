"""The Containerfile: linted, and what it copies, installs and starts is what serving takes. It is not built here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FILE = Path("Containerfile")
TEXT = FILE.read_text(encoding="utf-8")
INSTALLED = Path("requirements-serve.txt")


def instruction(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", TEXT, re.M)


def test_the_linter_has_nothing_to_say() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is missing: make scale installs it")
    done = subprocess.run([program, str(FILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_is_nobody_special_and_only_copies_what_is_there() -> None:
    assert instruction("USER") == ["10001"]
    ignored = Path(".containerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    for source in (source for line in instruction("COPY") for source in line.split()[:-1]):
        assert Path(source).exists() and f"!{source}" in ignored, source


def test_it_starts_the_server_and_asks_for_its_health() -> None:
    start, model = json.loads(instruction("ENTRYPOINT")[0]), json.loads(instruction("CMD")[0])
    options = re.findall(r"--[\w-]+", " ".join(start + model))
    told = subprocess.run([sys.executable, *start[1:3], "--help"], capture_output=True, text=True, check=True).stdout
    assert set(options) <= set(re.findall(r"--[\w-]+", told)) and start[1:3] == ["-m", "personseg.serve"]
    assert start[-1] == instruction("EXPOSE")[0] and f":{start[-1]}/health'" in instruction("HEALTHCHECK")[0]


def needed(names: set[str]) -> set[str]:
    """The packages and all they require here."""
    seen: set[str] = set()
    queue = list(names)
    while queue:
        name = canonicalize_name(queue.pop())
        if name in seen:
            continue
        seen.add(name)
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                queue.append(requirement.name)
    return seen


WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}")

blocked = set(sys.argv[1].split())
sys.meta_path.insert(0, Absent())
import personseg.serve, personseg.runtimes.openvino, python_multipart, uvicorn
personseg.serve.make_app(personseg.serve.Settings("models/person"))
"""


def test_its_packages_are_pinned_and_serving_starts_without_any_other() -> None:
    names = INSTALLED.read_text(encoding="utf-8").split()
    pinned = {line.split("==")[0].lower() for line in Path("requirements.txt").read_text(encoding="utf-8").split()}
    assert names == sorted(names) and set(names) <= pinned
    assert "-c requirements.txt" in TEXT

    def start(packages: set[str]) -> subprocess.CompletedProcess[str]:
        present = needed(packages) | {"personseg"}
        owners = metadata.packages_distributions()
        blocked = [module for module, of in owners.items() if not present & {canonicalize_name(owner) for owner in of}]
        command = [sys.executable, "-c", WITHOUT, " ".join(blocked)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole = start(set(names))
    assert whole.returncode == 0, whole.stderr
    assert "No module named" in start(set(names) - {"openvino"}).stderr
