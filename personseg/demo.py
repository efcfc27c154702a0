"""The page of `personseg demo`, made with Gradio: a photo in, the person out, on this machine alone."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import cv2
import gradio as gr
import numpy as np
from gradio.data_classes import ImageData
from numpy.typing import NDArray
from PIL import Image, ImageColor

from personseg.benchmark import Protocol, repeat
from personseg.cutouts import compose, cut
from personseg.environment import usable_cores
from personseg.errors import UserError
from personseg.geometry import letterbox
from personseg.images import RGB, Mask, write_image, write_mask
from personseg.memory import return_freed_memory, share_heaps
from personseg.model_config import read_config
from personseg.runtimes import Runtime
from personseg.sample.photo import draw_pair
from personseg.segmenter import BLUR, Segmenter, read_photo, runtimes_here

LOOPBACK = "127.0.0.1"
PREVIEW = 1200  # px of the longer side of what the page shows; downloads have the photo's own size
TIMED_RUNS = 20
MAX_UPLOAD = 100 * 2**20  # bytes of a photo
KEPT_S = 60  # seconds a file to download stays here
AT_ONCE = 2  # photos in work, which bounds memory: each may have 150 megapixels
WAITING = 32  # steps in the queue; who comes then is told that the page is busy
SESSIONS = 200  # visits that Gradio remembers, 40 kB each; by default 10,000
EXAMPLES = ((3, (480, 360)), (8, (480, 360)), (12, (360, 640)), (21, (720, 540)))  # seed and size of drawn photos
TRANSPARENT, BLURRED, COLOUR, PICTURE = "transparent", "blurred", "a colour", "a picture"
BUTTONS: list[Any] = ["fullscreen"]  # what is shown is shrunk; the downloads are below it
UNREADY = gr.update(value=None, interactive=False)  # of a download
FONTS = ["system-ui", "sans-serif"]  # none from the net
LARGE, CHECKERED = ["large"], ["large", "checkered"]
CSS = """
.large .image-frame {width: 100%}
.large .image-frame img {object-fit: contain}
.checkered img {background: repeating-conic-gradient(#ccc 0 25%, #fff 0 50%) 0 / 20px 20px}
footer {display: none !important}
"""


@dataclass(frozen=True)
class Wish:
    """What is asked of a photo: runtime, what goes behind the person, soft alpha or not."""

    runtime: str
    behind: str
    colour: str
    picture: str | None
    matting: bool

    def waits(self) -> bool:
        """Whether a picture is to go behind that was not given yet."""
        return self.behind == PICTURE and self.picture is None


@dataclass(frozen=True)
class Found:
    """A photo (uint8 RGB HxWx3), its mask (bool HxW), and the time from one to the other, the network's part apart."""

    image: RGB
    mask: Mask
    network_ms: float
    mask_ms: float


class Demo:
    """A model on every runtime that this machine has for it, and the files of the page."""

    def __init__(self, model: Path) -> None:
        self.preferred = Segmenter.load(model).runtime_name
        config = read_config(model)
        self.segmenters = {
            name: Segmenter(config, loaded, name, {})
            for name, loaded in runtimes_here(model)
            if not isinstance(loaded, str)
        }
        self.busy = threading.Lock()  # a loaded network answers one at a time
        self.find = lru_cache(maxsize=1)(self._find)  # of one photo several things are asked in a row
        self._folder = tempfile.TemporaryDirectory(prefix="personseg_demo_")  # gone when the process ends
        self.folder = Path(self._folder.name)

    def examples(self) -> list[str]:
        """Draw photos of people who do not exist; their paths."""
        paths = []
        for seed, size in EXAMPLES:
            path = self.folder / f"example_{seed}.jpg"
            write_image(path, draw_pair(np.random.default_rng(seed), size)[0])
            paths.append(str(path))
        return paths

    def _find(self, photo: str, runtime: str) -> Found:
        image, segmenter = read_upload(photo), self.segmenters[runtime]
        with self.busy:
            segmenter.runtime.infer(letterbox(image, segmenter.config.input_size)[0][None])  # warms it up
            return find_timed(segmenter, image)

    def segment(self, photo: str | None, wish: Wish) -> tuple[Any, ...]:
        """What the page shows of a photo: result, before and after, mask, a line of figures."""
        if photo is None:
            return None, None, None, ""
        found = self.find(photo, wish.runtime)
        start = time.perf_counter()
        shown = preview(cut_out(found.image, found.mask, wish))
        cut_ms = 1000 * (time.perf_counter() - start)
        height, width = found.mask.shape
        line = (
            f"{width} x {height} px, {found.mask.mean():.0%} person. "
            f"{wish.runtime}: network {found.network_ms:.1f} ms, photo to mask {found.mask_ms:.1f} ms, "
            f"cutting out {cut_ms:.0f} ms."
        )
        if wish.waits():
            line += "\n\nNo picture to put behind yet: drop one."
        mask = preview(np.where(found.mask, 255, 0).astype(np.uint8))
        return shown, (preview(found.image), on_white(shown)), mask, line

    def files(self, photo: str | None, wish: Wish) -> tuple[Any, Any]:
        """Write what can be downloaded, result and mask at the photo's own size; updates of the two buttons.

        After the page shows them: to compress a large photo takes longer than all the rest.
        """
        if photo is None:
            return UNREADY, UNREADY
        found = self.find(photo, wish.runtime)
        for old in self.folder.glob("made_*"):
            with contextlib.suppress(FileNotFoundError):  # another photo's step was quicker
                if time.time() - old.stat().st_mtime > KEPT_S:  # Gradio has its own copy by now
                    shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="made_", dir=self.folder))
        paths = [folder / f"{Path(photo).stem}_{kind}.png" for kind in ("cutout", "mask")]
        Image.fromarray(cut_out(found.image, found.mask, wish)).save(paths[0], compress_level=3)
        write_mask(paths[1], found.mask)
        return_freed_memory()  # glibc keeps what each of Gradio's threads has freed: with large photos gigabytes
        result, drawn = (gr.update(value=str(path), interactive=True) for path in paths)
        return result, drawn

    def time_all(self, photo: str | None) -> list[list[Any]]:
        """One row per runtime: name, median ms of photo to mask, and of the network's part in the same runs."""
        if photo is None:
            raise UserError("no photo yet: drop one, or choose an example")
        image = read_upload(photo)
        protocol = Protocol(TIMED_RUNS, warmup_runs=1, warmup_s=0, max_seconds=math.inf, threads=usable_cores())
        rows: list[list[Any]] = []
        for name, segmenter in gr.Progress().tqdm(list(self.segmenters.items()), desc="runtimes"):
            with self.busy:
                runs = repeat(partial(find_timed, segmenter, image), protocol, time.perf_counter)
            medians = [np.median([getattr(run, part) for run in runs]) for part in ("network_ms", "mask_ms")]
            rows.append([name, *(round(float(value), 2) for value in medians)])
        return sorted(rows, key=lambda row: float(row[1]))


