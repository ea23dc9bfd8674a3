"""The time stamp in a serialised message that begins with a header, read and replaced in place.

A camera message is megabytes and its stamp eight bytes at a known place, so that a bag can be played with new stamps
without taking the messages apart.
"""

from __future__ import annotations

import struct

__all__ = ["read_stamp", "with_stamp"]

_AT = 4
"""Four bytes that tell how the rest is encoded; the header's first field is the stamp."""


def _layout(message: bytes) -> struct.Struct:
    if len(message) < _AT + 8:
        raise ValueError(f"{len(message)} bytes hold no header")
    return struct.Struct("<iI" if message[1] & 1 else ">iI")


def read_stamp(message: bytes) -> int:
    """Read the stamp, in nanoseconds.

    Args:
        message: CDR bytes of a type whose first field is `std_msgs/Header`.

    Raises:
        ValueError: too short for a header.
    """
    seconds, nanoseconds = _layout(message).unpack_from(message, _AT)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def with_stamp(message: bytes, stamp: int) -> bytes:
    """Copy a message with another stamp.

    Args:
        message: CDR bytes of a type whose first field is `std_msgs/Header`.
        stamp: nanoseconds.

    Raises:
        ValueError: too short for a header.
    """
    return message[:_AT] + _layout(message).pack(*divmod(stamp, 1_000_000_000)) + message[_AT + 8 :]
