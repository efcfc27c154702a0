"""Nothing that is read is run, nothing secret is told, pages listen to this machine alone, packages are pinned."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.parsing import interpolate

from personseg import cli, tracking
from personseg.errors import UserError, without_secrets
from personseg.images import FORMATS
from personseg.review.server import MAX_UPLOAD
from personseg.sources import describe_source
from personseg.tracking import track
from tests.finished import BACKENDS, PARAMS
from tests.tracked import INFO, empty_store, project

__all__ = ["empty_store", "project"]  # fixtures

CODE = [path for folder in ("personseg", "stages", "benchmarks") for path in sorted(Path(folder).rglob("*.py"))]
RUNS_WHAT_IT_READS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "yaml.load",
    "yaml.unsafe_load",
    "pd.read_pickle",
}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def option(call: ast.Call, name: str) -> Any:
    return next(
        (word.value.value for word in call.keywords if word.arg == name and isinstance(word.value, ast.Constant)), None
    )


def faults(source: str) -> list[str]:
    """What in a module's code would run what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in names if name.split(".")[0] in RUNS_WHAT_IT_READS]
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in CALLS:
            found.append(name)
        if name == "torch.load" and option(node, "weights_only") is not True:
            found.append("torch.load without weights_only=True")
        if (
            name.endswith("trainer.fit")
            and option(node, "ckpt_path") is None
            and option(node, "weights_only") is not True
        ):
            found.append("fit without weights_only=True")
        if name == "np.load" and option(node, "allow_pickle"):
            found.append("np.load with allow_pickle")
        if option(node, "shell") is True:
            found.append("shell=True")
    return found


@pytest.mark.parametrize("path", CODE, ids=str)
def test_no_code_runs_what_it_reads(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from pickle import loads", "import joblib", "torch.load(p)", "yaml.load(s)", "eval(s)"),
        *("torch.load(p, weights_only=False)", "subprocess.run(s, shell=True)", "os.system(s)"),
        *("np.load(p, allow_pickle=True)", "trainer.fit(task, ckpt_path=p)"),
    ],
)
def test_the_search_finds_each(line: str) -> None:
    assert faults(line)


def test_params_never_become_shell() -> None:
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name, stage in stages.items():
        # A whole table is written out as quoted options; a single value would be pasted as it is.
        assert re.findall(r"\$\{.*?\}", stage["cmd"]) in ([], ["${item}"]), name
    hostile = "x; touch made; $(touch made) `touch made` 'x\"\n&"
    assert shlex.split(interpolate.to_str({"backend": hostile})) == ["--backend", hostile]


def test_no_program_is_among_the_kinds_of_photo() -> None:
    assert not {"EPS", "PDF", "WMF", "FPX", "MIC"} & set(FORMATS)
    code = "import personseg.images; from PIL import EpsImagePlugin; print(EpsImagePlugin.has_ghostscript())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# --- secrets

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"http://me:{SECRET}@host:5000/path",
        f"postgresql://me:{SECRET}@host/db",
        f"MLflow at https://me:{SECRET}/{SECRET}@host: refused",
        f"https://me:p@{SECRET}@host/x",
        f"https://{SECRET}@host/x",
        f"https://host/a.zip?X-Amz-Signature={SECRET}&b=1",
        f"https://host/a.zip?b=1&token={SECRET}",
        f"postgresql://host/db?user=me&password={SECRET} is not there",
        f"https://host/a.zip?sig={SECRET}",
    ],
)
def test_no_error_tells_a_secret(text: str) -> None:
    assert SECRET not in without_secrets(text) and SECRET not in str(UserError(f"cannot reach {text}; check it"))
    assert "host" in without_secrets(text)


@pytest.mark.parametrize("text", ["https://host/a.zip?page=2", "a photo@2x.jpg", "data.source: nothing at /a/b@c.zip"])
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_a_source_with_a_password_is_refused_before_it_is_kept() -> None:
    with pytest.raises(UserError, match="user name or password") as caught:
        describe_source(f"https://me:{SECRET}@host/a.zip", "0" * 64)
    assert SECRET not in str(caught.value)


def test_no_secret_reaches_mlflow_or_a_log(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    signed = {**PARAMS, "data": {**PARAMS["data"], "source": f"https://host/a.zip?token={SECRET}"}}
    run_id, _ = track(project, signed, BACKENDS, INFO)
    with tracking._client(project) as client:
        assert client.get_run(run_id).data.params["data.source"] == "https://host/a.zip?token=***"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError) as caught:
        track(project, PARAMS, BACKENDS, INFO)
    assert SECRET not in str(caught.value) + "".join(capfd.readouterr())


# --- pages and packages


def test_pages_listen_to_this_machine_alone_and_bound_what_is_sent() -> None:
    makefile = Path("Makefile").read_text(encoding="utf-8")
    assert "--host 127.0.0.1" in makefile and "0.0.0.0" not in makefile
    assert '"--host", default="127.0.0.1"' in Path("stages/review.py").read_text(encoding="utf-8")
    assert inspect.signature(cli.demo).parameters["host"].default == "127.0.0.1"
    assert MAX_UPLOAD <= 50_000_000
    assert "max_file_size=" in Path("personseg/demo.py").read_text(encoding="utf-8")


def test_every_package_is_pinned() -> None:
    for name in ("requirements.in", "requirements.txt", "requirements-scale.txt"):
        lines = [
            line.split("#")[0].split(";")[0].strip() for line in Path(name).read_text(encoding="utf-8").splitlines()
        ]
        assert [line for line in lines if line and not re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.+!]+", line)] == []
    packages = Path("requirements-scale.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert packages == sorted(packages, key=str.lower)
    pinned = set(Path("requirements.txt").read_text(encoding="utf-8").split())
    direct = re.findall(r"^([\w.-]+==\S+)", Path("requirements.in").read_text(encoding="utf-8"), re.M)
    assert {line.lower().replace("_", "-") for line in direct} <= {line.lower().replace("_", "-") for line in pinned}


def test_the_lock_has_every_pinned_version_and_a_hash_of_each() -> None:
    def pins(text: str) -> set[str]:
        lines = (re.split(r"#|--hash", line)[0].strip(" \\").replace("'", '"') for line in text.splitlines())
        split = (line.partition("==") for line in lines if line)
        return {f"{re.sub('[-_.]+', '-', name).lower()}=={version}" for name, _, version in split}

    lock = Path("requirements.lock").read_text(encoding="utf-8")
    assert pins(lock) == pins(Path("requirements.txt").read_text(encoding="utf-8"))
    entries = re.split(r"^(?=[\w.-]+(?:\[\w+\])?==)", lock, flags=re.M)[1:]
    assert [entry.split()[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []
    assert "://" not in lock
