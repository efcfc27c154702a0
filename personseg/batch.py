"""Photos in, files out: what `personseg predict` does."""

from __future__ import annotations

import contextlib
import errno
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from personseg.environment import usable_cores
from personseg.errors import UserError
from personseg.images import RGB
from personseg.inputs import Item, count_pixels, find_photos
from personseg.model_config import check_weights, read_config
from personseg.segmenter import Segmenter, read_photo, runtimes_here
from personseg.writers import Job, RleWriter, Writer

MAX_STREAMS = 8  # photos at once
PHOTOS_A_STREAM = 8  # at least, on average
LARGE = 16_000_000  # pixels; of photos with more, one at a time


def _read(item: Item) -> RGB | str:
    """Read a photo; where it cannot be read, what is wrong with it."""
    try:
        return read_photo(item.path)
    except (UserError, OSError, MemoryError) as error:
        text = str(error) or "not enough memory"
        return text if text.startswith(str(item.path)) else f"{item.path}: {text}"


@contextlib.contextmanager
def _told(out: Path) -> Iterator[None]:
    """A full disk or a folder without permission stops every photo alike: one line of it."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or out}: {error.strerror or error}") from None


class Folder:
    """Does photos at once, each from its file to its result in one Python thread, and videos one by one.

    Decoding, network and encoding of different photos overlap, and no core waits: with as many threads as cores, each
    with one core of the network's, nothing has to be handed over and the network loses nothing to splitting its work.
    A photo's result is the one it has alone.
    """

    def __init__(self, writer: Writer, model: Path, runtime: str, threads: int, photos: int) -> None:
        self.writer, self.model, self.runtime, self.threads = writer, model, runtime, threads
        # A few photos are done before more streams are made ready.
        self.streams = max(1, min(threads, MAX_STREAMS, photos // PHOTOS_A_STREAM))
        self.segmenter = self.load(self.streams)
        self.large = threading.Lock()

    def load(self, streams: int) -> Segmenter:
        segmenter = Segmenter.load(self.model, self.runtime, self.threads, streams=streams)
        if self.writer.job.threshold is not None:
            segmenter.threshold = self.writer.job.threshold
        segmenter.zoom = self.writer.job.zoom
        return segmenter

    def photo(self, item: Item) -> str | None:
        """Do one photo; return what is wrong with it, if anything. UserError if results cannot be written."""
        # Several large photos at once might not fit into memory.
        with self.large if count_pixels(item.path) > LARGE else contextlib.nullcontext():
            image = _read(item)
            return image if isinstance(image, str) else self.result(item, image)

    def result(self, item: Item, image: RGB | None) -> str | None:
        """Write what becomes of a photo, or of a video (None); say what failed."""
        try:
            if image is None:
                self.writer.write_video(item, self.segmenter if self.streams == 1 else self.load(1))
            else:
                self.writer.write(item, image, self.segmenter.predict(image))
        except UserError as error:
            return str(error)
        except MemoryError:
            return f"{item.path}: not enough memory"
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise UserError(f"{error.filename or self.writer.path(item)}: {error.strerror or error}") from None
            return f"{item.path}: {error.strerror}"
        return None

    def run(self, items: Sequence[Item]) -> Iterator[str | None]:
        """Do all; what is wrong with each as they are done, photos first. UserError if nothing more can be written."""
        pool = ThreadPoolExecutor(self.streams)
        try:
            yield from pool.map(self.photo, [item for item in items if not item.is_video])
        finally:
            pool.shutdown(cancel_futures=True)
        for item in items:
            if item.is_video:  # with all threads
                yield self.result(item, None)


def run_job(job: Job, model: Path, runtime: str, threads: int | None) -> int:
    """Do the job with a progress bar; name what failed. Returns the exit code: 1 if a photo failed."""
    if job.background and job.kind != "cutout":
        raise UserError("--background is for --as cutout")
    if job.matting and job.kind != "cutout":
        raise UserError("--matting is for --as cutout")
    items = find_photos(job.inputs, job.recursive, job.out)
    with _told(job.out):
        writer = RleWriter(job, items) if job.kind == "rle" else Writer(job, items)
        todo = writer.begin(items, read_config(model).sha256, runtime)
    if skipped := len(items) - len(todo):
        print(f"{skipped} done before, skipped (--overwrite does them again)", file=sys.stderr)
    if not todo:
        return 0
    folder = Folder(writer, model, runtime, threads or usable_cores(), sum(not item.is_video for item in todo))
    quickest = next((f"; not {name}: {reason}" for name, reason in folder.segmenter.skipped.items()), "")
    print(f"runtime: {folder.segmenter.runtime_name}{quickest}", file=sys.stderr)
    failures: list[str] = []
    done = 0
    start = time.monotonic()
    bar = tqdm(total=len(todo), unit="img", mininterval=0.5, disable=None)
    try:
        with _told(job.out), contextlib.closing(writer), bar:
            for failure in folder.run(todo):
                if failure is None:
                    done += 1
                else:
                    failures.append(failure)
                bar.update()
    except KeyboardInterrupt:
        print(f"stopped, {done} of {len(todo)} written to {job.out}; the same command goes on", file=sys.stderr)
        return 130
    finally:
        for failure in failures:
            print(f"failed: {failure}", file=sys.stderr)
    seconds = time.monotonic() - start
    rate = f"{done / max(seconds, 1e-3):.2g} img/s"
    print(f"{done} written to {job.out} in {seconds:.1f} s ({rate}), {len(failures)} failed", file=sys.stderr)
    return 1 if failures else 0


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
