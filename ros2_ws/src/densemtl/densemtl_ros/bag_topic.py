"""One camera topic of a ROS 2 bag, message by message as it was recorded, each with its camera_info. No ROS needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from densemtl_core.errors import InputError, did_you_mean
from densemtl_ros.bag_types import CAMERA_INFO, COMPRESSED, IMAGE, library, reading
from densemtl_ros.cdr_stamp import read_stamp

__all__ = ["BAG_SUFFIXES", "BagMessage", "BagTopic", "is_bag"]

BAG_SUFFIXES = (".mcap", ".db3")
_LISTED = 8
"""So many topics are named in an error."""
_DEFAULT_RATE = 10.0
"""Frames a second where the bag does not tell: it has one frame, or all at one time."""


class BagMessage(NamedTuple):
    """One recorded image.

    Attributes:
        time: of recording, nanoseconds.
        image: the serialised message, `sensor_msgs/Image` or `CompressedImage` as its topic says.
        info: the serialised `sensor_msgs/CameraInfo` that belongs to it, None where there is none: the one with its
            stamp, else the newest at its time, else the first of the bag.
        seconds: time since the first frame of the pass.
    """

    time: int
    image: bytes
    info: bytes | None
    seconds: float


def is_bag(path: Path) -> bool:
    """Whether a path is a bag: a folder with a metadata.yaml, or a bare .mcap or .db3 file."""
    return (path / "metadata.yaml").is_file() if path.is_dir() else path.suffix in BAG_SUFFIXES


class BagTopic:
    """Images of one topic; iterable any number of times, from any thread.

    Args:
        path: the bag's folder with its metadata.yaml, or a bare .mcap or .db3 file.
        topic: of `sensor_msgs/Image` or `sensor_msgs/CompressedImage`; empty = the only one.

    Attributes:
        topic: its name.
        kind: its message type.
        camera_topic: topic of its camera_info; None = the bag has none.
        count: its messages.
        rate: of the recording, frames a second.
        title: what it is, for a log.
        looks_ahead: False: reading is quicker than playing.
        skipped: nothing; for what plays files, too.

    Raises:
        InputError: no bag, a broken one, no such topic, a choice of topics, or no message in it.
    """

    looks_ahead = False

    def __init__(self, path: str | Path, topic: str = "") -> None:
        self.path = Path(path).expanduser()
        self.skipped: list[str] = []
        _require_bag(self.path)
        with reading(self.path), self._open() as reader:
            self._kinds = {c.topic: str(c.msgtype) for c in reader.connections}
            self._counts = {t: sum(c.msgcount for c in reader.connections if c.topic == t) for t in self._kinds}
            seconds = (reader.duration - 1) / 1e9
            self._qos = {c.topic: list(c.ext.offered_qos_profiles) for c in reader.connections}
        self.topic = self._choose(topic)
        self.kind = self._kinds[self.topic]
        self.camera_topic = self._camera_topic()
        self.count = self._counts[self.topic]
        if not self.count:
            raise InputError(f"bag {self.path}: topic {self.topic} has no messages; there are {self._told()}")
        self.rate = (self.count - 1) / seconds if seconds > 0 and self.count > 1 else _DEFAULT_RATE
        self.title = f"{self.path} ({self.count} messages of {self.topic}, {self.rate:.3g} a second)"

    @property
    def compressed(self) -> bool:
        """Whether the messages are JPEG or PNG."""
        return self.kind == COMPRESSED

    def offered_qos(self, topic: str) -> list[Any]:
        """What the publishers of a topic offered, in the library's words; empty where the bag does not tell."""
        return self._qos[topic]

    def prepare(self) -> None:
        """Nothing: reading a message is quicker than playing it."""

    def __iter__(self) -> Iterator[BagMessage]:
        """Start a pass, in the order of recording.

        Raises:
            InputError: the bag ends in the middle of a message, or cannot be read any more.
        """
        with reading(self.path), self._open() as reader:
            info = self._first_info(reader)
            start: int | None = None
            waiting: BagMessage | None = None  # its camera_info may have been recorded after it
            wanted = [c for c in reader.connections if c.topic in (self.topic, self.camera_topic)]
            for connection, time, raw in reader.messages(wanted):
                if connection.topic == self.camera_topic:
                    info = raw
                    if waiting is not None:
                        yield waiting._replace(info=info) if _stamp(raw) == _stamp(waiting.image) else waiting
                        waiting = None
                    continue
                if waiting is not None:
                    yield waiting
                start = time if start is None else start
                waiting = BagMessage(time, bytes(raw), info, (time - start) / 1e9)
                if info is None or _stamp(info) == _stamp(raw):
                    yield waiting
                    waiting = None
            if waiting is not None:
                yield waiting

    def _open(self) -> Any:
        return library()[0].Reader(self.path)

    def _first_info(self, reader: Any) -> bytes | None:
        places = [c for c in reader.connections if c.topic == self.camera_topic]
        first = next(reader.messages(places), None) if places else None
        return None if first is None else first[2]

    def _images(self) -> dict[str, int]:
        """Image topics with their numbers of messages."""
        return {t: n for t, n in sorted(self._counts.items()) if self._kinds[t] in (IMAGE, COMPRESSED)}

    def _told(self) -> str:
        images = self._images()
        more = f" and {len(images) - _LISTED} more" if len(images) > _LISTED else ""
        return ", ".join(f"{t} ({n} messages)" for t, n in list(images.items())[:_LISTED]) + more

    def _choose(self, topic: str) -> str:
        images = self._images()
        if not images:
            others = ", ".join(f"{t} ({k})" for t, k in sorted(self._kinds.items())[:_LISTED])
            raise InputError(
                f"bag {self.path} has no topic of sensor_msgs/Image or CompressedImage, only {others or 'nothing'}; "
                "record a camera's"
            )
        if not topic:
            filled = [t for t, n in images.items() if n] or list(images)
            if len(filled) > 1:
                raise InputError(f"bag {self.path} has several image topics: {self._told()}; name one as topic")
            return filled[0]
        if topic not in images:
            wrong = f"is of {self._kinds[topic]}, no image" if topic in self._kinds else "is not there"
            hint = did_you_mean(topic, images)
            raise InputError(f"bag {self.path}: topic {topic} {wrong}; {hint}image topics: {self._told()}")
        return topic

    def _camera_topic(self) -> str | None:
        """camera_info lies beside the image; beside <image> for the topic <image>/compressed."""
        namespace = self.topic.rpartition("/")[0]
        places = [f"{namespace}/camera_info"]
        if self.compressed:
            places.append(f"{namespace.rpartition('/')[0]}/camera_info")
        return next((p for p in places if self._kinds.get(p) == CAMERA_INFO and self._counts[p]), None)


def _stamp(message: bytes) -> int | None:
    try:
        return read_stamp(message)
    except ValueError:
        return None


def _require_bag(path: Path) -> None:
    if path.is_dir() and not is_bag(path):
        bare = sorted(p.name for p in path.iterdir() if p.suffix in BAG_SUFFIXES)
        fix = f"give the file {path / bare[0]}, or run ros2 bag reindex" if bare else "give the folder of a rosbag2"
        raise InputError(f"bag {path} has no metadata.yaml; {fix}")
    if not path.exists():
        raise InputError(f"bag {path} does not exist; give the folder of a rosbag2, or a .mcap or .db3 file")
    if path.is_file() and not is_bag(path):
        raise InputError(f"{path} is no {' or '.join(BAG_SUFFIXES)} file; give one, or the folder of a rosbag2")
