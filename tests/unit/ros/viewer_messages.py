"""Messages with the fields of `sensor_msgs`, for tests that need no ROS."""

from __future__ import annotations

from array import array
from types import SimpleNamespace

import numpy as np


def image_message(values: np.ndarray, encoding: str, stamp: int = 1, pad: int = 0) -> SimpleNamespace:
    """An Image; ``stamp`` in seconds, ``pad`` bytes at the end of each row."""
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(values.shape[0], -1)
    data = array("B", np.pad(rows, ((0, 0), (0, pad))).tobytes())
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=stamp, nanosec=500_000_000), frame_id="camera"),
        height=values.shape[0],
        width=values.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1] + pad,
        data=data,
    )


def frame(stamp: int = 1, height: int = 24, width: int = 32) -> dict[str, SimpleNamespace]:
    """One message a stream: ids 0 left and 1 right, 2 m in the upper half and 20 m in the lower one."""
    ids = np.zeros((height, width), np.uint8)
    ids[:, width // 2 :] = 1
    colours = np.array([(128, 64, 128), (0, 0, 142)], np.uint8)[ids]
    depth = np.full((height, width), 2.0, np.float32)
    depth[height // 2 :] = 20.0
    return {
        "camera": image_message(np.full((height, width, 3), 90, np.uint8), "rgb8", stamp),
        "mask": image_message(ids, "mono8", stamp),
        "semantic": image_message(colours, "rgb8", stamp),
        "depth": image_message(depth, "32FC1", stamp),
        "normals": image_message(np.full((height, width, 3), (128, 128, 0), np.uint8), "rgb8", stamp),
        "edges": image_message(np.full((height, width), 200, np.uint8), "mono8", stamp),
    }
