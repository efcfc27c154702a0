"""Every backend at batch 1, 4 and 16, on 1 to all CPU threads, at the model's input size and the report's 320x320.

    python -m benchmarks.scaling [--backends NAME ...] [--batches N ...] [--threads N ...] [--seconds S]
        [--rounds N] [--mediapipe selfie_segmentation.tflite] [--out results/picsart/scaling.csv]

Run it after `dvc repro`, on an otherwise idle machine. Timed as stage benchmark does (personseg.benchmark.time_runs:
photos in memory to logits in memory), but in rounds: each round times a few runs of every row, so that what slows the
machine for a while slows all rows alike; rows of one batch and thread count come one after the other. On a machine
that is shared with others, time the rows that are to be divided by themselves, in many rounds. A thread count has a
process of its own, as some runtimes fix theirs for the whole process. For 320x320 the network is exported anew, as
exported files have their size built in. The report's own network is timed at batch 1 only: it is what the others are
compared with; so is MediaPipe's selfie segmenter, at its 256x256, if its path is given
(`pip install ai-edge-litert==2.3.0`). A backend that cannot run here has one row that says why. `images_per_s` is
batch / mean, as in metrics/benchmark/.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from personseg.benchmark import UNTRAINED, Protocol, in_rounds, summarise, time_runs
from personseg.environment import usable_cores
from personseg.errors import UserError, one_line_errors
from personseg.files import write_json, write_table
from personseg.geometry import letterbox
from personseg.images import read_image
from personseg.mediapipe import MediaPipe
from personseg.model_config import CONFIG_FILE, WEIGHTS_FILE, read_config
from personseg.orphans import die_with_parent
from personseg.runtimes import Backend, Runtime, Unavailable, find_backend, make_runtime
from personseg.splits import read_split
from stages.params import Export, load_params

Size = tuple[int, int]

REPORT_SIZE: Size = (320, 320)
MEDIAPIPE, MEDIAPIPE_SIZE = "mediapipe", (256, 256)  # a row's name where others have their backend's
MEDIAPIPE_TITLE = "MediaPipe's selfie segmenter, LiteRT"
IMAGES, MASKS = Path("data/clean/images"), Path("data/clean/masks")
BATCHES = (1, 4, 16)
ROUNDS = 5
FIRST_RUNS, LEAST_RUNS, MOST_RUNS = 4, 4, 40  # of a row in one round
COLUMNS = ["backend", "batch", "threads", "height", "width", "runs", "p50_s", "p95_s", "images_per_s", "warning"]


@dataclass(frozen=True)
class Row:
    backend: str
    batch: int
    threads: int
    size: Size


@dataclass(frozen=True)
class Folders:
    """Where the network of one input size and its exported files lie; of MediaPipe's, both are its file."""

    model: Path
    export: Path


class Peer(Runtime):
    """MediaPipe's selfie segmenter, from uint8 photos of its input size to probabilities; batch 1."""

    def available(self) -> None: ...

    def load(self, model_folder: Path, export_folder: Path, threads: int, streams: int = 1) -> None:
        self.network = MediaPipe(model_folder, threads)

    def run(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.network.infer(inputs)


def thread_counts(cores: int) -> list[int]:
    """1 to all cores; on more than four, powers of two and all."""
    return list(range(1, cores + 1)) if cores <= 4 else [*(2**i for i in range(12) if 2**i < cores), cores]


def rows_of(
    backends: Sequence[str], batches: Sequence[int], threads: Sequence[int], sizes: Sequence[Size]
) -> list[Row]:
    """All combinations, those of one batch together; of the report's network only batch 1 at its own size."""
    return [
        Row(backend, batch, count, size)
        for batch in batches
        for count in threads
        for size in sizes
        for backend in backends
        if backend != UNTRAINED or (batch == 1 and size == REPORT_SIZE)
    ]


_loaded: dict[tuple[str, Size], Runtime] = {}  # of the process of one thread count


def load(backend: str, size: Size, folders: Folders, threads: int) -> str | None:
    """Load a backend in this process; return why it cannot run here, if so."""
    try:
        runtime = Peer(Backend("", None, "fp16")) if backend == MEDIAPIPE else make_runtime(backend)
        if reason := runtime.available():
            return reason
        runtime.load(folders.model, folders.export, threads)
    except ImportError as error:
        return f"{error.name or error} cannot be imported"
    except Unavailable as error:
        return str(error)
    _loaded[backend, size] = runtime
    return None


def time_row(row: Row, photos: Sequence[Path], protocol: Protocol) -> list[float]:
    """Seconds of some runs of a row whose backend is loaded in this process."""
    images = [letterbox(read_image(photos[i % len(photos)]), row.size)[0] for i in range(row.batch)]
    return time_runs(_loaded[row.backend, row.size], np.stack(images), protocol)["seconds"].tolist()


def runs_a_round(seconds: Sequence[float], budget_s: float, rounds: int = ROUNDS) -> int:
    """How many runs of a row fit into a round, given how long some took and what the row may take in all."""
    fitting = int(budget_s / rounds / float(np.median(seconds)))
    return min(MOST_RUNS, max(LEAST_RUNS, fitting))


def measure(
    rows: Sequence[Row],
    folders: Mapping[Size | str, Folders],
    photos: Sequence[Path],
    protocol: Protocol,
    rounds: int = ROUNDS,
) -> pd.DataFrame:
    """Time all rows, `protocol.max_seconds` each but for slow ones; return the table (`COLUMNS`)."""
    reasons: dict[str, str] = {}
    with ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        processes = {
            count: stack.enter_context(ProcessPoolExecutor(1, context, initializer=die_with_parent))
            for count in {row.threads for row in rows}
        }
        for row in tqdm(list(dict.fromkeys(replace(row, batch=1) for row in rows)), desc="loading"):
            if row.backend in reasons:
                continue
            where = folders[row.backend if row.backend in folders else row.size]
            reason = processes[row.threads].submit(load, row.backend, row.size, where, row.threads).result()
            if reason is not None:
                reasons[row.backend] = reason
        able = [row for row in rows if row.backend not in reasons]

        def timed(row: Row) -> Callable[[Protocol], list[float]]:
            return lambda now: processes[row.threads].submit(time_row, row, photos, now).result()

        def runs(seconds: Sequence[float]) -> int:
            return runs_a_round(seconds, protocol.max_seconds, rounds) if seconds else FIRST_RUNS

        found = in_rounds({row: timed(row) for row in able}, protocol, rounds, runs, "timing")
    table = [_line(row, found[row]) for row in able]
    table += [{"backend": name, "warning": f"unavailable: {reason}"} for name, reason in reasons.items()]
    return pd.DataFrame(table, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[1:6], "Int64"))


