"""Pictures without labels: image files, a folder, a video, a rosbag2, or the procedural street world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from densemtl_core.data.folder import ImageFolder, given_intrinsics
from densemtl_core.data.image_files import IMAGE_SUFFIXES, read_rgb
from densemtl_core.data.rosbag import BAG_SUFFIXES, Rosbag
from densemtl_core.data.sample import Sample
from densemtl_core.data.street import StreetWorld
from densemtl_core.data.video import Video
from densemtl_core.errors import InputError
from densemtl_core.geometry import scale_intrinsics

__all__ = ["Frames", "open_frames"]

STREET_SIZE = (192, 320)
STREET_FRAMES = 16
RATE = 10.0
"""Frames a second of what has no rate of its own."""


class _Files(Dataset[Sample]):
    def __init__(self, files: Sequence[Path], intrinsics: Tensor | None) -> None:
        self.files, self.K = files, intrinsics

    def __getitem__(self, index: int) -> Sample:
        return Sample(read_rgb(self.files[index]), intrinsics=self.K)


@dataclass(frozen=True)
class Frames:
    """A sequence of pictures, each read when it is asked for.

    Attributes:
        samples: where they are read from.
        indices: which of the samples, in order.
        names: one a picture, unique, fit to name a file.
        sources: one a picture, for people: file, or file and frame number.
        size: ``(H, W)`` to which each is resized, None = as it is.
        rate: pictures a second.
    """

    samples: Dataset[Sample]
    indices: Sequence[int]
    names: Sequence[str]
    sources: Sequence[str]
    size: tuple[int, int] | None
    rate: float

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """A picture ``(H, W, 3)`` uint8 RGB, and its camera's intrinsics ``(3, 3)`` in its pixels; None = unknown.

        Raises:
            InputError: this one cannot be read.
        """
        sample = self.samples[self.indices[number]]
        K = sample.intrinsics
        rgb = (sample.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        if self.size is not None and rgb.shape[:2] != self.size:
            height, width = rgb.shape[:2]
            how = cv2.INTER_AREA if self.size[0] < height else cv2.INTER_LINEAR
            rgb = np.asarray(cv2.resize(rgb, self.size[::-1], interpolation=how), np.uint8)
            K = None if K is None else scale_intrinsics(K, self.size[1] / width, self.size[0] / height)
        return rgb, None if K is None else K.numpy()


def open_frames(
    inputs: Sequence[str],
    *,
    stride: int = 1,
    limit: int | None = None,
    size: tuple[int, int] | None = None,
    topic: str | None = None,
    intrinsics: Sequence[float] | None = None,
) -> Frames:
    """Find the pictures.

    Args:
        inputs: ``street``, one folder, one video, one rosbag2, or image files.
        stride: take every so many.
        limit: at most so many; None = all (of the street world, which has no end, 16).
        size: ``(H, W)``.
        topic: of a bag; None = its only camera.
        intrinsics: of files, a video or a bag, in their pixels (`given_intrinsics`); None = as the bag or the street
            world says, else unknown.

    Raises:
        InputError: nothing there, no picture in it, or a number that cannot be.
    """
    for name, value in (("--stride", stride), ("--limit", limit)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")
    K = given_intrinsics(intrinsics)
    if list(inputs) == ["street"]:
        if K is not None:
            raise InputError("--intrinsics are of files, a video or a bag; the street world knows its camera")
        count = limit or STREET_FRAMES
        world = StreetWorld(split="val", size=size or STREET_SIZE, length=count * stride)
        indices = range(0, count * stride, stride)
        names = [f"street_{k:06d}" for k in indices]
        return Frames(world, indices, names, names, size, RATE)
    paths = [Path(text) for text in inputs]
    gone = [path for path in paths if not path.exists()]
    if gone:
        raise InputError(f"{gone[0]}: no such file or folder; give images, a folder, a video, a bag, or: street")
    if len(paths) == 1 and ((paths[0] / "metadata.yaml").is_file() or paths[0].suffix in BAG_SUFFIXES):
        bag = Rosbag(root=paths[0], topic=topic, intrinsics=intrinsics, stride=stride)
        indices = range(len(bag) if limit is None else min(limit, len(bag)))
        numbers = [bag.items[k] for k in indices]
        sources = [f"{paths[0]}:{bag.topic}#{n}" for n in numbers]
        return Frames(bag, indices, [f"frame_{n:06d}" for n in numbers], sources, size, RATE)
    if topic is not None:
        raise InputError(f"--topic {topic} is of a rosbag2; {paths[0]} is none")
    if len(paths) == 1 and paths[0].is_file() and paths[0].suffix.lower() not in IMAGE_SUFFIXES:
        video = Video(root=paths[0], intrinsics=intrinsics, stride=stride)
        indices = range(len(video) if limit is None else min(limit, len(video)))
        numbers = [video.items[k] for k in indices]
        sources = [f"{paths[0]}#{n}" for n in numbers]
        return Frames(video, indices, [f"frame_{n:06d}" for n in numbers], sources, size, _rate(paths[0]) / stride)
    files = ImageFolder(root=paths[0]).files if len(paths) == 1 and paths[0].is_dir() else paths
    strange = [f for f in files if f.is_dir() or f.suffix.lower() not in IMAGE_SUFFIXES]
    if strange:
        raise InputError(f"{strange[0]}: no image; several inputs must all be {', '.join(IMAGE_SUFFIXES)} files")
    files = files[::stride][:limit]
    return Frames(_Files(files, K), range(len(files)), _unique(files), [str(f) for f in files], size, RATE)


def _rate(video: Path) -> float:
    capture = cv2.VideoCapture(str(video))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return float(rate) if 0 < rate < 1000 else RATE


def _unique(files: Sequence[Path]) -> list[str]:
    """The files' names without endings; one that comes again gets a number."""
    taken: dict[str, None] = {}
    for file in files:
        name, again = file.stem, 1
        while name in taken:
            again += 1
            name = f"{file.stem}_{again}"
        taken[name] = None
    return list(taken)
