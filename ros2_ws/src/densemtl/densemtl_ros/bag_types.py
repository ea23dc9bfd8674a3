"""The `rosbags` library, which reads and writes ROS 2 bags without ROS, and the message types that we ask it for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from densemtl_core.errors import InputError
from densemtl_ros.error_text import one_line

__all__ = ["CAMERA_INFO", "COMPRESSED", "IMAGE", "LABEL_INFO", "STRING", "add_type", "library", "reading"]

IMAGE, COMPRESSED, CAMERA_INFO = (f"sensor_msgs/msg/{name}" for name in ("Image", "CompressedImage", "CameraInfo"))
STRING, LABEL_INFO = "std_msgs/msg/String", "vision_msgs/msg/LabelInfo"

_PLAIN = {"float": "float32", "double": "float64", "boolean": "bool", "octet": "byte"}
_SEQUENCE, _ARRAY = re.compile(r"sequence<(.+?)(?:, (\d+))?>$"), re.compile(r"(.+)\[(\d+)\]$")


@cache
def library() -> tuple[Any, Any]:
    """The module `rosbags.rosbag2`, and the types of ROS 2 Humble, which have not changed since.

    Raises:
        InputError: it is not installed.
    """
    try:
        from rosbags import rosbag2
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise InputError("the package that reads and writes bags is not installed; pip install rosbags") from None
    return rosbag2, get_typestore(Stores.ROS2_HUMBLE)


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Turn whatever the library finds wrong with a bag into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # its own, and those of SQLite, YAML and two decompressors
        raise InputError(
            f"bag {what} cannot be read ({one_line(error)}); mend it (an .mcap: python -m densemtl_ros.mcap_end FILE "
            "NEW; else ros2 bag reindex) or record again"
        ) from None


def add_type(name: str, fields_of: Mapping[str, Mapping[str, str]]) -> None:
    """Teach the library a message type, unless it knows one with these very fields.

    Args:
        name: ``vision_msgs/msg/LabelInfo`` say.
        fields_of: for it and for every type it is made of, field name to type, written as rclpy's message classes do
            (``get_fields_and_field_types()``: ``sequence<vision_msgs/VisionClass>``, ``double[9]``, ``string<8>``).
    """
    from rosbags.typesys import get_types_from_msg

    types = library()[1]
    for each in (*(n for n in fields_of if n != name), name):
        known = each in types.fielddefs and [f[0] for f in types.fielddefs[each][1]] == list(fields_of[each])
        if not known:
            lines = "\n".join(f"{_as_msg(kind)} {field}" for field, kind in fields_of[each].items())
            types.register(get_types_from_msg(lines, each))


def _as_msg(kind: str) -> str:
    """A field's type as a .msg file has it."""
    if found := _SEQUENCE.match(kind):
        return f"{_as_msg(found[1])}[{'<=' + found[2] if found[2] else ''}]"
    if found := _ARRAY.match(kind):
        return f"{_as_msg(found[1])}[{found[2]}]"
    return re.sub(r"^(w?string)<(\d+)>$", r"\1<=\2", _PLAIN.get(kind, kind))
