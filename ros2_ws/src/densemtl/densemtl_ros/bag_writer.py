"""A new ROS 2 bag that appears under its name when it is whole. No ROS needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from densemtl_core.errors import InputError
from densemtl_ros.bag_types import library
from densemtl_ros.mcap_end import end_in_place

__all__ = ["METADATA_VERSION", "STORAGES", "BagWriter", "offered_qos"]

STORAGES = ("mcap", "sqlite3")
METADATA_VERSION = 8
"""From 9 on the quality of service is written in a way that Humble and Iron cannot read; every later one reads 8."""

_NEVER = (9223372036, 854775807)
"""Seconds and nanoseconds of a duration without end, as rosbag2 writes it."""


def offered_qos(*, reliable: bool = True, latched: bool = False, depth: int = 1) -> Any:
    """What a publisher offers, in a bag's words, so that ``ros2 bag play`` offers the same.

    Args:
        reliable: or best effort.
        latched: transient local, so that late subscribers get the last messages.
        depth: so many messages are kept.
    """
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    never = QosTime(*_NEVER)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=never,
        lifespan=never,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=never,
        avoid_ros_namespace_conventions=False,
    )


class BagWriter:
    """Writes into a hidden folder beside ``path`` and moves the bag to ``path`` when it is finished.

    As a context: leaving it after an exception, or without `finish`, leaves nothing behind.

    Args:
        path: the new bag's folder; its parent must be there.
        storage: one of `STORAGES`.

    Attributes:
        work: where the unfinished bag lies.
        count: messages written.
        size: their bytes.

    Raises:
        InputError: ``path`` is there already, or its parent is not or cannot be written.
    """

    def __init__(self, path: str | Path, storage: str = "mcap") -> None:
        if storage not in STORAGES:
            raise InputError(f"storage is {storage!r}, must be one of {', '.join(STORAGES)}")
        self.path = Path(path).expanduser().absolute()
        self.count = self.size = 0
        rosbag2, self._types = library()
        self._refuse_existing()
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        except OSError as error:
            raise InputError(
                f"bag {self.path} cannot be written ({error.strerror}); give a place in a folder that you may write"
            ) from None
        # A bag's files are named after its folder.
        self.work = self._folder / self.path.name
        plugin = rosbag2.StoragePlugin[storage.upper()]
        try:
            self._writer = rosbag2.Writer(self.work, version=METADATA_VERSION, storage_plugin=plugin)
            self._writer.open()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._topics: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def note(self, key: str, value: str) -> None:
        """Keep a text with the bag, in its metadata's ``custom_data``."""
        self._writer.set_custom_data(key, value)

    def add_topic(self, topic: str, kind: str, qos: Sequence[Any]) -> None:
        """Announce a topic.

        Args:
            topic: its name.
            kind: its message type, which the library must know (`densemtl_ros.bag_types.add_type`).
            qos: of each of its publishers, of `offered_qos`.
        """
        self._topics[topic] = self._writer.add_connection(topic, kind, typestore=self._types, offered_qos_profiles=qos)

    def write(self, topic: str, time: int, message: bytes) -> None:
        """Add a message.

        Args:
            topic: of `add_topic`.
            time: of recording, nanoseconds.
            message: CDR bytes.

        Raises:
            OSError: the disk is full, say.
        """
        self._writer.write(self._topics[topic], time, message)
        self.count += 1
        self.size += len(message)

    def finish(self) -> None:
        """Close the bag and move it to its place.

        Raises:
            InputError: something of that name has appeared meanwhile.
        """
        self._writer.close()
        self._refuse_existing()
        os.rename(self.work, self.path)
        shutil.rmtree(self._folder, ignore_errors=True)

    def rescue(self) -> Path | None:
        """Keep what was written before writing failed.

        Returns:
            A bare .mcap file beside the bag's place, whole up to about its last megabyte; None where nothing can be
            kept, of an SQLite bag say.
        """
        with contextlib.suppress(OSError):  # of the last piece, for which there is no room
            self._writer.abort()
        for file in self.work.glob("*.mcap"):
            saved = self.path.with_name(f"{self.path.name}.cut.mcap")
            with contextlib.suppress(OSError, InputError):
                end_in_place(file)
                os.rename(file, saved)
                return saved
        return None

    def discard(self) -> None:
        """Remove what is not finished; nothing after `finish`."""
        if self._folder.exists():
            with contextlib.suppress(OSError):
                self._writer.abort()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _refuse_existing(self) -> None:
        if self.path.exists() or self.path.is_symlink():
            raise InputError(f"{self.path} exists; give the name of a new bag, or remove it first")
