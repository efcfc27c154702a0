"""Photos in, files out: what `personseg predict` does."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tqdm import tqdm

from personseg.errors import UserError
from personseg.images import RGB
from personseg.inputs import Item, find_photos, read_ahead
from personseg.model_config import check_weights, read_config
from personseg.segmenter import Segmenter, runtimes_here
from personseg.writers import Job, RleWriter, Writer


def run_job(job: Job, model: Path, runtime: str, threads: int | None) -> int:
    """Do the job with a progress bar; name what failed. Returns the exit code: 1 if a photo failed."""
    if job.background and job.kind != "cutout":
        raise UserError("--background is for --as cutout")
    if job.matting and job.kind != "cutout":
        raise UserError("--matting is for --as cutout")
    items = find_photos(job.inputs, job.recursive, job.out)
    with _told(job.out):
        writer = RleWriter(job, items) if job.kind == "rle" else Writer(job, items)
        todo = writer.begin(items, read_config(model).sha256)
    if skipped := len(items) - len(todo):
        print(f"{skipped} done before, skipped (--overwrite does them again)", file=sys.stderr)
    if not todo:
        return 0
    segmenter = Segmenter.load(model, runtime, threads)
    if job.threshold is not None:
        segmenter.threshold = job.threshold
    segmenter.zoom = job.zoom
    print(f"runtime: {segmenter.runtime_name}", file=sys.stderr)
    failures: list[str] = []
    start = time.monotonic()
    try:
        with _told(job.out), closing(writer), tqdm(total=len(todo), unit="img", mininterval=0.5, disable=None) as bar:
            for item, image in read_ahead(todo):
                if failure := _one(item, image, writer, segmenter):
                    failures.append(failure)
                bar.update()
    finally:
        for failure in failures:
            print(f"failed: {failure}", file=sys.stderr)
    done, seconds = len(todo) - len(failures), time.monotonic() - start
    rate = f"{done / max(seconds, 1e-3):.2g} img/s"
    print(f"{done} written to {job.out} in {seconds:.1f} s ({rate}), {len(failures)} failed", file=sys.stderr)
    return 1 if failures else 0


@contextmanager
def _told(out: Path) -> Iterator[None]:
    """A full disk or a folder without permission stops every photo alike: one line of it."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or out}: {error.strerror or error}") from None


def _one(item: Item, image: RGB | str | None, writer: Writer, segmenter: Segmenter) -> str | None:
    """Do one of what `read_ahead` gives; say what failed. OSError if nothing more can be written at all."""
    if isinstance(image, str):
        return image
    try:
        if image is None:
            writer.write_video(item, segmenter)
        else:
            writer.write(item, image, segmenter.predict(image))
    except UserError as error:
        return str(error)
    except MemoryError:
        return f"{item.path}: not enough memory"
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return f"{item.path}: {error.strerror}"
    return None


def describe_model(folder: Path) -> str:
    """Describe a saved model in lines: architecture, input, threshold, post-processing, runtimes here."""
    config = read_config(folder)
    check_weights(folder, config)
    kind = config.architecture
    lines = [
        f"model       {folder}: {kind.get('name')}, encoder {kind.get('encoder', '-')}",
        f"sha256      {config.sha256} (the weights match)",
        f"input       {config.input_size[0]}x{config.input_size[1]} (height x width)",
        f"threshold   {config.threshold}",
        f"objects     smaller than {config.postprocess.min_object} px dropped, holes smaller than "
        f"{config.postprocess.min_hole} px filled",
        "runtimes here:",
    ]
    for name, loaded in runtimes_here(folder):
        lines.append(f"  {name:18} {f'no: {loaded}' if isinstance(loaded, str) else f'yes, on {loaded.device}'}")
    return "\n".join(lines)
