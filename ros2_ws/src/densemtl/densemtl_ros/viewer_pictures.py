"""One message as one picture for a browser: checked, scaled down, painted as the node paints, and encoded as JPEG.

Needs no ROS: it works on the fields of `sensor_msgs/Image` and `CompressedImage`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from densemtl_core import render
from densemtl_ros.compressed_codec import check_compressed, decode_compressed
from densemtl_ros.image_codec import RejectedFrame, check_image, decode_image

__all__ = ["TOPICS", "Look", "Picture", "encode_jpeg", "pixels", "shrink", "view_image"]

TOPICS: Mapping[str, str] = {
    "semantic": "semantic/color",
    "mask": "semantic/image",
    "depth": "depth/image",
    "normals": "normals/color",
    "edges": "edges/image",
}
"""Stream to the node's topic. ``mask`` is not shown: it tells which class a colour stands for."""

_LAYOUTS: Mapping[str, tuple[str, int]] = {"mono8": ("u1", 1), "rgb8": ("u1", 3), "32FC1": ("f4", 1)}
_ENCODINGS: Mapping[str, str] = {
    "semantic": "rgb8",
    "mask": "mono8",
    "depth": "32FC1",
    "normals": "rgb8",
    "edges": "mono8",
}
_FULL_COLOUR = 0x111111
"""JPEG without colour subsampling: the colour of a painted pixel is its meaning."""


@dataclass(frozen=True)
class Look:
    """How pictures are made.

    Attributes:
        width: in pixels; a wider image is scaled down to it.
        quality: of the JPEG, 1 to 100.
        depth_near: metres of the bright end of the depth colours.
        depth_far: metres of their dark end.
        max_pixels: larger images are refused.
    """

    width: int = 640
    quality: int = 80
    depth_near: float = 1.0
    depth_far: float = 80.0
    max_pixels: int = 33177600


@dataclass(frozen=True)
class Picture:
    """One encoded picture.

    Attributes:
        jpeg: the file.
        facts: what the page writes beside it. Of depth: ``near``, ``median`` and ``far`` (1st, 50th and 99th percentile
            in metres, None where nothing is known), ``unknown`` and ``beyond`` (shares of the pixels).
    """

    jpeg: bytes
    facts: dict[str, Any]


def view_image(message: Any, encoding: str, max_pixels: int) -> NDArray[Any]:
    """Check a message of the node and view its pixels.

    Args:
        message: fields of `sensor_msgs/Image`.
        encoding: ``mono8``, ``rgb8`` or ``32FC1``.
        max_pixels: largest height x width.

    Returns:
        ``(H, W)`` or ``(H, W, 3)`` in the encoding's type.

    Raises:
        RejectedFrame: as `densemtl_ros.image_codec.check_image` does.
    """
    dtype, channels = _LAYOUTS[encoding]
    height, width = message.height, message.width
    row = width * channels * np.dtype(dtype).itemsize
    if message.encoding != encoding:
        raise RejectedFrame("encoding", f"encoding {message.encoding[:40]!r}, the node publishes {encoding}")
    if height <= 0 or width <= 0:
        raise RejectedFrame("size_zero", f"image is {width} x {height}")
    if height * width > max_pixels:
        raise RejectedFrame("size_huge", f"image is {width} x {height}, more than {max_pixels} pixels")
    if message.step < row:
        raise RejectedFrame("step", f"step {message.step} is less than the {row} bytes of a row in {encoding}")
    if len(message.data) < height * message.step:
        raise RejectedFrame("data_short", f"{len(message.data)} bytes of data, {height * message.step} needed")
    lines = np.frombuffer(message.data, np.uint8, height * message.step).reshape(height, message.step)[:, :row]
    order = ">" if message.is_bigendian else "<"
    values = np.ascontiguousarray(lines).view(np.dtype(dtype).newbyteorder(order))
    return values.reshape(height, width, channels) if channels > 1 else values


def pixels(stream: str, message: Any, look: Look) -> NDArray[Any]:
    """Decode a message of a stream and scale it down.

    Args:
        stream: ``camera`` or a key of `TOPICS`.
        message: `sensor_msgs/Image`; for ``camera`` `CompressedImage` too.
        look: width and limits.

    Returns:
        ``(H, W)`` class ids, metres or edge probability x 255; or ``(H, W, 3)`` uint8 RGB.

    Raises:
        RejectedFrame: the message cannot be used.
    """
    if stream != "camera":
        # An average of class ids, or of depths across an edge, is a wrong value.
        exact = stream in ("semantic", "mask", "depth")
        return shrink(view_image(message, _ENCODINGS[stream], look.max_pixels), look.width, exact)
    if hasattr(message, "encoding"):
        check_image(message, look.max_pixels)
        return shrink(decode_image(message), look.width)
    check_compressed(message.data, look.max_pixels, message.format)
    return shrink(decode_compressed(message.data), look.width)


def shrink(image: NDArray[Any], width: int, exact: bool = False) -> NDArray[Any]:
    """Scale an image down to a width; a narrower one stays as it is.

    Args:
        image: ``(H, W)`` or ``(H, W, C)``.
        width: in pixels.
        exact: take one pixel's value instead of the mean of several.
    """
    height, present = image.shape[:2]
    if present <= width:
        return image
    size = (width, max(1, round(height * width / present)))
    native = np.asarray(image, image.dtype.newbyteorder("="))
    return np.asarray(cv2.resize(native, size, interpolation=cv2.INTER_NEAREST if exact else cv2.INTER_AREA))


def encode_jpeg(stream: str, values: NDArray[Any], look: Look) -> Picture:
    """Paint what `pixels` returned and encode it.

    Args:
        stream: ``camera`` or a key of `TOPICS`.
        values: pixels of that stream.
        look: colours and quality.

    Raises:
        RejectedFrame: OpenCV cannot encode it: a picture wider or higher than a JPEG may be.
    """
    facts: dict[str, Any] = {}
    if stream == "depth":
        facts = _depth_facts(values)
        values = render.depth(values, near=look.depth_near, far=look.depth_far)
    options = [cv2.IMWRITE_JPEG_QUALITY, look.quality]
    if stream != "camera":
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _FULL_COLOUR]
    bgr = cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2BGR) if values.ndim == 3 else values
    try:
        done, data = cv2.imencode(".jpg", bgr, options)
    except cv2.error as error:
        raise RejectedFrame("size_huge", f"cannot encode a picture of {bgr.shape[:2]}: {error.err}") from None
    if not done:
        raise RejectedFrame("size_huge", f"cannot encode a picture of {bgr.shape[:2]}")
    return Picture(data.tobytes(), facts)


def _depth_facts(metres: NDArray[Any]) -> dict[str, Any]:
    known = metres[np.isfinite(metres)]
    near, median, far = (round(float(v), 2) for v in np.percentile(known, (1, 50, 99))) if known.size else (None,) * 3
    return {
        "near": near,
        "median": median,
        "far": far,
        "unknown": round(float(np.isnan(metres).mean()), 4),
        "beyond": round(float(np.isposinf(metres).mean()), 4),
    }
