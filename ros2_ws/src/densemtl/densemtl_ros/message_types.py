"""Message classes of rclpy by name, and their fields for a bag's description of them."""

from __future__ import annotations

import importlib
import re
from typing import Any

from densemtl_core.errors import InputError
from densemtl_ros.bag_types import add_type

__all__ = ["describe_to_bags", "message_class"]

_NAME = re.compile(r"\b[a-z]\w*/[A-Z]\w*")
"""A message type among a field's type: ``vision_msgs/VisionClass`` in a sequence of it."""


def message_class(name: str) -> Any:
    """Import the class of ``sensor_msgs/msg/Image`` say.

    Raises:
        InputError: its package is not installed here.
    """
    package, folder, kind = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{folder}"), kind)
    except (ImportError, AttributeError):
        raise InputError(f"message type {name} is not installed here; install the package {package}") from None


def describe_to_bags(name: str) -> None:
    """Teach the bag library a type that it may not know, from the class that rclpy has.

    Raises:
        InputError: the package of the type, or of one it is made of, is not installed here.
    """
    add_type(name, _fields_of(name))


def _fields_of(name: str) -> dict[str, dict[str, str]]:
    """Fields of a type, after those of every type that it is made of."""
    fields: dict[str, str] = message_class(name).get_fields_and_field_types()
    found: dict[str, dict[str, str]] = {}
    for kind in fields.values():
        for inner in _NAME.findall(kind):
            package, _, leaf = inner.partition("/")
            found |= _fields_of(f"{package}/msg/{leaf}")
    return found | {name: fields}
