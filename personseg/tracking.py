"""MLflow: one run per state of the pipeline, made from the files all stages left."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from personseg import results
from personseg.errors import UserError, without_secrets
from personseg.registry import forget, register
from personseg.results import SPLITS, Results, backend_title

if TYPE_CHECKING:
    from mlflow import MlflowClient

FINGERPRINT, COMPLETE = "pipeline.fingerprint", "pipeline.complete"
LOCK_TIMEOUT = 300  # seconds another process may take to fill its run
OVERLAYS, SHEETS = 6, 2  # pictures stored with a run
PARAMS_PER_BATCH, METRICS_PER_BATCH, PARAM_LENGTH = 100, 1000, 6000  # MLflow's limits
CURVES = {name: name.replace("/", "_") for name in ("train/loss", "val/loss", "train/iou", "val/iou", "lr")}
DIGEST_LENGTH = 36  # MLflow's limit, so a sha256 is cut
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # for UIs that go by it; MLflow 3.17's goes by its own switch
    "mlflow.note.content": (
        "Each run is one state of the pipeline: params, data, training, accuracy, timings. Tick two and press Compare:"
        " `val/iou_final` chooses between them, `test/iou` with its interval says how good the choice is, and"
        " `benchmark/p50_ms_*` how fast."
    ),
}


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


@dataclass(frozen=True)
class RunInfo:
    """What a run is called and filed under."""

    experiment: str
    data_name: str
    encoder: str
    loss: str


def fingerprint(lock: str | Path) -> str:
    """Hash the params and the outputs' hashes in dvc.lock, stage `track` left out: the state a run records."""
    try:
        stages = dict(yaml.safe_load(Path(lock).read_text(encoding="utf-8"))["stages"].items())
    except FileNotFoundError:
        raise UserError(f"{lock}: not found; `dvc repro` writes it and then tracks") from None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError):
        raise UserError(f"{lock}: not a DVC lock file; restore it from git or delete it and run `dvc repro`") from None
    state = {
        name: {
            "params": stage.get("params", {}),
            "outs": sorted((out["path"], out.get("md5", "")) for out in stage.get("outs", [])),
        }
        for name, stage in stages.items()
        if name != "track"
    }
    return hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()


def store_root() -> Path:
    """The folder of mlflow.db: the project's own also inside DVC's temporary experiment workspaces."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI where the user sets it, else mlflow.db in `root`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


@contextmanager
def _client(root: Path) -> Iterator[MlflowClient]:
    """Open the store; its faults become one line."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # by default minutes go by on a dead server
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)  # each retry would be five lines
    uri = tracking_uri(root)
    try:
        yield MlflowClient(uri)
    except (MlflowException, SQLAlchemyError) as error:
        reason = str(error).strip().splitlines()[0]
        if "mlflow db upgrade" in reason:
            raise UserError(
                f"MLflow at {uri}: the database is of another version of MLflow; back it up, then run"
                f" `mlflow db upgrade {uri}`, or move it away"
            ) from None
        raise UserError(
            f"MLflow at {uri}: {reason}; set MLFLOW_TRACKING_URI right, or move a damaged file away"
        ) from None


def _experiment(client: MlflowClient, name: str, root: Path) -> str:
    """Find or create the experiment and say what it is; its artifacts lie in `root`/mlruns unless a server has them."""
    remote = tracking_uri(root).startswith(("http", "databricks"))
    wanted = None if remote else str(root / "mlruns")
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return str(client.create_experiment(name, artifact_location=wanted, tags=EXPERIMENT_TAGS))
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"MLflow experiment {name!r} is in the trash; `mlflow experiments restore -x {experiment.experiment_id}`, "
            "or set track.experiment to another name"
        )
    for key, value in EXPERIMENT_TAGS.items():
        if key not in experiment.tags:  # a user's own description stays
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return str(experiment.experiment_id)


def _check_location(client: MlflowClient, experiment_id: str, root: Path) -> None:
    """Refuse to write into the folder a moved project used to be in."""
    location = client.get_experiment(experiment_id).artifact_location
    if not os.environ.get("MLFLOW_TRACKING_URI") and location != str(root / "mlruns"):
        raise UserError(
            f"{root / 'mlflow.db'}: its runs keep their files in {location}, but the project is now in {root}; "
            "move it back, set track.experiment to another name, or delete mlflow.db"
        )


