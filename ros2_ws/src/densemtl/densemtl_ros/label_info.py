"""The message that tells what the class ids of a mask mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from std_msgs.msg import String

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # not in every installation, and on no package index
    LabelInfo = VisionClass = None

__all__ = ["label_message", "label_type"]


def label_type() -> type:
    """`vision_msgs/LabelInfo`, or `std_msgs/String` where vision_msgs is not installed."""
    return String if LabelInfo is None else LabelInfo


def label_message(class_names: Sequence[str], threshold: float, stamp: Any) -> Any:
    """Write the names of the classes as a message of `label_type`.

    Args:
        class_names: in id order.
        threshold: confidence below which a pixel is unlabelled.
        stamp: `builtin_interfaces/Time` of now.

    Returns:
        LabelInfo; or a String of JSON with the same fields, ``class_map`` and ``threshold``.
    """
    if LabelInfo is None:
        classes = [{"class_id": index, "class_name": name} for index, name in enumerate(class_names)]
        return String(data=json.dumps({"class_map": classes, "threshold": threshold}))
    message = LabelInfo()
    message.header.stamp = stamp
    message.class_map = [VisionClass(class_id=index, class_name=name) for index, name in enumerate(class_names)]
    message.threshold = float(threshold)
    return message
