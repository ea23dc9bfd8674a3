"""Camera messages of ROS as arrays."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from densemtl_core.data.ros_images import ENCODINGS, decode_compressed_message, decode_image_message
from densemtl_core.errors import InputError

HEIGHT, WIDTH = 6, 8
COLOUR = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def message(rows, encoding="rgb8", **changes):
    """A `sensor_msgs/Image` of rows of bytes."""
    rows = np.ascontiguousarray(rows, np.uint8)
    step = rows[0].size
    fields = {"height": len(rows), "width": WIDTH, "encoding": encoding, "step": step, "data": rows.reshape(-1)}
    return SimpleNamespace(**{**fields, **changes})


def decoded(*arguments, **changes):
    found = decode_image_message(message(*arguments, **changes), "here")
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert found.dtype == np.uint8
    return found


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]), ("bgra8", [2, 1, 0, 0])],
)
def test_the_order_of_channels(encoding, order):
    assert np.array_equal(decoded(COLOUR[..., order], encoding), COLOUR)


def test_grey_becomes_three_equal_channels():
    assert np.array_equal(decoded(COLOUR[..., 0], "mono8"), COLOUR[..., [0, 0, 0]])


@pytest.mark.parametrize("pad", [1, 5, 12])
def test_padded_rows_are_cut(pad):
    rows = np.full((HEIGHT, WIDTH * 3 + pad), 77, np.uint8)
    rows[:, : WIDTH * 3] = COLOUR.reshape(HEIGHT, -1)
    assert np.array_equal(decoded(rows), COLOUR)
    rows = np.pad(COLOUR[..., 0], ((0, 0), (0, pad)))
    assert np.array_equal(decoded(rows, "mono8"), COLOUR[..., [0, 0, 0]])


def test_more_data_than_rows_is_no_error():
    rows = np.concatenate([COLOUR.reshape(HEIGHT, -1), np.zeros((2, WIDTH * 3), np.uint8)])
    assert np.array_equal(decoded(rows, height=HEIGHT), COLOUR)


@pytest.mark.parametrize(
    ("pattern", "channels"),
    [("rggb", (0, 1, 1, 2)), ("bggr", (2, 1, 1, 0)), ("gbrg", (1, 2, 0, 1)), ("grbg", (1, 0, 2, 1))],
)
def test_bayer_patterns_know_red_from_blue(pattern, channels):
    colour = np.array([200, 100, 30], np.uint8)
    mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
    for place, channel in enumerate(channels):
        mosaic[place // 2 :: 2, place % 2 :: 2] = colour[channel]
    assert (decoded(mosaic, f"bayer_{pattern}8") == colour).all()


@pytest.mark.parametrize(("encoding", "luma"), [("yuv422", 1), ("uyvy", 1), ("yuyv", 0), ("yuv422_yuy2", 0)])
def test_yuv422(encoding, luma):
    """Without colour, brightness 16..235 is black to white; in colour, red is red."""
    packed = np.full((HEIGHT, WIDTH, 2), 128, np.uint8)
    packed[..., luma] = 16
    packed[:, WIDTH // 2 :, luma] = 235
    packed[0, :, luma], packed[0, 0::2, 1 - luma], packed[0, 1::2, 1 - luma] = 81, 90, 240  # BT.601's red
    found = decoded(packed, encoding).astype(int)
    assert found[1:, : WIDTH // 2].max() <= 1
    assert found[1:, WIDTH // 2 :].min() >= 254
    assert np.abs(found[0] - (254, 0, 0)).max() <= 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (message(np.zeros((6, 16)), "16UC1"), "here: encoding '16UC1' is not known; record a topic in one of rgb8, "),
        (message(np.zeros((6, 24)), data=np.zeros(143, np.uint8)), r"143 bytes of data, less than .* = 6 \* 24 = 144"),
        (message(np.zeros((6, 23))), "step is 23, less than the 24 bytes of a row of 8 pixels"),
        (message(np.zeros((6, 14)), "yuyv", width=7), "the yuyv image is 7x6; each must be at least 1, and its width"),
        (message(np.zeros((6, 24)), width=0), "the rgb8 image is 0x6; each must be at least 1: "),
        (message(np.zeros((6, 24)), height=0), "the rgb8 image is 8x0"),
        (message(np.zeros((6, 24)), height=2**32 - 1, step=2**32 - 1), "144 bytes of data, less than"),
    ],
)
def test_fields_that_do_not_fit(given, expected):
    with pytest.raises(InputError, match=expected) as error:
        decode_image_message(given, "here")
    assert "\n" not in str(error.value)


def test_the_error_names_every_encoding():
    with pytest.raises(InputError) as error:
        decoded(np.zeros((6, 24)), "8UC3")
    assert all(name in str(error.value) for name in ENCODINGS)


def encoded(ending, pixels=COLOUR):
    good, data = cv2.imencode(ending, pixels[..., ::-1])
    assert good
    return data.reshape(-1)


def test_compressed_images():
    png = SimpleNamespace(data=encoded(".png"), format="png")
    assert np.array_equal(decode_compressed_message(png, "here"), COLOUR)
    flat = np.full((16, 16, 3), (200, 60, 20), np.uint8)
    jpeg = SimpleNamespace(data=encoded(".jpg", flat), format="rgb8; jpeg compressed bgr8")
    assert np.abs(decode_compressed_message(jpeg, "here").astype(int) - flat).max() <= 4
    jpeg.data = np.concatenate([jpeg.data, np.zeros(500, np.uint8)])
    assert decode_compressed_message(jpeg, "here").shape == (16, 16, 3), "some cameras pad the end"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(".png")[:-30], r"ends early after \d+ bytes"),
        (encoded(".jpg")[:-30], r"ends early after \d+ bytes"),
        (encoded(".png")[:0], r"0 bytes \(format 'x'\) are no readable image"),
        (np.frombuffer(b"no picture", np.uint8), r"10 bytes \(format 'x'\) are no readable image"),
    ],
)
def test_compressed_images_that_are_broken(data, expected):
    with pytest.raises(InputError, match=f"here: .*{expected}"):
        decode_compressed_message(SimpleNamespace(data=data, format="x"), "here")
