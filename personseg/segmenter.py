"""Using a trained model: photos in, masks and cutouts out.

from personseg import Segmenter

segmenter = Segmenter.load("models/person")
mask = segmenter.predict("photo.jpg").mask
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps
from scipy.special import entr, expit

from personseg.environment import usable_cores
from personseg.errors import UserError
from personseg.geometry import Placement, letterbox
from personseg.images import RGB, Mask, open_supplied, to_rgb
from personseg.model_config import ModelConfig, check_weights, read_config
from personseg.postprocess import finish
from personseg.runtimes import BACKENDS, Runtime, Unavailable, make_runtime, read_manifest
from personseg.strips import strips
from personseg.zoom import Window, windows

Photo: TypeAlias = str | Path | Image.Image | NDArray[Any]

HEIC_SUFFIXES = {".heic", ".heif"}  # what many phones write, and Pillow does not read
MAX_PIXELS = 150_000_000  # of a photo; more is refused before it is decoded
# What `auto` tries, quickest first. int8 is left to those who ask for it: its masks differ most from those scored.
# Without a GPU TensorRT is not even asked: its module brings PyTorch, a second and 400 MB.
PREFERENCE = ("openvino_bf16", "openvino_f32", "onnxruntime_fp32", "pytorch_fp32")
PREFERENCE_ON_GPU = ("tensorrt_fp16", "pytorch_bf16", "pytorch_fp32")
SMOOTHING = 0.8  # of what is unsure in a video's frame, taken from the frame before
BLUR = "blur"  # of a background: the photo's own, blurred
WHOLE: Window = (slice(None), slice(None))
FLOAT_MAX = 2  # of a float image: a little over 1 comes of resizing, 255 of a mistake
BATCH = 8  # photos at most, and
BATCH_PIXELS = 60_000_000  # so many of their pixels, unless one photo alone has more


@dataclass(frozen=True)
class Segmentation:
    """What was found in one photo: `mask`, bool HxW of the photo's own size, upright; post-processed.

    `looks` are what the network saw of it: the whole photo, then parts of it closer; each where, its probabilities
    at the network's size, and their placement.
    """

    mask: Mask
    looks: list[tuple[Window, NDArray[np.float32], Placement]]

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        """Of being person, float32 HxW; worked out when first asked for, as it is four times as large as the mask."""
        values = np.zeros(self.mask.shape, np.float32)
        for window, small, placement in self.looks:
            values[window] = placement.restore(small)
        return values


class Segmenter:
    """A saved model on one runtime. Make one with `Segmenter.load`.

    `runtime_name` says which backend runs, `skipped` why those preferred to it do not. `threshold` may be changed,
    and `zoom` be set to False: then people who are small in a large photo are not looked at a second time.
    """

    def __init__(self, config: ModelConfig, runtime: Runtime, runtime_name: str, skipped: dict[str, str]) -> None:
        self.config = config
        self.runtime = runtime
        self.runtime_name = runtime_name
        self.skipped = skipped
        self.zoom = True

    def __repr__(self) -> str:
        height, width = self.config.input_size
        return (
            f"<Segmenter on {self.runtime_name}, {self.runtime.device}: {height}x{width}, threshold {self.threshold}>"
        )

    @classmethod
    def load(
        cls,
        folder: str | Path = "models/person",
        runtime: str = "auto",
        threads: int | None = None,
        export_folder: str | Path | None = None,
        streams: int = 1,
    ) -> Segmenter:
        """Load the model in `folder` (config.json and model.safetensors) on `runtime`.

        `runtime` is a key of `personseg.runtimes.BACKENDS`, or `auto`: the quickest one that this machine
        runs without loss of accuracy. `threads` defaults to the cores this process may use. Exported files
        are looked for in `export_folder`, by default `export` beside `folder`; those of another model are
        never used. With several `streams` as many Python threads may predict at once and share `threads`.
        UserError: the model is incomplete or altered, the runtime unknown or unavailable.
        """
        folder = Path(folder)
        config = read_config(folder)
        check_weights(folder, config)
        exported = Path(export_folder) if export_folder is not None else folder.parent / "export"
        threads = threads or usable_cores()
        if runtime == "auto":
            names: Sequence[str] = PREFERENCE_ON_GPU if _has_nvidia_gpu() else PREFERENCE
        elif runtime in BACKENDS and not runtime.startswith("report_"):
            names = [runtime]
        else:
            known = ", ".join(name for name in BACKENDS if not name.startswith("report_"))
            raise UserError(f"runtime {runtime!r} is unknown; choose auto or one of {known}")
        skipped: dict[str, str] = {}
        for name in names:
            try:
                return cls(config, load_runtime(name, folder, exported, config, threads, streams), name, skipped)
            except Unavailable as reason:
                skipped[name] = str(reason)
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise UserError(f"no runtime can run {folder}: {reasons}")

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is person."""
        return self.config.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.config = self.config.model_copy(update={"threshold": value})

    @overload
    def predict(self, photos: Photo) -> Segmentation: ...
    @overload
    def predict(self, photos: list[Photo] | tuple[Photo, ...]) -> list[Segmentation]: ...
    def predict(self, photos: Photo | list[Photo] | tuple[Photo, ...]) -> Segmentation | list[Segmentation]:
        """Segment one photo; or several, in batches: a list, a tuple or an array NxHxWx3.

        A photo is a path, a PIL image, or an array (uint8 RGB HxWx3, grey HxW, 16-bit, or float in 0..1). EXIF
        orientation is applied. UserError names a file that cannot be read.
        """
        if isinstance(photos, list | tuple) or (isinstance(photos, np.ndarray) and photos.ndim == 4):
            return list(self.stream(photos))
        return next(self.stream([photos]))

    def stream(self, photos: Iterable[Photo]) -> Iterator[Segmentation]:
        """Segment any number of photos, a batch in memory at a time."""
        for batch in _batches(map(read_photo, photos)):
            for image, (small, placement) in zip(batch, self._look(batch), strict=True):
                mask = finish(small, placement, self.config)
                looks = [(WHOLE, small, placement)]
                if self.zoom and (parts := windows(mask, self.config.input_size)):
                    for part, closer in zip(parts, self._look([image[part] for part in parts]), strict=True):
                        mask[part] = finish(*closer, self.config)
                        looks.append((part, *closer))
                yield Segmentation(mask, looks)

    def frames(self, frames: Iterable[RGB], smoothing: float = SMOOTHING) -> Iterator[tuple[RGB, Segmentation]]:
        """Segment the frames of a video (uint8 RGB HxWx3, all of one size); yield each with what was found.

        Against flicker, what the network is unsure of is mixed with the frame before, by at most `smoothing` (0 to 1),
        as MediaPipe's SegmentationSmoothingCalculator does. There is no closer look: its windows would jump.
        """
        before: NDArray[np.float32] | None = None
        for batch in _batches(frames):
            for image, (small, placement) in zip(batch, self._look(batch), strict=True):
                if before is not None:
                    unsure = (entr(small) + entr(1 - small)) / np.log(2)
                    small = np.asarray(small + (before - small) * unsure * smoothing, np.float32)
                before = small
                yield image, Segmentation(finish(small, placement, self.config), [(WHOLE, small, placement)])

    def _look(self, images: Sequence[RGB]) -> list[tuple[NDArray[np.float32], Placement]]:
        fitted = [letterbox(image, self.config.input_size) for image in images]
        logits = self.runtime.infer(np.stack([image for image, _ in fitted]))
        small = np.asarray(expit(logits), np.float32)
        return [(values, placement) for values, (_, placement) in zip(small, fitted, strict=True)]

    def cutout(self, photo: Photo, matting: bool = False, background: Photo | None = None) -> NDArray[np.uint8]:
        """Cut the person out: uint8 RGBA HxWx4; over `background`: RGB HxWx3.

        `background` is a colour ("white", "#20a0ff"), a picture of any size (path, PIL image or array), or "blur". With
        `matting` alpha is soft along the edge and the colours there are the person's own, so that hair has no halo of
        the old background.
        """
        from personseg.cutouts import compose, cut

        image = read_photo(photo)
        mask = self.predict(image).mask
        if background is None:
            return cut(image, mask, matting)
        return compose(image, mask, read_background(background), matting)


