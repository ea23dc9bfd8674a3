"""Messages of bags as arrays, and what the node would publish as messages of bags. No ROS needed."""

from __future__ import annotations

import importlib.util
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densemtl_ros.bag_types import CAMERA_INFO, COMPRESSED, IMAGE, LABEL_INFO, STRING, add_type, library
from densemtl_ros.camera_geometry import scale_camera_info
from densemtl_ros.compressed_codec import check_compressed, decode_compressed
from densemtl_ros.error_text import one_line
from densemtl_ros.image_codec import RejectedFrame, check_image, decode_image, fill_image

__all__ = ["image_message", "label_kind", "label_message", "open_info", "open_message", "rgb_image", "scaled_info"]

_HEADER = {"stamp": "builtin_interfaces/Time", "frame_id": "string"}
_CLASS = {"class_id": "uint16", "class_name": "string"}
_LABELS = {"header": "std_msgs/Header", "class_map": "sequence<vision_msgs/VisionClass>", "threshold": "float"}


@dataclass
class _Region:
    """`sensor_msgs/RegionOfInterest`, with the defaults that ROS gives its fields."""

    x_offset: int = 0
    y_offset: int = 0
    height: int = 0
    width: int = 0
    do_rectify: bool = False


def open_message(raw: bytes, kind: str) -> Any:
    """Take a serialised message apart.

    Raises:
        RejectedFrame: reason ``message``: the bytes are not such a message.
    """
    try:
        return library()[1].deserialize_cdr(raw, kind)
    except Exception as error:  # struct's and Unicode's among the library's own
        raise RejectedFrame("message", f"no {kind} in {len(raw)} bytes: {one_line(error)}") from None


def rgb_image(message: Any, kind: str, max_pixels: int) -> NDArray[np.uint8]:
    """Check and decode a camera message exactly as the node does.

    Args:
        message: of `open_message`.
        kind: its type.
        max_pixels: largest height x width.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        RejectedFrame: with the reason under which the node counts it.
    """
    if kind == COMPRESSED:
        check_compressed(message.data, max_pixels, message.format)
        return decode_compressed(message.data)
    check_image(message, max_pixels)
    return decode_image(message)


def image_message(values: NDArray[Any], encoding: str, header: Any) -> bytes:
    """Serialise an array as `sensor_msgs/Image`.

    Args:
        values: ``(H, W)`` or ``(H, W, C)`` in the dtype that the encoding names.
        encoding: ROS name of the encoding.
        header: of the image it was made from.
    """
    types = library()[1]
    fields = SimpleNamespace(data=array("B"))
    fill_image(fields, values, encoding)
    fields.data = np.frombuffer(fields.data, np.uint8)
    return bytes(types.serialize_cdr(types.types[IMAGE](header=header, **vars(fields)), IMAGE))


def scaled_info(info: Any, image_size: tuple[int, int], output_size: tuple[int, int], header: Any) -> bytes:
    """Serialise the camera_info of an output, made as the node makes it.

    Args:
        info: `sensor_msgs/CameraInfo` of the input, of `open_info`.
        image_size: ``(height, width)`` of the input image.
        output_size: ``(height, width)`` of the output image.
        header: of the image.

    Raises:
        ValueError: the camera info is of another size than the image.
    """
    types = library()[1]
    out = scale_camera_info(info, image_size, output_size)
    fields = {name: getattr(out, name) for name, _ in types.fielddefs[CAMERA_INFO][1]} | {"header": header}
    for name in ("k", "p"):
        fields[name] = np.array(fields[name], np.float64)
    return bytes(types.serialize_cdr(types.types[CAMERA_INFO](**fields), CAMERA_INFO))


def open_info(raw: bytes) -> SimpleNamespace:
    """Take a serialised `sensor_msgs/CameraInfo` apart; its ``roi`` can be made without arguments, as in ROS.

    Raises:
        RejectedFrame: reason ``camera_info``: the bytes are not such a message.
    """
    try:
        info = open_message(raw, CAMERA_INFO)
    except RejectedFrame as error:
        raise RejectedFrame("camera_info", str(error)) from None
    region = {name: getattr(info.roi, name) for name in _Region.__dataclass_fields__}
    return SimpleNamespace(**{**vars(info), "roi": _Region(**region)})


def label_kind() -> str:
    """`vision_msgs/msg/LabelInfo`, or `std_msgs/msg/String` where the node would publish that."""
    return STRING if importlib.util.find_spec("vision_msgs") is None else LABEL_INFO


def label_message(class_names: Sequence[str], threshold: float, header: Any, kind: str) -> bytes:
    """Serialise the names of the classes, with the content of the node's ``semantic/label_info``.

    Args:
        class_names: in id order.
        threshold: confidence below which a pixel is unlabelled.
        header: its stamp becomes the message's.
        kind: `label_kind`.
    """
    types = library()[1]
    if kind == STRING:
        classes = [{"class_id": index, "class_name": name} for index, name in enumerate(class_names)]
        text = json.dumps({"class_map": classes, "threshold": threshold})
        return bytes(types.serialize_cdr(types.types[STRING](data=text), STRING))
    add_type(LABEL_INFO, {LABEL_INFO: _LABELS, "vision_msgs/msg/VisionClass": _CLASS, "std_msgs/msg/Header": _HEADER})
    entry = types.types["vision_msgs/msg/VisionClass"]
    message = types.types[LABEL_INFO](
        header=types.types["std_msgs/msg/Header"](stamp=header.stamp, frame_id=""),
        class_map=[entry(class_id=index, class_name=name) for index, name in enumerate(class_names)],
        threshold=float(threshold),
    )
    return bytes(types.serialize_cdr(message, LABEL_INFO))
