"""Videos in, videos out: frames streamed, masks smoothed in time, sound kept where ffmpeg is there."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from personseg.errors import UserError
from personseg.images import RGB
from personseg.segmenter import Segmentation, Segmenter

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong with a video is told once, by us
CODEC = "mp4v"  # in every build of OpenCV

Draw = Callable[[RGB, Segmentation], RGB]


def _frames(video: cv2.VideoCapture, name: str) -> Iterator[RGB]:
    total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    with tqdm(total=total if total > 0 else None, desc=name, unit="frame", mininterval=0.5, disable=None) as bar:
        while True:
            there, frame = video.read()
            if not there:
                return
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
            bar.update()


def with_sound(silent: Path, source: Path, out: Path) -> bool:
    """Write the pictures of `silent` with the sound of `source` to `out`; False if ffmpeg is not there or cannot."""
    if shutil.which("ffmpeg") is None:
        return False
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(silent.absolute()), "-i", str(source.absolute())]
    command += ["-map", "0:v", "-map", "1:a?", "-c:v", "copy", "-c:a", "aac", str(out.absolute())]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def segment_video(segmenter: Segmenter, path: Path, out: Path, draw: Draw) -> int:
    """Write `out` (.mp4): `draw` of every frame of `path` and of what was found in it. Returns the number of frames.

    A few frames are in memory at a time. UserError if the file cannot be read as a video; OSError if the disk cannot
    take the new one.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoCapture(str(path))
    with tempfile.TemporaryDirectory(prefix=f".{out.stem}.", dir=out.parent) as folder:
        silent, whole = Path(folder) / "silent.mp4", Path(folder) / "whole.mp4"
        writer, count = None, 0
        try:
            if not video.isOpened():
                raise UserError(f"{path}: not a video that can be read")
            rate = video.get(cv2.CAP_PROP_FPS)
            for frame, found in segmenter.frames(_frames(video, path.name)):
                picture = draw(frame, found)
                if writer is None:
                    fourcc = cv2.VideoWriter.fourcc(*CODEC)
                    writer = cv2.VideoWriter(str(silent), fourcc, rate if rate > 0 else 25.0, picture.shape[1::-1])
                    if not writer.isOpened():
                        raise UserError(f"{path}: OpenCV cannot write a video of its size and rate")
                writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
                count += 1
        finally:
            video.release()
            if writer is not None:
                writer.release()
        if not count:
            raise UserError(f"{path}: no frame of this video can be read")
        finished = whole if with_sound(silent, path, whole) else silent
        if not finished.is_file() or not cv2.VideoCapture(str(finished)).isOpened():
            raise OSError(errno.ENOSPC, "the video could not be written; is the disk full?", str(out))
        finished.replace(out)
    return count
