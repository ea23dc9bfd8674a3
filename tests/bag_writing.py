"""ROS 2 bags of a few small messages, written with the `rosbags` library."""

from __future__ import annotations

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_HUMBLE)
MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
HEIGHT, WIDTH, COUNT = 6, 8, 9
K = [40.0, 0, 3.5, 0, 41, 2.5, 0, 0, 1]
PLAIN, RAW = "/camera/image_raw", "sensor_msgs/msg/Image"


def make(kind, **fields):
    return TYPES.types[f"{kind}"](**fields)


def header(second=0):
    stamp = make("builtin_interfaces/msg/Time", sec=second, nanosec=0)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id="camera")


def image(data, encoding="rgb8", size=(HEIGHT, WIDTH), step=None):
    """`data` is an array, or the bytes that the message is to hold."""
    data = np.ascontiguousarray(data, np.uint8)
    step = data.size // size[0] if step is None else step
    common = {"header": header(), "height": size[0], "width": size[1], "encoding": encoding, "is_bigendian": 0}
    return make(RAW, **common, step=step, data=data.reshape(-1))


def compressed(rgb, ending=".png"):
    good, data = cv2.imencode(ending, rgb[..., ::-1])
    assert good
    return make("sensor_msgs/msg/CompressedImage", header=header(), format=ending[1:], data=data.reshape(-1))


def camera_info(k=K, d=(), p=(0.0,) * 12, size=(HEIGHT, WIDTH)):
    region = make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return make(
        "sensor_msgs/msg/CameraInfo",
        header=header(),
        height=size[0],
        width=size[1],
        distortion_model="plumb_bob",
        d=np.array(d, np.float64),
        k=np.array(k, np.float64),
        r=np.eye(3).ravel(),
        p=np.array(p, np.float64),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def write(path, topics, storage=SQLITE, compression=None, times=None):
    """A bag; `topics` has the messages of each, one every 100 ms or at `times`; a type's name: a topic without any."""
    writer = Writer(path, version=9, storage_plugin=storage)
    if compression is not None:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        for topic, messages in topics.items():
            kind = messages if isinstance(messages, str) else messages[0].__msgtype__
            connection = writer.add_connection(topic, kind, typestore=TYPES)
            for n, message in enumerate(() if isinstance(messages, str) else messages):
                time = 10**9 + n * 10**8 if times is None else times[n]
                writer.write(connection, time, TYPES.serialize_cdr(message, kind))
    return path