def _batches(images: Iterable[RGB]) -> Iterator[list[RGB]]:
    batch: list[RGB] = []
    for image in images:
        if batch and sum(each.shape[0] * each.shape[1] for each in [*batch, image]) > BATCH_PIXELS:
            yield batch
            batch = []
        batch.append(image)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def read_photo(photo: Photo) -> RGB:
    """Turn a path, PIL image or array into uint8 RGB HxWx3, upright; UserError says what is wrong with it."""
    if isinstance(photo, str | Path):
        try:
            return _pixels(open_supplied(photo, MAX_PIXELS))
        except FileNotFoundError:
            raise UserError(f"{photo}: no such file") from None
        except (ValueError, OSError) as error:
            heic = Path(photo).suffix.lower() in HEIC_SUFFIXES
            why = "HEIC cannot be read; save it as JPEG first" if heic else getattr(error, "strerror", None) or error
            raise UserError(f"{photo}: {why}") from None
    if isinstance(photo, Image.Image):
        try:
            return _pixels(ImageOps.exif_transpose(photo))
        except OSError as error:  # Pillow reads a file's pixels this late
            raise UserError(f"{getattr(photo, 'filename', '') or 'image'}: {error}") from None
    array = np.asarray(photo)
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise UserError(f"an image of shape {array.shape} cannot be read; give HxW, HxWx3 or HxWx4")
    if array.dtype.kind == "f":
        if np.nanmax(array, initial=0) > FLOAT_MAX:
            raise UserError("an image of floats must lie in 0..1; divide by 255, or give uint8")
        array = (np.nan_to_num(array).clip(0, 1) * 255).round().astype(np.uint8)
    elif array.dtype == np.uint16:
        array = (array // 257).astype(np.uint8)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8:
        raise UserError(f"an image of type {array.dtype} cannot be read; give uint8, uint16 or float in 0..1")
    if array.ndim == 3 and array.shape[2] == 3:
        return np.ascontiguousarray(array)
    return to_rgb(Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array))