def _metrics(found: Results) -> dict[str, float | None]:
    """The figures of a finished run, named so that one chart section holds what is to be compared."""
    values: dict[str, float | None] = {}
    for split in ("val", "test", "train"):  # MLflow's compare page opens with the first
        score = found.iou.get(split, {})
        # `val/iou` and `train/iou` are the curves; what evaluate found with the final threshold stands apart.
        values["test/iou" if split == "test" else f"{split}/iou_final"] = score.get("iou")
        for key in ("iou_imagewise", "dice", "boundary_iou", "iou_ci95_low", "iou_ci95_high"):
            values[f"{split}/{key}"] = score.get(key)
        values[f"report_protocol/{split}_iou"] = found.iou.get("report_protocol", {}).get(split)
    values["calibrate/threshold"] = found.iou["threshold"]
    for key, value in found.iou.get("postprocess", {}).items():
        values[f"calibrate/{key}"] = value
    for key in ("epochs", "best_epoch", "best_val_iou", "parameters"):
        values[f"fit/{key}"] = found.train.get(key)
    for key, value in found.mask_counts["category"].items():
        values[f"clean/category_{key}"] = value
    for key in ("repaired", "kept", "reviewed"):
        values[f"clean/{key}"] = found.mask_counts.get(key)
    values["clean/masks"] = found.pairs
    values["audit/kappa_1_or_not"] = found.audit.get("reviewed_against_suggested", {}).get("kappa_1_or_not")
    for kind, scores in found.audit.get("planted", {}).items():
        values |= {f"audit/{kind}_{name}": scores[name] for name in ("precision", "recall")}
    for split, images in found.split.items():
        values[f"split/{split}"] = images
    for backend, row in found.measured.items():
        values[f"benchmark/p50_ms_{backend}"] = row["p50_s"] * 1e3
        values[f"benchmark/p99_ms_{backend}"] = row["p99_s"] * 1e3
        values[f"benchmark/images_per_s_{backend}"] = row["images_per_s"]
        values[f"benchmark_iou/{backend}"] = row.get("test_iou")
    return values


def _log_metrics(client: MlflowClient, run_id: str, found: Results) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    curves = [
        Metric(name, float(value), now, int(epoch))
        for name, column in CURVES.items()
        for epoch, value in zip(found.history["epoch"], found.history[column], strict=True)
    ]
    figures = [Metric(name, float(value), now, 0) for name, value in _metrics(found).items() if value is not None]
    for batch in _batches(figures + curves, METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=batch)


def _log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    flat = [Param(key, without_secrets(str(value))[:PARAM_LENGTH]) for key, value in results.flatten(params).items()]
    for batch in _batches(flat, PARAMS_PER_BATCH):
        client.log_batch(run_id, params=batch)


def _log_tables(client: MlflowClient, run_id: str, found: Results) -> None:
    def rounded(row: Mapping[str, Any], key: str, factor: float = 1) -> float | None:
        value = row.get(key)
        return None if value is None else round(value * factor, 4)

    scores = ("iou", "iou_ci95_low", "iou_ci95_high", "iou_imagewise", "dice", "boundary_iou")
    splits = [found.iou.get(split, {}) for split in SPLITS]
    iou: dict[str, list[Any]] = {"split": list(SPLITS)}
    iou |= {key: [rounded(row, key) for row in splits] for key in scores}
    iou["images"] = [row.get("images") for row in splits]
    iou["report_protocol"] = [rounded(found.iou.get("report_protocol", {}), split) for split in SPLITS]
    iou["report"] = [rounded(results.ORIGINAL_IOU, split) for split in SPLITS]
    client.log_table(run_id, iou, "tables/iou.json")

    rows = found.benchmark.values()
    timing: dict[str, list[Any]] = {"backend": [backend_title(name) for name in found.benchmark]}
    timing["status"] = [row.get("status") for row in rows]
    for name in ("p50", "mean", "std", "p95", "p99", "end_to_end_p50"):
        timing[f"{name}_ms"] = [rounded(row, f"{name}_s", 1e3) for row in rows]
    timing |= {key: [rounded(row, key) for row in rows] for key in ("images_per_s", "test_iou")}
    for key in ("max_logit_diff", "mask_disagreement", "device", "reason"):
        timing[key] = [row.get(key) for row in rows]
    client.log_table(run_id, timing, "tables/timing.json")


def _log_files(client: MlflowClient, run_id: str, root: Path) -> None:
    report = [root / "report/report.html", root / "report/report.md"]
    pipeline = [root / "dvc.lock", root / "params.yaml"]
    overlays = sorted((root / "data/evaluation/overlays").glob("test_*.jpg"))[:OVERLAYS]
    sheets = sorted((root / "data/audit/sheets").glob("*.jpg"))[:SHEETS]
    for folder, paths in (("report", report), ("pipeline", pipeline), ("predictions", overlays), ("masks", sheets)):
        for path in paths:
            if path.exists():
                client.log_artifact(run_id, str(path), folder)


def dataset_digest(root: Path) -> str:
    """sha256 over the manifest of the photos and masks and over the list of those kept."""
    digest = hashlib.sha256()
    for path in (root / "data/jpg/manifest.csv", root / "data/clean/manifest.csv"):
        if not path.exists():
            raise UserError(f"{path}: not found; run `dvc repro` to make it")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _log_dataset(client: MlflowClient, run_id: str, name: str, found: Results) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = dataset_digest(found.root)
    profile = json.dumps({"num_rows": found.mask_counts["kept"], **found.split})
    source = json.dumps({"uri": "data/clean/manifest.csv"})
    dataset = Dataset(name=name, digest=digest[:DIGEST_LENGTH], source_type="local", source=source, profile=profile)
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    client.set_tag(run_id, "dataset.sha256", digest)


