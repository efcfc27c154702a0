"""Scenes to stand in front of: float32 RGB 0 to 1 of the picture's size."""

from functools import lru_cache

import cv2
import numpy as np

from personseg.sample.drawing import SCALE, Canvas, Floats, Rng, blurred
from personseg.sample.people import draw_person
from personseg.sample.scenes import DRAWN

# Photos inside the scikit-image wheel that hold no person and need no download.
PHOTOS = ("coffee", "chelsea", "rocket", "hubble_deep_field", "stereo_motorcycle", "gravel", "brick", "grass")


@lru_cache(maxsize=len(PHOTOS))
def _photo(name: str) -> Floats:
    from skimage import data

    loaded = getattr(data, name)()
    image = np.asarray(loaded[0] if isinstance(loaded, tuple) else loaded, dtype=np.float32) / 255
    return np.asarray(image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), dtype=np.float32)


def photograph(rng: Rng, shape: tuple[int, int]) -> Floats:
    """A crop of a bundled photo, perhaps mirrored, in changed colours."""
    image = _photo(str(rng.choice(PHOTOS)))
    share = rng.uniform(0.55, 1.0) * min(image.shape[0] / shape[0], image.shape[1] / shape[1])
    h, w = int(shape[0] * share), int(shape[1] * share)
    top, left = rng.integers(0, image.shape[0] - h + 1), rng.integers(0, image.shape[1] - w + 1)
    crop = cv2.resize(image[top : top + h, left : left + w], shape[::-1], interpolation=cv2.INTER_AREA)
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    crop = crop ** rng.uniform(0.7, 1.3) * rng.uniform(0.7, 1.15, 3)
    return np.asarray(np.clip(crop, 0, 1), dtype=np.float32)


def _hang_poster(rng: Rng, picture: Floats) -> None:
    h, w = picture.shape[:2]
    size = (int(h * rng.uniform(0.15, 0.35)), int(w * rng.uniform(0.2, 0.4)))
    top, left = rng.integers(0, h // 2), rng.integers(0, w - size[1])
    poster = picture[top : top + size[0], left : left + size[1]]
    poster[:] = 0.9
    poster[4:-4, 4:-4] = photograph(rng, (size[0] - 8, size[1] - 8))


def background(rng: Rng, shape: tuple[int, int], light: tuple[float, float]) -> Floats:
    """A photo or drawn scene, perhaps with a poster or a faint passer-by, more or less out of focus."""
    scene = photograph if rng.random() < 0.42 else DRAWN[rng.integers(len(DRAWN))]
    picture = np.ascontiguousarray(scene(rng, shape))
    if rng.random() < 0.22:
        _hang_poster(rng, picture)
    if rng.random() < 0.15:
        canvas = Canvas((shape[0] * SCALE, shape[1] * SCALE), light)
        draw_person(rng, canvas, "full", rng.choice([0.12, 0.88]), rng.uniform(0.5, 0.8))
        picture = blurred(canvas.over(picture, rng.uniform(0.6, 0.9)), shape[0] * 0.009)
    return np.clip(blurred(picture, shape[0] / 320 * rng.choice([0, 0.8, 1.5, 3, 5])), 0, 1)