def read_background(background: Photo) -> RGB | str:
    """Return BLUR, or uint8 RGB pixels, 1x1 for a colour; UserError if it is no colour, picture or BLUR."""
    if not isinstance(background, str):
        return read_photo(background)
    if background == BLUR:
        return BLUR
    try:
        if Path(background).is_file():
            return read_photo(background)
        return np.array([[ImageColor.getrgb(background)[:3]]], np.uint8)
    except (ValueError, OSError):
        raise UserError(f"{background!r}: neither a colour, nor a picture, nor {BLUR}") from None


def _pixels(image: Image.Image) -> RGB:
    """What `to_rgb` gives; in strips, as Pillow and NumPy would hold a large photo several times over."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    deep = image.mode.startswith("I") or image.mode == "F"
    # The brightest pixel of all says how levels of more than 8 bits are scaled: each strip gets it as a row more.
    brightest = np.nan_to_num(np.asarray(image)).max() if deep else 0
    for rows in strips(image.height):
        strip = image.crop((0, rows.start, image.width, rows.stop))
        if deep:
            levels = np.asarray(strip)
            strip = Image.fromarray(np.vstack([levels, np.full_like(levels[:1], brightest)]))
        pixels[rows] = to_rgb(strip)[: rows.stop - rows.start]
    return pixels


def runtimes_here(folder: str | Path) -> Iterator[tuple[str, Runtime | str]]:
    """Each backend's name with the model in `folder` loaded on it, or with the reason why it cannot run here."""
    folder = Path(folder)
    config = read_config(folder)
    for name in BACKENDS:
        if name.startswith(("report_", "torch_compile")):
            continue
        try:
            yield name, load_runtime(name, folder, folder.parent / "export", config, usable_cores())
        except Unavailable as reason:
            yield name, str(reason)


def _has_nvidia_gpu() -> bool:
    """Whether there is one and PyTorch can use it: with a driver alone its rows would run on the CPU."""
    if not Path("/proc/driver/nvidia/version").exists() and not Path("/dev/dxg").exists():  # the latter in WSL
        return False
    import torch

    return bool(torch.cuda.is_available())


def load_runtime(
    name: str, folder: Path, exported: Path, config: ModelConfig, threads: int, streams: int = 1
) -> Runtime:
    """Return a loaded runtime; Unavailable if its library or its exported file is missing, or is of another model."""
    backend = BACKENDS[name]
    if backend.artifact is not None:
        manifest = read_manifest(exported)
        if manifest is None:
            raise Unavailable(f"{exported} holds no exported model")
        if manifest[0] != config.sha256:
            raise Unavailable(f"{exported} was exported from another model")
    try:
        runtime = make_runtime(name)
    except ImportError as error:
        raise Unavailable(f"not installed: {error}") from None
    if reason := runtime.available():
        raise Unavailable(reason)
    runtime.load(folder, exported, threads, streams)
    return runtime
