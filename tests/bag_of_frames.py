"""A bag as a camera driver would leave it: images and camera_info under stamps of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from bag_writing import TYPES, camera_info, compressed, image, make
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

FRAME_ID = "front_optical"
STEP = 100_000_000
HEIGHT, WIDTH = 6, 8
DELAY = 3_000_000
"""Nanoseconds from a frame's stamp to its recording."""


def stamp(number: int) -> int:
    """Of a frame, nanoseconds: uneven, so that a rounded one would show."""
    return 1_700_000_000_000_000_123 + number * STEP


def picture(number: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB noise, another one for each frame."""
    return np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)


def stamped(message: Any, nanoseconds: int, frame_id: str = FRAME_ID) -> Any:
    """The message with a header."""
    seconds, rest = divmod(nanoseconds, 10**9)
    time = make("builtin_interfaces/msg/Time", sec=seconds, nanosec=rest)
    message.header = make("std_msgs/msg/Header", stamp=time, frame_id=frame_id)
    return message


def write_bag(path: Path, messages: list[tuple[str, int, Any]], storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
    """Write topic, time of recording and message (or its bytes and type) in the given order."""
    with Writer(path, version=9, storage_plugin=storage) as writer:
        connections: dict[str, Any] = {}
        for topic, time, message in messages:
            kind = message[1] if isinstance(message, tuple) else message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            raw = message[0] if isinstance(message, tuple) else bytes(TYPES.serialize_cdr(message, kind))
            writer.write(connections[topic], time, raw)
    return path


def drive(
    path: Path,
    count: int = 4,
    *,
    packed: bool = False,
    storage: StoragePlugin = StoragePlugin.MCAP,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    **info: Any,
) -> Path:
    """Write a bag of ``/front/image_raw`` (``packed``: its PNG form) with ``/front/camera_info`` just after each."""
    messages: list[tuple[str, int, Any]] = []
    for number in range(count):
        rgb = picture(number, size)
        topic = "/front/image_raw/compressed" if packed else "/front/image_raw"
        message = compressed(rgb) if packed else image(rgb, size=size)
        time = stamp(number) + DELAY
        messages.append((topic, time, stamped(message, stamp(number))))
        described = camera_info(size=size, **info)
        messages.append(("/front/camera_info", time + 1000, stamped(described, stamp(number))))
    return write_bag(path, messages, storage)


def read_bag(path: Path) -> dict[str, list[tuple[int, Any]]]:
    """Topic to time of recording and message; those of types that only ROS knows as bytes."""
    found: dict[str, list[tuple[int, Any]]] = {}
    with Reader(path) as reader:
        for connection, time, raw in reader.messages():
            known = connection.msgtype in TYPES.types
            message = TYPES.deserialize_cdr(raw, connection.msgtype) if known else bytes(raw)
            found.setdefault(connection.topic, []).append((time, message))
    return found


def stamp_of(message: Any) -> int:
    """A message's stamp, nanoseconds."""
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