def _line(row: Row, seconds: Sequence[float]) -> dict[str, Any]:
    found = summarise(seconds, row.batch)
    place = {"backend": row.backend, "batch": row.batch, "threads": row.threads}
    shape = {"height": row.size[0], "width": row.size[1]}
    return {
        **place,
        **shape,
        **{name: found.get(name) for name in ("runs", "p50_s", "p95_s", "images_per_s", "warning")},
    }


def exported_at(size: Size, model: Path, place: Path, section: Export) -> Folders:
    """Export the network of `model` anew for another input size, below `place`; its weights stay the same."""
    from personseg.export import evenly_spaced, export

    folder = place / "model"
    folder.mkdir(parents=True)
    shutil.copyfile(model / WEIGHTS_FILE, folder / WEIGHTS_FILE)
    config = read_config(model).model_copy(update={"input_size": size})
    write_json(folder / CONFIG_FILE, config.model_dump(mode="json"))
    split = read_split(Path("data/splits"))
    photos = [IMAGES / f"{stem}.jpg" for stem in evenly_spaced(split["train"], section.calibration_images)]
    val = [(IMAGES / f"{stem}.jpg", MASKS / f"{stem}.jpg") for stem in split["val"]]
    export(folder, place / "export", photos, val, section.max_iou_drop, section.threads)
    return Folders(folder, place / "export")


def scale(
    backends: Sequence[str],
    batches: Sequence[int],
    threads: Sequence[int],
    seconds: float,
    rounds: int,
    mediapipe: Path | None,
) -> pd.DataFrame:
    """Time the project in the current folder, and MediaPipe's file beside it if there is one."""
    params, model = load_params(), Path("models/person")
    for name in backends:
        find_backend(name)
    own = read_config(model).input_size
    section = params.benchmark
    protocol = Protocol(section.runs, section.warmup_runs, section.warmup_s, seconds, 1)
    with tempfile.TemporaryDirectory() as place:
        folders: dict[Size | str, Folders] = {own: Folders(model, Path("models/export"))}
        if own != REPORT_SIZE:
            folders[REPORT_SIZE] = exported_at(REPORT_SIZE, model, Path(place), params.export)
        test = [IMAGES / f"{stem}.jpg" for stem in read_split(Path("data/splits"))["test"]]
        rows = rows_of(backends, batches, threads, list(dict.fromkeys([own, REPORT_SIZE])))
        if mediapipe is not None:
            rows += [Row(MEDIAPIPE, 1, count, MEDIAPIPE_SIZE) for count in threads]
            rows.sort(key=lambda row: (row.batch, row.threads))
            folders[MEDIAPIPE] = Folders(mediapipe, mediapipe)
        return measure(rows, folders, test, protocol, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backends", nargs="+", help="default: benchmark.backends of params.yaml")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1 to all cores")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="of a row in all; slow rows take 20 runs (default 4)"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"that the rows take turns in (default {ROUNDS})")
    parser.add_argument("--mediapipe", type=Path, help="MediaPipe's selfie_segmentation.tflite, to time it beside")
    parser.add_argument("--out", type=Path, default=Path("results/picsart/scaling.csv"))
    arguments = parser.parse_args()
    with one_line_errors():
        threads = arguments.threads or thread_counts(usable_cores())
        if min(*arguments.batches, *threads, 1) < 1 or arguments.rounds < ROUNDS or arguments.seconds <= 0:
            raise UserError(f"--batches and --threads are at least 1, --rounds {ROUNDS}, --seconds more than 0")
        backends = arguments.backends or load_params().benchmark.backends
        table = scale(backends, arguments.batches, threads, arguments.seconds, arguments.rounds, arguments.mediapipe)
        write_table(arguments.out, table)
    print(table.to_string(index=False, float_format="%.4g"))


if __name__ == "__main__":
    main()
