"""Camera messages decoded pixel by pixel, straight from the definitions and without OpenCV: slow, and easy to check.

The encodings are those of ``sensor_msgs/image_encodings.hpp``; its YUV ones point to the kernel's V4L2 pixel formats.
"""

from __future__ import annotations

import array
from types import SimpleNamespace

import numpy as np

# Bytes of a pixel, in the order of the name.
PACKED = {
    "rgb8": "rgb",
    "bgr8": "bgr",
    "rgba8": "rgba",
    "bgra8": "bgra",
    "mono8": "m",
    "8UC1": "m",
    "8UC3": "bgr",
    "8UC4": "bgra",
    "rgb16": "rgb",
    "bgr16": "bgr",
    "mono16": "m",
}
# Places of U, first luma, V and second luma in the four bytes of two pixels.
TWO_PIXELS = {"uyvy": (0, 1, 2, 3), "yuv422": (0, 1, 2, 3), "yuyv": (1, 0, 3, 2), "yuv422_yuy2": (1, 0, 3, 2)}
# Places of U and V in the pairs below the luma.
TWO_PLANES = {"nv12": (0, 1), "nv21": (1, 0)}
MOSAICS = {f"bayer_{p}{bits}": p for p in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)}
ALL = (*PACKED, *TWO_PIXELS, *TWO_PLANES, *MOSAICS)


def row_bytes(encoding: str, width: int) -> int:
    """Bytes of one row."""
    pixel = len(PACKED[encoding]) if encoding in PACKED else 2 if encoding in TWO_PIXELS else 1
    return width * pixel * (2 if encoding.endswith("16") else 1)


def row_count(encoding: str, height: int) -> int:
    """Rows in the data: those of the luma and those of the colours."""
    return height * 3 // 2 if encoding in TWO_PLANES else height


def image_message(data: bytes, encoding: str, height: int, width: int, step: int | None = None, **fields):
    """An image message; without ``step`` its rows are not padded."""
    content = {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": row_bytes(encoding, width) if step is None else step,
        "data": array.array("B", data),
    }
    return SimpleNamespace(**(content | fields))


def noise(encoding: str, height: int, width: int, padding: int = 0, seed: int = 0) -> bytes:
    """Random data of an image."""
    size = row_count(encoding, height) * (row_bytes(encoding, width) + padding)
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


def reference_rgb(m) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB of a well-formed message."""
    out = np.zeros((m.height, m.width, 3), np.uint8)
    for y in range(m.height):
        for x in range(m.width):
            if m.encoding in PACKED:
                out[y, x] = _packed(m, y, x)
            elif m.encoding in MOSAICS:
                out[y, x] = _interpolated(m, y, x)
            else:
                out[y, x] = _bt601(*_yuv(m, y, x))
    return out


def _sample(m, y: int, number: int) -> int:
    """The row's n-th sample in 8 bit."""
    if m.encoding.endswith("16"):
        pair = bytes(m.data[y * m.step + 2 * number : y * m.step + 2 * number + 2])
        return int.from_bytes(pair, "big" if m.is_bigendian else "little") // 256
    return m.data[y * m.step + number]


def _packed(m, y: int, x: int) -> list[int]:
    order = PACKED[m.encoding]
    letters = "mmm" if order == "m" else "rgb"
    return [_sample(m, y, x * len(order) + order.index(letter)) for letter in letters]


def _yuv(m, y: int, x: int) -> tuple[int, int, int]:
    if m.encoding in TWO_PIXELS:
        u, first, v, second = TWO_PIXELS[m.encoding]
        pair = y * m.step + x // 2 * 4
        return m.data[pair + (second if x % 2 else first)], m.data[pair + u], m.data[pair + v]
    u, v = TWO_PLANES[m.encoding]
    pair = (m.height + y // 2) * m.step + x // 2 * 2
    return m.data[y * m.step + x], m.data[pair + u], m.data[pair + v]


def _bt601(luma: int, u: int, v: int) -> list[int]:
    """ITU-R BT.601, video range: luma 16 to 235, colour 16 to 240 around 128. Luma below black is black."""
    y, b, r = max(0, luma - 16) / 219, (u - 128) / 224, (v - 128) / 224
    red = y + 2 * (1 - 0.299) * r
    blue = y + 2 * (1 - 0.114) * b
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    return [min(255, max(0, round(255 * value))) for value in (red, green, blue)]


def _interpolated(m, y: int, x: int) -> list[int]:
    """Each colour is the mean of the samples of that colour that are nearest; the border is like its neighbour."""
    y, x = min(max(y, 1), m.height - 2), min(max(x, 1), m.width - 2)
    pattern = MOSAICS[m.encoding]

    def colour(row: int, column: int) -> str:
        return pattern[row % 2 * 2 + column % 2]

    around = [(y + dy, x + dx, abs(dy) + abs(dx)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    out = []
    for letter in "rgb":
        nearest = min(distance for row, column, distance in around if colour(row, column) == letter)
        values = [_sample(m, r, c) for r, c, distance in around if colour(r, c) == letter and distance == nearest]
        out.append((2 * sum(values) + len(values)) // (2 * len(values)))
    return out