def cut_out(image: RGB, mask: Mask, wish: Wish) -> NDArray[np.uint8]:
    """The person as wished: uint8 RGBA, also while the picture to go behind is awaited; RGB on something else."""
    background: RGB | str
    if wish.behind == BLURRED:
        background = BLUR
    elif wish.behind == COLOUR:
        background = np.array([[read_colour(wish.colour)]], np.uint8)
    elif wish.behind == PICTURE and wish.picture is not None:
        background = read_upload(wish.picture)
    else:
        return cut(image, mask, wish.matting)
    return compose(image, mask, background, wish.matting)


def on_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay RGBA over white; RGB is left as it is."""
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint16)
    return np.asarray((alpha * pixels[..., :3] + (255 - alpha) * 255) // 255, np.uint8)


def read_colour(text: str) -> tuple[int, ...]:
    """Red, green and blue, 0 to 255, of what the colour picker gives: #20a0ff or rgba(32.1, 160, 255, 1)."""
    if text.startswith("rgb"):
        return tuple(round(float(number)) for number in re.findall(r"[\d.]+", text)[:3])
    return ImageColor.getrgb(text)[:3]


def preview(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a large picture to what a page can show."""
    scale = PREVIEW / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


class Clocked:
    """A loaded runtime that adds up the seconds of its network; a photo may be looked at more than once."""

    def __init__(self, loaded: Runtime) -> None:
        self.loaded = loaded
        self.seconds = 0.0

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As the runtime's own."""
        start = time.perf_counter()
        logits = self.loaded.infer(images)
        self.seconds += time.perf_counter() - start
        return logits


def find_timed(segmenter: Segmenter, image: RGB) -> Found:
    """Find the person on a decoded photo (uint8 RGB HxWx3); both times are of this one run."""
    clock = Clocked(segmenter.runtime)
    clocked = Segmenter(segmenter.config, cast(Runtime, clock), segmenter.runtime_name, {})
    start = time.perf_counter()
    mask = clocked.predict(image).mask
    return Found(image, mask, 1000 * clock.seconds, 1000 * (time.perf_counter() - start))


def read_upload(path: str) -> RGB:
    """Read a photo that was sent; a UserError names it as the user does, without the folder it lies in here."""
    try:
        return read_photo(path)
    except UserError as error:
        raise UserError(str(error).replace(path, Path(path).name)) from None


def as_sent(payload: ImageData | None) -> str | None:
    """The path of an upload as it came: Gradio's own look at it ends in a traceback where it is no photo."""
    return None if payload is None else payload.path


def make_page(demo: Demo) -> gr.Blocks:
    """Lay the page out and join it to `demo`."""

    def told(step: Callable[..., Any]) -> Callable[..., Any]:
        """A user's error is said on the page."""

        def safe(*values: Any) -> Any:
            try:
                return step(*values)
            except UserError as error:
                raise gr.Error(str(error), print_exception=False) from None

        return safe

    with gr.Blocks(title="personseg", delete_cache=(3600, 3600)) as page:
        gr.Markdown("# People cut out\nDrop a photo, paste one, or use the camera. Nothing leaves this machine.")
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                photo = gr.Image(type="filepath", sources=["upload", "webcam", "clipboard"], label="Photo", height=380)
                gr.Examples(demo.examples(), photo, label="Examples (drawn people)")
                choices = [TRANSPARENT, BLURRED, COLOUR, PICTURE]
                behind = gr.Radio(choices, value=TRANSPARENT, label="Background")
                colour = gr.ColorPicker("#20a0ff", label="Colour", visible=False)
                # The column is what is shown and hidden: Gradio makes a component anew to change it.
                with gr.Column(visible=False) as behind_it:
                    picture = gr.Image(type="filepath", sources=["upload"], label="Picture", height=200)
                matting = gr.Checkbox(label="Soft hair (matting, slower)")
                runtime = gr.Dropdown(list(demo.segmenters), value=demo.preferred, label="Runtime")
            with gr.Column(scale=3, min_width=320):
                with gr.Tab("Result"):
                    result = gr.Image(label="Result", format="png", buttons=BUTTONS, elem_classes=CHECKERED, height=520)
                with gr.Tab("Before and after"):
                    slider = gr.ImageSlider(label="Before and after", max_height=520)
                with gr.Tab("Mask"):
                    mask = gr.Image(label="Mask", format="png", buttons=BUTTONS, elem_classes=LARGE, height=520)
                line = gr.Markdown()
                with gr.Row():
                    result_file = gr.DownloadButton("Download result", interactive=False)
                    mask_file = gr.DownloadButton("Download mask", interactive=False)
                with gr.Accordion("Every runtime on this photo", open=False):
                    clock = gr.Button("Time them")
                    table = gr.Dataframe(headers=["runtime", "network, ms", "photo to mask, ms"], interactive=False)
        for upload in (photo, picture):
            upload.preprocess = as_sent  # type: ignore[method-assign]
        wishes: list[Any] = [runtime, behind, colour, picture, matting]
        outputs, downloads = [result, slider, mask, line], [result_file, mask_file]
        quick: dict[str, Any] = {"api_visibility": "private", "queue": False}
        hidden: dict[str, Any] = {
            "api_visibility": "private",
            "concurrency_id": "photos",
            "concurrency_limit": AT_ONCE,
        }
        for changed in (photo, *wishes):
            event = changed.change(lambda: (UNREADY, UNREADY), None, downloads, **quick)
            event = event.then(
                told(lambda photo, *wish: demo.segment(photo, Wish(*wish))),
                [photo, *wishes],
                outputs,
                show_progress="minimal",
                **hidden,
            )
            event.success(
                told(lambda photo, *wish: demo.files(photo, Wish(*wish))),
                [photo, *wishes],
                downloads,
                show_progress="hidden",
                **hidden,
            )
        behind.change(
            lambda kind: (
                gr.update(visible=kind == COLOUR),
                gr.update(visible=kind == PICTURE),
                gr.update(elem_classes=CHECKERED if kind == TRANSPARENT else LARGE),
            ),
            behind,
            [colour, behind_it, result],
            **quick,
        )
        clock.click(told(demo.time_all), photo, table, **hidden)
    return page


def serve(model: Path, host: str, port: int, block: bool = True) -> str:
    """Start the page; return its address. UserError: no model, or a port that is taken."""
    share_heaps()
    demo = Demo(model)
    page = make_page(demo)
    theme = gr.themes.Default(font=FONTS, font_mono=["ui-monospace", "monospace"])
    try:
        _, address, _ = page.queue(max_size=WAITING).launch(
            server_name=host,
            server_port=port or None,
            quiet=True,
            prevent_thread_lock=True,
            theme=theme,
            css=CSS,
            ssr_mode=False,  # that would need Node
            max_file_size=MAX_UPLOAD,
            state_session_capacity=SESSIONS,
        )
    except OSError as error:
        raise UserError(f"port {port} cannot be used ({error}); choose another with --port") from None
    print(f"demo of {model}: {address}  (Ctrl-C ends it)", flush=True)
    if block:
        page.block_thread()
    return str(address)
