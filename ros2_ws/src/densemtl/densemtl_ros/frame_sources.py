"""Where replayed frames come from: a folder of images, a video file, the procedural street world, or a bag.

No ROS here. A source is iterable any number of times; each pass yields `Frame` after `Frame` in playing order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from densemtl_core.errors import InputError
from densemtl_ros.bag_topic import BAG_SUFFIXES, BagTopic, is_bag

__all__ = ["FolderSource", "Frame", "FrameSource", "VideoSource", "natural_key", "open_source"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
DEFAULT_RATE = 10.0
"""Frames a second of a source that has no rate of its own."""
STREET_SCENE = 2
"""A street with trees, signs, buildings and traffic."""


class Frame(NamedTuple):
    """One picture of a stream.

    Attributes:
        rgb: ``(H, W, 3)`` uint8 RGB, C-contiguous.
        intrinsics: ``(3, 3)`` float64 pinhole matrix in pixels of ``rgb``, or None when the camera is unknown.
        seconds: time since the first frame of the pass.
    """

    rgb: NDArray[np.uint8]
    intrinsics: NDArray[np.float64] | None
    seconds: float


class FrameSource(Protocol):
    """What the replay node plays.

    Attributes:
        title: what the source is, for the log.
        rate: its own frames a second.
        looks_ahead: True when making a frame takes longer than showing it, so that `prepare` is worth waiting for.
        skipped: names of the files of the latest pass that could not be read.
    """

    title: str
    rate: float
    looks_ahead: bool
    skipped: list[str]

    def __iter__(self) -> Iterator[Frame]:
        """Start a pass."""
        ...

    def prepare(self) -> None:
        """Do beforehand what would hold up playing."""
        ...


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``frame_9`` before ``frame_10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part]


def resized(rgb: NDArray[np.uint8], intrinsics: NDArray[np.float64] | None, seconds: float, width: int) -> Frame:
    """Scale a picture and its intrinsics to ``width`` pixels, keeping the aspect ratio; 0 keeps the size.

    The height becomes even, which video encoders and packed YUV formats need. The intrinsics follow the convention
    that the centre of the top-left pixel is (0, 0).
    """
    height, old_width = rgb.shape[:2]
    if width and width != old_width:
        new_height = max(2, 2 * round(height * width / old_width / 2))
        how = cv2.INTER_AREA if width < old_width else cv2.INTER_LINEAR
        rgb = np.asarray(cv2.resize(rgb, (width, new_height), interpolation=how), np.uint8)
        if intrinsics is not None:
            sx, sy = width / old_width, new_height / height
            scale = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]], np.float64)
            intrinsics = scale @ intrinsics
    return Frame(np.ascontiguousarray(rgb), intrinsics, seconds)


@dataclass
class FolderSource:
    """Image files in the given order.

    Attributes:
        files: the image files; one that cannot be decoded is skipped and listed in ``skipped``.
        width: width in pixels to scale to, 0 = as it is.
        rate: frames a second.
    """

    files: Sequence[Path]
    width: int = 0
    rate: float = DEFAULT_RATE
    looks_ahead: bool = False
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not any(_read_rgb(file) is not None for file in self.files):
            where = self.files[0] if len(self.files) == 1 else self.files[0].parent
            raise InputError(
                f"{where}: none of the {len(self.files)} image file(s) can be decoded, {self.files[0].name} neither; "
                "give whole JPEG or PNG files"
            )

    @property
    def title(self) -> str:
        """The folder, and how many files it has."""
        where = self.files[0] if len(self.files) == 1 else self.files[0].parent
        return f"{where} ({len(self.files)} image file(s))"

    def prepare(self) -> None:
        """Nothing: decoding a file is quicker than showing it."""

    def __iter__(self) -> Iterator[Frame]:
        self.skipped = []
        shown = 0
        for file in self.files:
            rgb = _read_rgb(file)
            if rgb is None:
                self.skipped.append(file.name)
                continue
            yield resized(rgb, None, shown / self.rate, self.width)
            shown += 1


@dataclass
class VideoSource:
    """A video file, decoded by OpenCV.

    Attributes:
        path: the file.
        width: width in pixels to scale to, 0 = as it is.
        rate: frames a second; 0 = as the file says.
    """

    path: Path
    width: int = 0
    rate: float = 0.0
    looks_ahead: bool = False
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # FFmpeg prints its own several lines about a broken file; ours is the one that helps.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        capture = cv2.VideoCapture(str(self.path))
        readable = capture.isOpened() and capture.read()[0]
        own_rate = float(capture.get(cv2.CAP_PROP_FPS)) if readable else 0.0
        capture.release()
        if not readable:
            raise InputError(
                f"{self.path}: no frame can be decoded as video; give a file that OpenCV reads (H.264 in .mp4, MJPEG "
                "in .avi), or a folder of images"
            )
        if self.rate <= 0:
            self.rate = own_rate if 0.1 <= own_rate <= 1000 else DEFAULT_RATE

    @property
    def title(self) -> str:
        """The file, and its rate."""
        return f"{self.path} (video, {self.rate:g} frames/s)"

    def prepare(self) -> None:
        """Nothing: decoding a frame is quicker than showing it."""

    def __iter__(self) -> Iterator[Frame]:
        capture = cv2.VideoCapture(str(self.path))
        try:
            shown = 0
            while True:
                ok, bgr = capture.read()
                if not ok:
                    return
                rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
                yield resized(rgb, None, shown / self.rate, self.width)
                shown += 1
        finally:
            capture.release()


def open_source(
    spec: str,
    *,
    width: int = 0,
    rate: float = 0.0,
    frames: int = 48,
    scene: int = STREET_SCENE,
    budget: float = 20.0,
    topic: str = "",
) -> FrameSource | BagTopic:
    """Open what a person named.

    Args:
        spec: ``street``, a video file, an image file, a folder of images, or a bag (its folder, or a .mcap or .db3
            file).
        width: width in pixels of the frames, aspect kept; 0 = as they are (street: 640).
        rate: frames a second; 0 = the source's own.
        frames: how many frames of the street are made ahead.
        scene: which street is driven.
        budget: seconds after which making the street's frames stops early.
        topic: the images in a bag; empty = its only image topic.

    Returns:
        The opened source: at least its first frame can be had. A bag gives messages, not pictures.

    Raises:
        InputError: a missing path, a folder without images, nothing that can be decoded, a width out of range.
    """
    if width != 0 and not 16 <= width <= 8192:
        raise InputError(f"width is {width}, must be 0 (as it is) or 16 to 8192 pixels")
    path = Path(spec).expanduser()
    if spec not in ("", "street") and is_bag(path):
        if width:
            raise InputError(f"width is {width}, but a bag is played as it was recorded; leave width at 0")
        return BagTopic(path, topic)
    if topic:
        raise InputError(f"topic is {topic!r}, but source {spec!r} is no bag; leave topic empty")
    if spec == "street":
        return _open_street(width or 640, rate or DEFAULT_RATE, scene, frames, budget)
    if not spec or not path.exists():
        raise InputError(f"source {spec!r} does not exist; give 'street', a video file, a folder of images or a bag")
    if path.is_file():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return FolderSource([path], width, rate or DEFAULT_RATE)
        return VideoSource(path, width, rate)
    try:
        names = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{path}: cannot be listed ({error.strerror}); give a folder that you may read") from None
    if not names:
        if any(p.suffix in BAG_SUFFIXES for p in path.iterdir()):
            BagTopic(path)  # says what is missing
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"{path}: holds no image file ({kinds}); name the folder that holds the images themselves")
    return FolderSource(sorted(names, key=lambda p: natural_key(p.name)), width, rate or DEFAULT_RATE)


def _open_street(width: int, rate: float, scene: int, frames: int, budget: float) -> FrameSource:
    """Drive through a street that no network was trained on (split ``val``), in a 16:9 picture."""
    try:
        # Only here: the street world needs PyTorch, which a robot that plays a recording does not carry.
        from densemtl_core.data.street import StreetWorld
    except ImportError as error:
        raise InputError(
            f"source 'street' needs PyTorch ({error}); install densemtl-core[eager], or give a video or a folder"
        ) from None
    from densemtl_ros.street_source import StreetSource

    world = StreetWorld(seed=0, split="val", size=(2 * round(width * 9 / 32), width), style="sim")
    return StreetSource(world, scene, frames, budget, rate)


def _read_rgb(file: Path) -> NDArray[np.uint8] | None:
    """Decode an image file to ``(H, W, 3)`` uint8 RGB; None when it cannot be."""
    try:
        data = np.fromfile(file, np.uint8)
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        return None
    return None if bgr is None else np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
