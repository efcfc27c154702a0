"""dvc.yaml itself: what it lists is what the code uses."""

import ast
import subprocess
from pathlib import Path

import pytest
import yaml

from personseg.runtimes import BACKENDS

ROAD = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))
PARAMS = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
STAGES = ROAD["stages"]
CANNOT_CHANGE_OUTPUTS = {
    *("personseg/__init__.py", "personseg/errors.py", "personseg/orphans.py"),
    *("stages/common.py", "stages/params.py"),
}


def imports(path: Path) -> set[Path]:
    """Files of this project that `path` imports, at the top or inside functions, packages around them included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            place = Path(*name.split("."))
            if name.split(".")[0] in ("personseg", "stages"):
                found |= {p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()}
                found |= {p for around in place.parents if runs_code(p := around / "__init__.py")}
    return found


def runs_code(path: Path) -> bool:
    """Whether a package has more than a docstring."""
    return path.is_file() and len(ast.parse(path.read_text(encoding="utf-8")).body) > 1


def closure(path: Path) -> set[Path]:
    seen, queue = set(), [path]
    while queue:
        for found in {p for p in imports(queue.pop()) if p.as_posix() not in CANNOT_CHANGE_OUTPUTS} - seen:
            seen.add(found)
            queue.append(found)
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_deps_list_every_module_a_stage_uses(stage):
    script = Path("stages") / f"{stage}.py"
    listed = {Path(dep) for dep in STAGES[stage]["deps"] if dep.endswith(".py") or Path(dep).is_dir()}
    assert script in listed
    used = closure(script) | {script}
    missing = {p.as_posix() for p in used if p not in listed and not set(p.parents) & listed}
    assert not missing
    for module in [module for folder in listed if folder.is_dir() for module in folder.rglob("*.py")]:
        used |= closure(module)  # a package's modules may be imported by name
    superfluous = {dep.as_posix() for dep in listed - used if dep.suffix == ".py"}
    assert not superfluous


@pytest.mark.parametrize("stage", STAGES)
def test_stages_import_no_stage(stage):
    for path in imports(Path("stages") / f"{stage}.py"):
        assert path.parent != Path("stages") or path.name in ("common.py", "params.py", "__init__.py")


def test_library_never_imports_stages_or_reads_params():
    for path in Path("personseg").rglob("*.py"):
        assert not any(found.parts[0] == "stages" for found in imports(path)), path
        if path.name not in ("tracking.py", "registry.py"):
            assert "import mlflow" not in path.read_text(encoding="utf-8"), path


def test_every_backend_of_the_table_is_known():
    assert set(PARAMS["benchmark"]["backends"]) <= set(BACKENDS)


def test_outputs_are_ignored_by_git_and_metrics_are_not():
    def names(entries):
        return [next(iter(e)) if isinstance(e, dict) else e for e in entries]

    for name, stage in STAGES.items():
        if name == "benchmark":
            continue
        for out in names(stage.get("outs", [])):
            assert subprocess.run(["git", "check-ignore", "-q", f"{out}/x"], check=False).returncode == 0, out
        for metric in names(stage.get("metrics", [])):
            assert subprocess.run(["git", "check-ignore", "-q", metric], check=False).returncode == 1, metric
