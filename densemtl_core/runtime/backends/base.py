"""What a backend is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Backend", "RunResult", "decoding_size", "enlarge", "fit_pixels", "stacked", "working_size"]


@dataclass
class RunResult:
    """What a backend gives for one image.

    Attributes:
        outputs: output name to array, ``(H, W)`` or ``(H, W, C)``; the caller's from now on, the engine keeps none.
        seconds: stage to wall-clock seconds; of an image that was one of several, ``preprocess`` and ``infer`` are
            those of all together: so long it waited.
    """

    outputs: dict[str, NDArray[Any]]
    seconds: dict[str, float] = field(default_factory=dict)


class Backend(Protocol):
    """An engine with a model in it. Not thread-safe: one caller at a time.

    Attributes:
        name: of the backend.
        device: where it runs.
        batch_limit: so many images are worth one run; 1 where several take about as long as one after another.
    """

    name: str
    device: str
    batch_limit: int

    def working_size(self, image: tuple[int, int]) -> tuple[int, int]:
        """The size ``(h, w)`` at which the network sees an image of ``(H, W)``."""
        ...

    def run(
        self, images: Sequence[NDArray[Any]], tasks: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[RunResult]:
        """Infer.

        Args:
            images: at least one, ``(H, W, 3)`` uint8 RGB, of any sizes that have one `working_size`.
            tasks: names of the tasks to compute, each of the bundle.
            sizes: ``(H, W)`` of the outputs, one an image.

        Returns:
            One an image, in their order.
        """
        ...

    def close(self) -> None:
        """Free the device; the backend cannot be used afterwards."""
        ...


def decoding_size(outputs: tuple[int, int], working: tuple[int, int]) -> tuple[int, int]:
    """The size at which raw output is decoded before `enlarge` brings it to the outputs' size.

    Decoding costs as much as its pixels: at 1280x720, choosing among 19 classes takes longer than the network. Beyond
    twice the working size it would only smooth what the network never saw.

    Args:
        outputs: ``(H, W)`` that the caller wants.
        working: ``(H, W)`` at which the network saw the image.
    """
    if outputs[0] <= 2 * working[0] or outputs[1] <= 2 * working[1]:
        return outputs
    return 2 * working[0], 2 * working[1]


def enlarge(array: NDArray[Any], size: tuple[int, int], resample: str) -> NDArray[Any]:
    """Bring a decoded output to ``(H, W)`` by the rule of its `OutputInfo`."""
    if array.shape[:2] == size:
        return array
    how = cv2.INTER_LINEAR if resample == "linear" else cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(array, size[::-1], interpolation=how))


def fit_pixels(image: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bring a camera image to the working size; every backend sees these very pixels.

    Averages over the area that a new pixel covers, as thin things need it; training's antialiased resize differs by a
    rounding error in the mean and by a few grey levels at edges.

    Args:
        image: ``(H, W, 3)`` uint8.
        size: ``(h, w)``.

    Returns:
        ``(h, w, 3)`` uint8, contiguous.
    """
    if image.shape[:2] != size:
        smaller = size[0] < image.shape[0] or size[1] < image.shape[1]
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.ascontiguousarray(image, np.uint8)


def stacked(images: Sequence[NDArray[Any]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bring camera images to the working size (`fit_pixels`), as one ``(B, h, w, 3)``; a single one is not copied."""
    pixels = [fit_pixels(image, size) for image in images]
    return pixels[0][None] if len(pixels) == 1 else np.stack(pixels)


def working_size(image: tuple[int, int], input_size: tuple[int, int], resize: str) -> tuple[int, int]:
    """The size at which the network sees an image.

    Args:
        image: ``(H, W)`` of the camera image.
        input_size: ``(H, W)`` of the manifest.
        resize: the manifest's rule. ``stretch`` gives ``input_size``. ``aspect`` keeps the image's aspect and about
            the number of pixels, so the cost too, of ``input_size``; sides are multiples of 32.
    """
    if resize == "stretch":
        return input_size
    height, width = image
    area = input_size[0] * input_size[1]
    # a very long or narrow image would ask for less than one cell of the encoder on its short side
    aspect = min(max(width / height, 1 / 8), 8.0)
    ideal = ((area / aspect) ** 0.5, (area * aspect) ** 0.5)
    return max(32, round(ideal[0] / 32) * 32), max(32, round(ideal[1] / 32) * 32)