def _git_commit(root: Path) -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _tags(root: Path, state: str) -> dict[str, str]:
    """The tags a run is born with; the one that calls it complete comes last of all."""
    commit = _git_commit(root)
    tags = {
        FINGERPRINT: state,
        "git.commit": commit,
        "mlflow.source.git.commit": commit,  # the `Version` column of the UI
        "mlflow.source.name": "dvc repro",
        "dvc.exp": os.environ.get("DVC_EXP_NAME"),
        "dvc.exp.baseline": os.environ.get("DVC_EXP_BASELINE_REV"),
    }
    return {key: value for key, value in tags.items() if value}


def _name(info: RunInfo, found: Results) -> list[str]:
    """Parts of a run's name; of an experiment of DVC its name is the last, to find it in `dvc exp show`."""
    experiment = os.environ.get("DVC_EXP_NAME")
    parts = [info.data_name, info.encoder, info.loss, f"IoU {found.iou['test']['iou']:.3f}"]
    return [*parts, experiment] if experiment else parts


def _description(info: RunInfo, found: Results) -> str:
    """The run's key figures as Markdown, for MLflow's description field."""

    def pairs(split: Mapping[str, int]) -> str:
        return " / ".join(str(split[name]) for name in SPLITS)

    counts, test = found.mask_counts, found.iou["test"]
    lines = [
        f"**{info.data_name}**: {found.pairs} masks checked, {counts['kept']} kept, {counts['repaired']} repaired.",
        "",
        "| | this run | the report |",
        "|---|---:|---:|",
        f"| test IoU | **{test['iou']:.4f}** ({test['iou_ci95_low']:.4f}–{test['iou_ci95_high']:.4f}) "
        f"| {results.ORIGINAL_IOU['test']} |",
        f"| train / val / test pairs | {pairs(found.split)} | {pairs(results.ORIGINAL_SPLIT)} |",
    ]
    fastest = found.fastest()
    if fastest:
        row = found.measured[fastest]
        lines += ["", f"Fastest: {backend_title(fastest)}, {row['p50_s'] * 1e3:.2f} ms on {row.get('device', '?')}."]
    lines += ["", "Everything else is in artifact `report/report.html`."]
    return "\n".join(lines)


def _fill(client: MlflowClient, run_id: str, info: RunInfo, params: Mapping[str, Any], found: Results) -> None:
    _log_params(client, run_id, params)
    _log_metrics(client, run_id, found)
    _log_tables(client, run_id, found)
    _log_dataset(client, run_id, info.data_name, found)
    _log_files(client, run_id, found.root)
    client.set_tag(run_id, "mlflow.note.content", _description(info, found))
    register(client, run_id, info.data_name, found)


def _complete_run(client: MlflowClient, experiment_id: str, state: str, local: bool) -> str | None:
    """Find the finished run of this state; delete those that a kill left half-filled.

    The caller holds the lock, so on a local store no unfinished run is still being filled; on a shared
    server only this state's own are ours to judge.
    """
    same = client.search_runs([experiment_id], f"tags.`{FINGERPRINT}` = '{state}'")
    running = client.search_runs([experiment_id], "attributes.status = 'RUNNING'") if local else []
    complete = [run.info.run_id for run in same if run.data.tags.get(COMPLETE) == "true"]
    # Runs without our tags in this experiment are somebody else's.
    ours = {run.info.run_id: run.data.tags for run in [*same, *running] if FINGERPRINT in run.data.tags}
    for run_id, tags in ours.items():
        if tags.get(COMPLETE) != "true":
            forget(client, experiment_id, run_id)
            client.delete_run(run_id)
    return complete[0] if complete else None


def track(root: str | Path, params: Mapping[str, Any], backends: Sequence[str], info: RunInfo) -> tuple[str, bool]:
    """Record the pipeline's state under `root` as one MLflow run; return its id and whether it is new.

    A state that has a complete run already is left as it is, so calling this again is harmless, also from
    several processes at once. UserError: no dvc.lock, missing results, a store that cannot be opened.
    """
    from filelock import FileLock, Timeout

    root, store = Path(root).resolve(), store_root()
    state = fingerprint(root / "dvc.lock")
    try:
        # MLflow's own set-up of a new database crashes when two processes do it at once.
        with FileLock(store / "mlflow.db.lock", timeout=LOCK_TIMEOUT), _client(store) as client:
            experiment_id = _experiment(client, info.experiment, store)
            local = not os.environ.get("MLFLOW_TRACKING_URI")
            run_id = _complete_run(client, experiment_id, state, local)
            if run_id is not None:
                return run_id, False
            _check_location(client, experiment_id, store)
            found = results.read_results(root, backends)
            name = " · ".join(_name(info, found))
            run_id = str(client.create_run(experiment_id, tags=_tags(root, state), run_name=name).info.run_id)
            _fill(client, run_id, info, params, found)
            client.set_terminated(run_id)
            client.set_tag(run_id, COMPLETE, "true")
            return run_id, True
    except Timeout:
        raise UserError(
            f"{store / 'mlflow.db.lock'}: another process has held it for {LOCK_TIMEOUT} s; end it and run `dvc repro`"
        ) from None
