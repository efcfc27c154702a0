"""What a user waits for, and the memory the largest photo takes, beside the goals of the project.

    python -m benchmarks.in_hands [--model models/person] [--rounds N] [--out results/in_hands.json]

Every command is a process of its own, files in the disk cache: seconds from start to exit, imports included; memory is
the process's peak resident size. Photos are drawn. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from personseg.environment import cpu_model
from personseg.errors import UserError, one_line_errors
from personseg.files import write_json
from personseg.images import RGB, write_image
from personseg.sample.photo import draw_pair

MEGAPIXELS_12, LARGEST = (4000, 3000), (9000, 12000)  # height, width
GOALS = {"help_s": 0.5, "first_mask_s": 3.0, "demo_12_megapixels_s": 1.0, "largest_photo_bytes": 2e9}
KINDS = {  # of the largest photo
    "mask": ["mask"],
    "overlay": ["overlay"],
    "cutout": ["cutout", "--background", "white"],
    "cutout, soft": ["cutout", "--background", "blur", "--matting"],
}


def drawn(size: tuple[int, int]) -> RGB:
    """A drawn person, enlarged to `size` (height, width)."""
    image = draw_pair(np.random.default_rng(8), (480, 360 if size[0] > size[1] else 640))[0]
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def run(arguments: list[str]) -> tuple[float, int]:
    """Run `personseg` in a process of its own; seconds and peak resident bytes. UserError if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "personseg", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise UserError(f"personseg {' '.join(arguments)}: {said.decode(errors='replace').strip()[-300:]}")
    return seconds, usage.ru_maxrss * 1024


def median_seconds(arguments: list[str], rounds: int) -> float:
    run(arguments)  # warms the disk cache
    return statistics.median(run(arguments)[0] for _ in range(rounds))


def demo_seconds(model: Path, photo: Path, rounds: int) -> float:
    """From a photo dropped on the demo page to all that the page shows of it."""
    from personseg.demo import TRANSPARENT, Demo, Wish

    demo = Demo(model)
    wish = Wish(demo.preferred, TRANSPARENT, "#000000", None, False)
    demo.segment(str(photo), wish)
    seconds = []
    for _ in range(rounds):
        demo.find.cache_clear()
        start = time.perf_counter()
        demo.segment(str(photo), wish)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure(model: Path, rounds: int) -> dict[str, Any]:
    """Seconds and bytes, keys as in GOALS, and what each was measured with."""
    with tempfile.TemporaryDirectory() as folder:
        small, medium, large = (Path(folder) / f"{name}.jpg" for name in ("small", "medium", "large"))
        write_image(small, drawn((800, 600)))
        write_image(medium, drawn(MEGAPIXELS_12))
        write_image(large, drawn(LARGEST))
        out = str(Path(folder) / "out")

        def predict(photo: Path, kind: str, *more: str) -> list[str]:
            return ["predict", str(photo), "-o", out, "--as", kind, "--overwrite", "--model", str(model), *more]

        peaks = {}
        for kind, more in KINDS.items():
            seconds, peak = run(predict(large, *more))
            peaks[kind] = {"seconds": seconds, "peak_bytes": peak}
        return {
            "help_s": median_seconds(["--help"], rounds),
            "first_mask_s": median_seconds(predict(small, "mask"), rounds),
            "demo_12_megapixels_s": demo_seconds(model, medium, rounds),
            "largest_photo_bytes": max(value["peak_bytes"] for value in peaks.values()),
            "largest_photo": peaks,
            "rounds": rounds,
            "cpu": cpu_model(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=Path("models/person"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/in_hands.json"))
    arguments = parser.parse_args()
    with one_line_errors():
        found = measure(arguments.model, arguments.rounds)
        write_json(arguments.out, {"goals": GOALS, **found})
    for key, goal in GOALS.items():
        print(f"{key:22} {found[key]:.3g}  goal {goal:.3g}  {'met' if found[key] <= goal else 'MISSED'}")


if __name__ == "__main__":
    main()
