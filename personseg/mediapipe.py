"""MediaPipe's selfie segmenter: what our model is compared with, and a second opinion for a teacher."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from personseg.errors import UserError
from personseg.images import RGB

PACKAGE = "ai-edge-litert==2.3.0"


class MediaPipe:
    """The selfie segmenter as a function of a photo: stretched to the network's input, RGB in [0, 1].

    UserError if the file is missing or damaged, or if ai-edge-litert is not installed.
    """

    def __init__(self, path: Path, threads: int = 2) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise UserError(f"ai-edge-litert is not installed; run `pip install {PACKAGE}`") from None
        if not path.is_file():
            raise UserError(f"{path}: not found; give the path of MediaPipe's selfie_segmentation.tflite")
        try:
            self.interpreter = Interpreter(str(path), num_threads=threads)
        except ValueError as error:
            raise UserError(f"{path}: not a model LiteRT can read ({error})") from None
        self.interpreter.allocate_tensors()
        self.input, self.output = self.interpreter.get_input_details()[0], self.interpreter.get_output_details()[0]

    def __call__(self, image: RGB) -> NDArray[np.float32]:
        """Probability of person, float32 HxW, of a photo (uint8 HxWx3)."""
        height, width = self.input["shape"][1:3]
        small = np.asarray(cv2.resize(image, (int(width), int(height)), interpolation=cv2.INTER_AREA), np.uint8)
        probability = self.infer(small[None])[0]
        return np.asarray(cv2.resize(probability, image.shape[1::-1], interpolation=cv2.INTER_LINEAR))

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probability of person, float32 [1, H, W], of one photo of the network's input size (uint8 [1, H, W, 3])."""
        self.interpreter.set_tensor(self.input["index"], images.astype(np.float32) / 255)
        self.interpreter.invoke()
        return np.asarray(self.interpreter.get_tensor(self.output["index"])[..., 0])

    def both_ways(self, image: RGB) -> NDArray[np.float32]:
        """The mean over the photo and the mirrored photo, float32 HxW; dearer, and better on val."""
        mirrored = self(np.ascontiguousarray(image[:, ::-1]))[:, ::-1]
        return np.asarray((self(image) + mirrored) / 2)
