"""The pictures of one camera topic of a ROS 2 bag, in any order and without ROS."""

from __future__ import annotations

import logging
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from densemtl_core.data.folder import given_intrinsics
from densemtl_core.data.image_files import neighbour_label, to_image
from densemtl_core.data.ros_images import decode_compressed_message, decode_image_message
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError, did_you_mean

__all__ = ["BAG_SUFFIXES", "Rosbag"]

log = logging.getLogger(__name__)

BAG_SUFFIXES = (".mcap", ".db3")
_RAW, _COMPRESSED, _CAMERA = (f"sensor_msgs/msg/{name}" for name in ("Image", "CompressedImage", "CameraInfo"))
_DECODE = {_RAW: decode_image_message, _COMPRESSED: decode_compressed_message}
_AHEAD = 4
"""Up to so many messages ahead, reading on is cheaper than seeking."""
_LISTED = 8
"""So many topics are named in an error."""

_INHERITED: list[Any] = []
"""Readers that a forked process got from its parent; held, so that they are never closed there."""


class Rosbag(torch.utils.data.Dataset[Sample]):
    """Images of one topic of a rosbag2, in the order of their time of recording.

    The bag is read through once when it is opened, for the times of its messages; a picture is then found by its time.
    That is quick in a .db3 and in an indexed .mcap; an .mcap that was recorded without chunks (``fastwrite``) is
    searched from its start at every jump. A process of a data loader opens the bag for itself.

    Args:
        root: the bag's folder with its metadata.yaml, or a bare .mcap or .db3 file.
        topic: of `sensor_msgs/Image` or `sensor_msgs/CompressedImage`; None = the only one.
        intrinsics: in pixels (`given_intrinsics`); None = of the camera_info beside the topic, if there is one: its K,
            or P where the topic's name says that the image is rectified.
        stride: take every so many messages.
        frames: neighbours that come along, -1 and +1 say, counted in strides, as labels ``image-1`` ``(3, H, W)``.

    Raises:
        InputError: no bag, a broken one, no such topic, a choice of topics, or fewer messages than are asked for.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        topic: str | None = None,
        intrinsics: Sequence[Any] | None = None,
        stride: int = 1,
        frames: Sequence[int] = (),
    ) -> None:
        self.root, self.stride, self.frames = Path(root), stride, tuple(frames)
        if stride < 1:
            raise InputError(f"rosbag: stride {stride} is not positive; give at least 1")
        _require_bag(self.root)
        self._open()
        self.topic = self._choose(topic)
        self.K, self._camera_size, self._size_told = given_intrinsics(intrinsics), None, False
        if self.K is None:
            self.K, self._camera_size = self._camera()
        with _reading(f"rosbag: {self.root}: a message of {self.topic}"):
            times = [time for _, time, _ in self._reader.messages(self._connections(self.topic))]
        if not times:
            raise InputError(f"rosbag: {self.root}: topic {self.topic} has no messages; there are {self._told()}")
        # Files of a split bag may overlap: then messages do not come in order, and each is looked up by itself.
        self._times = sorted(times)
        self._in_order = times == self._times
        every = range(0, len(times), stride)
        self.items = [n for k, n in enumerate(every) if all(0 <= k + o < len(every) for o in self.frames)]
        if not self.items:
            raise InputError(
                f"rosbag: {self.root}: {self.topic} has {len(every)} messages at stride {stride}, too few for "
                f"{self.frames}"
            )

    def _open(self) -> None:
        rosbag2, _ = _library()
        with _reading(f"rosbag: {self.root}"):
            self._reader: Any = rosbag2.Reader(self.root)
            self._reader.open()
        self._stream: Iterator[Any] | None = None
        self._process, self._next = os.getpid(), 0

    def _connections(self, topic: str) -> list[Any]:
        """A topic has one connection for every kind of its publishers."""
        return [c for c in self._reader.connections if c.topic == topic]

    def _counts(self, *kinds: str) -> dict[str, int]:
        """Topics of some message types with their numbers of messages."""
        counts: dict[str, int] = {}
        for c in self._reader.connections:
            if c.msgtype in kinds:
                counts[c.topic] = counts.get(c.topic, 0) + c.msgcount
        return dict(sorted(counts.items()))

    def _told(self) -> str:
        counts = self._counts(*_DECODE)
        more = f" and {len(counts) - _LISTED} more" if len(counts) > _LISTED else ""
        return ", ".join(f"{t} ({n} messages)" for t, n in list(counts.items())[:_LISTED]) + more

    def _choose(self, topic: str | None) -> str:
        counts = self._counts(*_DECODE)
        if not counts:
            others = ", ".join(sorted({f"{c.topic} ({c.msgtype})" for c in self._reader.connections})[:_LISTED])
            raise InputError(
                f"rosbag: {self.root} has no topic of sensor_msgs/Image or CompressedImage, only "
                f"{others or 'nothing'}; record a camera's"
            )
        if topic is None:
            filled = [t for t, n in counts.items() if n] or list(counts)
            if len(filled) > 1:
                raise InputError(f"rosbag: {self.root} has several image topics: {self._told()}; give topic=")
            return filled[0]
        if topic not in counts:
            kinds = sorted({str(c.msgtype) for c in self._connections(topic)})
            wrong = f"is of {', '.join(kinds)}, no image" if kinds else "is not there"
            hint = did_you_mean(topic, counts)
            raise InputError(f"rosbag: {self.root}: topic {topic} {wrong}; {hint}image topics: {self._told()}")
        return topic

    def _camera(self) -> tuple[Tensor | None, tuple[int, int] | None]:
        """Intrinsics ``(3, 3)`` that the bag tells and (H, W) of the images that they are for; None = unknown."""
        namespace, _, name = self.topic.rpartition("/")
        places = [f"{namespace}/camera_info"]
        if self.topic in self._counts(_COMPRESSED):  # <namespace>/<image>/compressed
            namespace, _, name = namespace.rpartition("/")
            places.append(f"{namespace}/camera_info")
        place = next((p for p in places if self._counts(_CAMERA).get(p)), None)
        if place is None:
            return None, None
        with _reading(f"rosbag: {self.root}: the first message of {place}"):
            _, _, raw = next(self._reader.messages(self._connections(place)))
            info = _library()[1].deserialize_cdr(raw, _CAMERA)
        rectified = "rect" in name
        matrix = info.p.reshape(3, 4)[:, :3] if rectified else info.k.reshape(3, 3)
        if not matrix[0, 0]:
            return None, None  # nobody calibrated it
        try:
            K = given_intrinsics(matrix.flatten().tolist())
        except InputError as error:
            raise InputError(f"rosbag: {self.root}:{place}: {error}") from None
        if info.d.any() and not rectified:
            log.warning(
                "%s: %s has distortion, which K does not tell: rectify the images (image_proc) for exact geometry",
                self.root,
                place,
            )
        return K, (info.height, info.width)

    def _raw(self, number: int) -> tuple[str, Any]:
        """Type and bytes of a message of the topic."""
        if self._process != os.getpid():
            # The parent's file position and database connection are not to be shared, nor to be closed here.
            _INHERITED.append((self._reader, self._stream))
            self._reader = self._stream = None
        if self._reader is None:
            self._open()
        if self._stream is None or not self._in_order or not 0 <= number - self._next <= _AHEAD:
            time = self._times[number]
            stop = None if self._in_order else time + 1
            self._stream = self._reader.messages(self._connections(self.topic), start=time, stop=stop)
            self._next = bisect_left(self._times, time)  # several messages may have one time
        stream, self._stream = self._stream, None  # where it stands after an error is unknown
        for _ in range(self._next, number):
            next(stream)
        connection, _, raw = next(stream)
        self._stream, self._next = stream, number + 1
        return connection.msgtype, raw

    def _name(self, number: int) -> str:
        return f"{self.root}:{self.topic}#{number}"

    def _picture(self, number: int) -> Tensor:
        where = self._name(number)
        with _reading(where):
            kind, raw = self._raw(number)
            message = _library()[1].deserialize_cdr(raw, kind)
        return to_image(_DECODE[kind](message, where))

    def _intrinsics(self, size: tuple[int, int]) -> Tensor | None:
        """The camera of images of (H, W), if that is the size which the bag's camera_info is for."""
        if self.K is None or self._camera_size in (None, (0, 0), size):
            return None if self.K is None else self.K.clone()
        if not self._size_told:
            log.warning(
                "%s: camera_info is of %s (H, W), images of %s are %s: intrinsics are left out; give intrinsics=",
                self.root,
                self._camera_size,
                self.topic,
                size,
            )
            self._size_told = True
        return None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None, "_stream": None}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        number = self.items[index]
        numbers = {0: number, **{k: number + k * self.stride for k in self.frames}}
        pictures = {k: self._picture(n) for k, n in sorted(numbers.items(), key=lambda item: item[1])}
        labels = {neighbour_label(k): pictures[k] for k in self.frames}
        height, width = pictures[0].shape[1:]
        return Sample(pictures[0], labels, self._intrinsics((height, width)), self._name(number))


@cache
def _library() -> tuple[Any, Any]:
    """The module that reads bags, and the message types of ROS 2."""
    try:
        from rosbags import rosbag2
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise InputError("rosbag: the package that reads bags is not installed; pip install rosbags") from None
    return rosbag2, get_typestore(Stores.LATEST)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Whatever the library finds wrong with a bag, as one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # its own, and those of SQLite, YAML and two decompressors
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{what} cannot be read ({why[0]}); mend the bag (ros2 bag reindex) or record again") from None


def _require_bag(root: Path) -> None:
    if root.is_dir() and not (root / "metadata.yaml").is_file():
        bare = sorted(p.name for p in root.iterdir() if p.suffix in BAG_SUFFIXES)
        fix = f"give the file {root / bare[0]}, or run ros2 bag reindex" if bare else "give the folder of a rosbag2"
        raise InputError(f"rosbag: looked for metadata.yaml in {root}, it is not there; {fix}")
    if root.is_file() and root.suffix not in BAG_SUFFIXES:
        raise InputError(f"rosbag: {root} is no {' or '.join(BAG_SUFFIXES)} file; give one, or the folder of a rosbag2")
    if not root.exists():
        raise InputError(f"rosbag: looked for the bag {root}, it is not there; check root")
