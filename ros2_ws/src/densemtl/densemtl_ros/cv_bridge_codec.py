"""The distribution's cv_bridge for colour conversion, where one imports that gives the right pixels.

A package of the same name on PyPI returns wrong data in silence, and the real one fails under a NumPy or OpenCV that
it was not built for. So it is used only after it has decoded a small image in each encoding exactly as our codec does.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densemtl_ros.image_codec import ENCODINGS, ImageFields, decode_image

__all__ = ["load_decoder"]

Decoder = Callable[[ImageFields], NDArray[np.uint8]]


def load_decoder(make_message: Callable[..., Any] = SimpleNamespace) -> tuple[Decoder, str]:
    """Choose what decodes raw images.

    Args:
        make_message: makes an image message from its fields, `sensor_msgs.msg.Image` say.

    Returns:
        A function with the contract of `decode_image`, and one line that says what it uses.
    """
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        # The old PyPI package maps this to uint8.
        if tuple(bridge.encoding_to_dtype_with_channels("16UC1")) != ("uint16", 1):
            return decode_image, "own image codec (this cv_bridge is not the ROS 2 one)"
        agreed = frozenset(name for name in ENCODINGS if _agrees(bridge, name, make_message))
    except Exception as error:
        # Not only ImportError: its C module raises what it likes when it was built for another NumPy.
        return decode_image, f"own image codec (no cv_bridge: {type(error).__name__})"
    if not agreed:
        return decode_image, "own image codec (cv_bridge decodes nothing correctly here)"

    def decode(message: ImageFields) -> NDArray[np.uint8]:
        # cv_bridge shears rows whose padding is no multiple of the pixel, so it never gets padded ones; under NumPy 2
        # the big-endian flag makes it raise.
        layout = ENCODINGS[message.encoding]
        plain = message.step == layout.row_bytes(message.width) and not message.is_bigendian
        if plain and message.encoding in agreed:
            return np.asarray(bridge.imgmsg_to_cv2(message, desired_encoding="rgb8"), np.uint8)
        return decode_image(message)

    return decode, f"cv_bridge for {', '.join(sorted(agreed))}; own image codec for the rest"


def _agrees(bridge: Any, encoding: str, make_message: Callable[..., Any]) -> bool:
    """Whether cv_bridge decodes a test image in this encoding exactly as `decode_image` does."""
    layout = ENCODINGS[encoding]
    height, width = 8, 8
    rows = height * 3 // 2 if layout.even_height else height
    message = make_message(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=layout.row_bytes(width),
        # 37 is coprime to 256: neighbouring bytes differ, and no two channels are alike.
        data=(np.arange(rows * layout.row_bytes(width)) * 37 % 256).astype(np.uint8).tobytes(),
    )
    try:
        return np.array_equal(bridge.imgmsg_to_cv2(message, desired_encoding="rgb8"), decode_image(message))
    except Exception:
        return False
