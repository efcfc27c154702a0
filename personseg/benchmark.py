"""Timing a backend so that the figures can be trusted, with its accuracy on the same photos.

What is in a row, and why, follows the usual faults of such tables: no warm-up, no synchronisation, too
few runs, a mean without its spread, speed without accuracy.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from tqdm import tqdm

from personseg.files import read_json
from personseg.geometry import letterbox
from personseg.images import read_image, read_mask
from personseg.memory import keep_freed_memory, resident_bytes
from personseg.metrics import counts, iou
from personseg.model_config import ModelConfig, read_config
from personseg.postprocess import finish
from personseg.runtimes import Backend, Runtime, Unavailable, find_backend, make_runtime
from personseg.runtimes.tensorrt import engine_names
from personseg.splits import read_split

Clock = Callable[[], float]
Key = TypeVar("Key")

REFERENCE = "pytorch_fp32"  # what every backend's accuracy is compared with
UNTRAINED = "report_pytorch_fp32"
MIN_RUNS = 20  # however slow a backend is
UNSTEADY = 1.5  # p95 / p50 above which a row carries a warning
DRIFT = 1.2  # and so does one whose median of the same runs is so many times another a little later
TURNS, TURN_RUNS = 5, 6  # of a backend and the reference, in turns
COLUMNS = ["run", "seconds", "compute_seconds", "end_to_end_seconds"]


@dataclass(frozen=True)
class Protocol:
    """How a backend is timed: `runs` timed runs after at least `warmup_runs` runs and `warmup_s` seconds.

    Timing ends early, but not before `MIN_RUNS` runs, once `max_seconds` have passed.
    """

    runs: int
    warmup_runs: int
    warmup_s: float
    max_seconds: float
    threads: int


def repeat(step: Callable[[], Any], protocol: Protocol, clock: Clock) -> list[Any]:
    """Warm up with `step`, then call it as the protocol says; return what the timed calls returned."""
    start, done = clock(), 0
    while done < protocol.warmup_runs or clock() - start < protocol.warmup_s:
        step()
        done += 1
    results: list[Any] = []
    start = clock()
    collecting = gc.isenabled()
    gc.disable()  # as timeit does: a collection would be charged to whichever run it falls in
    try:
        while len(results) < protocol.runs:
            if len(results) >= min(MIN_RUNS, protocol.runs) and clock() - start > protocol.max_seconds:
                break
            results.append(step())
    finally:
        if collecting:
            gc.enable()
    return results


def time_runs(
    runtime: Runtime, images: NDArray[np.uint8], protocol: Protocol, clock: Clock = time.perf_counter
) -> pd.DataFrame:
    """Time `runtime` on one batch, uint8 [N, H, W, 3]; return a row per run (the first three of `COLUMNS`).

    `seconds` runs from photos in host memory to logits in host memory; `compute_seconds` leaves the two
    transfers out, and on a GPU is by CUDA events. Both end only when the device is done. From here on this process
    keeps freed memory, as one that has run for long tends to: otherwise chance, the layout of the heap, decides
    whether PyTorch faults its activations in anew at every run and takes half as long again.
    """
    keep_freed_memory()

    def step() -> tuple[float, float]:
        start = clock()
        inputs = runtime.upload(images)
        uploaded = clock()
        outputs = runtime.run(inputs)
        computed = clock()
        runtime.download(outputs)
        seconds, device_seconds = clock() - start, runtime.device_seconds()
        return seconds, computed - uploaded if device_seconds is None else device_seconds

    rows = repeat(step, protocol, clock)
    return pd.DataFrame([(number, *row) for number, row in enumerate(rows, 1)], columns=COLUMNS[:3])


def summarise(seconds: Sequence[float] | NDArray[np.float64], batch: int = 1) -> dict[str, Any]:
    """Mean, sample standard deviation and percentiles of timings, images per second, and a warning if unsteady."""
    values = np.asarray(seconds, np.float64)
    p50, p95, p99 = (float(value) for value in np.percentile(values, [50, 95, 99]))
    summary: dict[str, Any] = {
        "runs": len(values),
        "mean_s": float(values.mean()),
        "std_s": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "p50_s": p50,
        "p95_s": p95,
        "p99_s": p99,
        "images_per_s": batch / float(values.mean()),
    }
    if p95 > UNSTEADY * p50:
        summary["warning"] = f"p95 is {p95 / p50:.1f} times the median: time it again on a quiet machine"
    return summary


def to_mask(logits: NDArray[np.float32], placement: Any, config: ModelConfig) -> NDArray[np.bool_]:
    """Turn one photo's logits [H, W] into its mask at the photo's size: threshold and post-processing of `config`."""
    return finish(expit(logits), placement, config)


def segment_file(runtime: Runtime, path: Path, config: ModelConfig) -> NDArray[np.bool_]:
    """From a JPEG file to the mask at the photo's size."""
    image, placement = letterbox(read_image(path), runtime.input_size)
    return to_mask(runtime.infer(image[None])[0], placement, config)


