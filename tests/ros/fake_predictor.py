"""A predictor with the runtime's interface whose answer is arithmetic on the image, so that it can be checked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

CLASS_NAMES = ("road", "kerb", "person", "car")
PALETTE = ((128, 64, 128), (244, 35, 232), (220, 20, 60), (0, 0, 142))


class Prediction(dict):
    """Arrays by name, with the seconds of each stage."""

    seconds: dict[str, float]


def expected(image: np.ndarray) -> dict[str, np.ndarray]:
    """What `FakePredictor` says about an ``(H, W, 3)`` uint8 RGB image."""
    red, green, blue = (image[..., channel].astype(np.float32) for channel in range(3))
    depth = 1.0 + green / 10.0
    depth[image[..., 1] == 255] = np.inf
    depth[image[..., 1] == 0] = np.nan
    normals = np.zeros(image.shape, np.float32)
    normals[..., 2] = -1.0
    return {
        "semantic": (image[..., 0] // 64).astype(np.uint8),
        "semantic_confidence": red / 255.0,
        "depth": depth,
        "normals": normals,
        "edges": blue / 255.0,
    }


class FakePredictor:
    """Answers with `expected`.

    Args:
        delay: seconds that each prediction takes.
        before: called with each image first; may raise, or wait.
        batch_limit: so many images are worth one call.

    Attributes:
        batches: how many images each call of `predict_batch` had.
    """

    backend = "fake"
    precision = "fp32"
    device = "cpu"

    def __init__(
        self, delay: float = 0.0, before: Callable[[np.ndarray], Any] | None = None, batch_limit: int = 1
    ) -> None:
        self.delay = delay
        self.batch_limit = batch_limit
        self.batches: list[int] = []
        self.before = before
        self.asked: list[tuple[str, ...]] = []
        self.cameras: list[list[float] | None] = []
        self.in_progress = threading.Event()
        self.warm = 0
        self.closed = False
        tasks = {
            name: SimpleNamespace(name=name, class_names=(), palette=(), picture="", picture_options={}, camera={})
            for name in ("semantic", "depth", "normals", "edges")
        }
        tasks["semantic"].class_names = CLASS_NAMES
        tasks["semantic"].palette = PALETTE
        self.manifest = SimpleNamespace(name="fake", sha256="f" * 64, precision="fp32", tasks=tasks)

    def warm_up(self, batch: int = 1) -> None:
        self.warm = batch

    def working_size(self, image: tuple[int, int]) -> tuple[int, int]:
        return image

    def close(self) -> None:
        self.closed = True

    def predict_batch(
        self,
        images: Sequence[np.ndarray],
        tasks: Iterable[str] | None = None,
        sizes: Sequence[tuple[int, int] | None] | None = None,
        intrinsics: Sequence[list[float] | None] | None = None,
    ) -> list[Prediction]:
        self.batches.append(len(images))
        unknown = [None] * len(images)
        return [
            self.predict(image, tasks, size, camera)
            for image, size, camera in zip(images, sizes or unknown, intrinsics or unknown, strict=True)
        ]

    def predict(
        self,
        image: np.ndarray,
        tasks: Iterable[str] | None = None,
        size: tuple[int, int] | None = None,
        intrinsics: list[float] | None = None,
    ) -> Prediction:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        self.asked.append(tuple(tasks or ()))
        self.cameras.append(intrinsics)
        self.in_progress.set()
        if self.before is not None:
            self.before(image)
        if self.delay:
            time.sleep(self.delay)  # what a slow network does: keep the worker busy
        if size is not None and tuple(size) != image.shape[:2]:
            image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
        prediction = Prediction(expected(image))
        prediction.seconds = {"preprocess": 0.0, "infer": self.delay, "postprocess": 0.0}
        return prediction