def time_files(
    runtime: Runtime, photos: Sequence[Path], config: ModelConfig, protocol: Protocol, clock: Clock = time.perf_counter
) -> list[float]:
    """Time file to mask, decoding, letterbox and post-processing included; photos in turn; seconds of each run."""
    turn = 0

    def step() -> float:
        nonlocal turn
        photo = photos[turn % len(photos)]
        turn += 1
        start = clock()
        segment_file(runtime, photo, config)
        return clock() - start

    return repeat(step, protocol, clock)


def accuracy(
    runtime: Runtime, reference: Runtime, pairs: Sequence[tuple[Path, Path]], config: ModelConfig
) -> dict[str, float]:
    """Score `runtime` on (photo, mask) files and compare it with `reference`, photo by photo.

    `test_iou` is pooled over all pixels; `max_logit_diff` is over the photos' own area, padding aside;
    `mask_disagreement` is the share of pixels in which the final masks differ. FloatingPointError if a logit is not
    finite.
    """
    totals = np.zeros(4, np.int64)
    largest, differing = 0.0, 0
    for photo, mask_file in tqdm(pairs, desc="accuracy", mininterval=1.0, unit="img"):
        image, placement = letterbox(read_image(photo), runtime.input_size)
        logits = runtime.infer(image[None])[0]
        mask = to_mask(logits, placement, config)
        totals += counts(mask, read_mask(mask_file))
        if reference is not runtime:
            expected = reference.infer(image[None])[0]
            difference = float(np.abs(placement.inner(logits - expected)).max())
            if not np.isfinite(difference):  # max() would hide it
                raise FloatingPointError(f"its logits are not finite, on {photo}")
            largest = max(largest, difference)
            differing += int(np.count_nonzero(mask != to_mask(expected, placement, config)))
    tp, fp, fn, _ = (int(value) for value in totals)
    return {
        "test_images": len(pairs),
        "test_iou": iou(tp, fp, fn),
        "max_logit_diff": largest,
        "mask_disagreement": differing / int(totals.sum()),
    }


def gpu_bytes() -> int | None:
    """Memory in use on the GPU, in bytes; None without PyTorch's CUDA."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return int(total - free)


class MemoryMeter:
    """Growth of the process's peak memory, and of the GPU's use, since the meter was made."""

    def __init__(self) -> None:
        # Linux then restarts the peak from what is resident now; a refusal leaves an older, higher peak.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self.resident, self.gpu = resident_bytes("VmRSS"), gpu_bytes()

    def read(self) -> dict[str, int]:
        found = {}
        peak, used = resident_bytes("VmHWM"), gpu_bytes()
        if self.resident is not None and peak is not None:
            found["peak_memory_bytes"] = max(0, peak - self.resident)
        if self.gpu is not None and used is not None:
            found["gpu_memory_bytes"] = max(0, used - self.gpu)
        return found


def in_rounds(
    timed: Mapping[Key, Callable[[Protocol], Sequence[float]]],
    protocol: Protocol,
    rounds: int,
    runs: Callable[[Sequence[float]], int],
    desc: str = "in turns",
) -> dict[Key, list[float]]:
    """Time several things a few runs at a time, in turns; return the seconds of all runs of each.

    What slows the machine for a while then slows all alike. `timed` times one thing as the protocol it is given says;
    `runs` tells from a thing's seconds so far how many runs its next turn has.
    """
    seconds: dict[Key, list[float]] = {key: [] for key in timed}
    with tqdm(total=rounds * len(timed), desc=desc, mininterval=1.0) as bar:
        for turn in range(rounds):
            for key, time_it in timed.items():
                now = replace(protocol, runs=runs(seconds[key]))
                if turn:  # warm since the first turn, but for what the others pushed out of the caches
                    now = replace(now, warmup_runs=2, warmup_s=0.0)
                seconds[key] += time_it(now)
                bar.update()
    return seconds


def in_turns(
    runtime: Runtime,
    reference: Runtime,
    images: Callable[[Runtime], NDArray[np.uint8]],
    protocol: Protocol,
    clock: Clock = time.perf_counter,
) -> dict[str, float]:
    """Time a few runs of `runtime` and of `reference` in turns; return both medians and their ratio.

    `images` gives the batch that a runtime takes. `speedup`, how many times as fast as the reference, holds where rows
    timed minutes apart can not be divided.
    """

    def timed(one: Runtime) -> Callable[[Protocol], list[float]]:
        return lambda now: time_runs(one, images(one), now, clock)["seconds"].tolist()

    both = {"turns_p50_s": timed(runtime), "reference_p50_s": timed(reference)}
    seconds = in_rounds(both, protocol, TURNS, lambda _: TURN_RUNS)
    found = {name: float(np.median(values)) for name, values in seconds.items()}
    return {**found, "speedup": found["reference_p50_s"] / found["turns_p50_s"]}


def drift(first_s: float, again_s: float) -> str | None:
    """Say so if two times of the same runs are further apart than chance: the machine was not the same."""
    if max(first_s, again_s) <= DRIFT * min(first_s, again_s):
        return None
    return f"{1e3 * first_s:.3g} ms at first, then {1e3 * again_s:.3g}: time it again on a quiet machine"


def is_tensorrt(backend: Backend) -> bool:
    return (backend.artifact or "").startswith("tensorrt")


def engine_facts(backend: Backend, exported: Mapping[str, Any]) -> dict[str, Any]:
    """Collect size, build time and targets of the engines built for a TensorRT backend, from metrics/export.json.

    Where none was built, the reasons.
    """
    built, missing = {}, {}
    for name in engine_names(backend.precision):
        artifact = exported.get("artifacts", {}).get(name, {"status": "unavailable", "reason": "not exported"})
        label = name.replace(f"_{backend.precision}", "")
        if artifact["status"] == "built":
            built[label] = {key: artifact[key] for key in ("size_bytes", "build_s", "targets")}
        else:
            missing[label] = {"not_built": artifact["reason"]}
    return built or missing


def unavailable(backend: Backend, reason: str, exported: Mapping[str, Any]) -> tuple[dict[str, Any], pd.DataFrame]:
    """The row of a backend that could not be measured, and an empty table of timings."""
    row: dict[str, Any] = {"status": "unavailable", "reason": reason, "precision": backend.precision}
    if is_tensorrt(backend):
        row["engine"] = engine_facts(backend, exported)
    return row, pd.DataFrame(columns=COLUMNS)


def benchmark(
    name: str,
    model_folder: Path,
    export_folder: Path,
    exported: Mapping[str, Any],
    pairs: Sequence[tuple[Path, Path]],
    protocol: Protocol,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Measure the backend `name` at batch 1; return metrics/benchmark/NAME.json and the raw timings.

    `exported` is metrics/export.json, `pairs` the test split's (photo, mask) files. A backend this
    machine cannot run, or whose logits are not finite, gives a row that says why; an unknown name is a UserError.
    `peak_memory_bytes` counts from just before the network is loaded to the end of the timed runs, the
    libraries' own code aside.
    """
    backend = find_backend(name)
    config = read_config(model_folder)
    try:
        runtime = make_runtime(name)
    except ImportError as error:
        return unavailable(backend, f"{error.name or error} cannot be imported", exported)
    if reason := runtime.available():
        return unavailable(backend, reason, exported)
    if name == UNTRAINED:
        # Masks of random weights are noise: cleaning them would take longer than cleaning real ones.
        config = ModelConfig(architecture={}, input_size=config.input_size)
    meter, start = MemoryMeter(), time.perf_counter()
    try:
        runtime.load(model_folder, export_folder, protocol.threads)
    except Unavailable as error:
        return unavailable(backend, str(error), exported)
    load_s = time.perf_counter() - start
    photos = [photo for photo, _ in pairs]

    def images(of: Runtime) -> NDArray[np.uint8]:
        return letterbox(read_image(photos[0]), of.input_size)[0][None]

    timings = time_runs(runtime, images(runtime), protocol)
    files = time_files(runtime, photos, config, protocol)
    memory = meter.read()
    compute = float(timings["compute_seconds"].median())
    row: dict[str, Any] = {
        "status": "measured",
        **summarise(timings["seconds"].to_numpy()),
        "compute_p50_s": compute,
        "transfer_p50_s": float((timings["seconds"] - timings["compute_seconds"]).median()),
        "end_to_end_p50_s": float(np.median(files)),
        "end_to_end_runs": len(files),
        "load_s": load_s,
        "input_shape": list(images(runtime).shape),
        "precision": backend.precision,
        "device": runtime.device,
        "threads": protocol.threads,
        "versions": runtime.versions,
        "settings": runtime.settings,
        **memory,
        "artifact_bytes": sum(path.stat().st_size for path in runtime.files) or None,
    }
    if is_tensorrt(backend):
        row["engine"] = engine_facts(backend, exported)
    timings = timings.join(pd.DataFrame({COLUMNS[3]: files}), how="outer")
    timings["run"] = range(1, len(timings) + 1)
    reference = runtime
    row["speedup"] = 1.0
    if name != REFERENCE:
        reference = make_runtime(REFERENCE)
        reference.load(model_folder, export_folder, protocol.threads)
        row |= in_turns(runtime, reference, images, protocol)
        warnings = [row.get("warning"), drift(row["p50_s"], row["turns_p50_s"])]
        row |= {"warning": "; ".join(filter(None, warnings))} if any(warnings) else {}
    if name == UNTRAINED:
        nothing = dict.fromkeys(("test_iou", "max_logit_diff", "mask_disagreement"))
        return row | nothing | {"note": "random weights: its speed alone is meant"}, timings
    try:
        return row | accuracy(runtime, reference, pairs, config), timings
    except FloatingPointError as error:  # a precision that does not hold the values has no place in a table of times
        return unavailable(backend, str(error), exported)


def benchmark_project(root: Path, name: str, section: Mapping[str, Any]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Measure the backend `name` on what `dvc repro` made under `root`; return what `benchmark` does.

    `section` is the params section `benchmark`. UserError when the model, its export or the test photos
    are not there.
    """
    clean = root / "data/clean"
    return benchmark(
        name,
        root / "models/person",
        root / "models/export",
        read_json(root / "metrics/export.json"),
        [
            (clean / "images" / f"{stem}.jpg", clean / "masks" / f"{stem}.jpg")
            for stem in read_split(root / "data/splits")["test"]
        ],
        Protocol(**{field.name: section[field.name] for field in fields(Protocol)}),
    )
