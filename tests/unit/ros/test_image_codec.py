"""Camera messages to RGB: right for what cameras send, and a named reason for what cannot be read."""

from __future__ import annotations

import array
import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from densemtl_ros import cv_bridge_codec
from densemtl_ros.compressed_codec import check_compressed, decode_compressed
from densemtl_ros.image_codec import ENCODINGS, RejectedFrame, check_image, decode_image, fill_image
from hypothesis import given, settings
from hypothesis import strategies as st

MAX_PIXELS = 4_000_000


def message(data: np.ndarray, encoding: str, height: int, width: int, step: int | None = None, **fields):
    """An image message; ``data`` is flat or (rows, bytes)."""
    rows = np.ascontiguousarray(data).reshape(-1, data.shape[-1]) if data.ndim > 1 else data[None]
    content = {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": rows.shape[1] if step is None else step,
        "data": array.array("B", rows.tobytes()),
    }
    return SimpleNamespace(**(content | fields))


def colourful(height: int = 8, width: int = 12) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decode(m) -> np.ndarray:
    check_image(m, MAX_PIXELS)
    out = decode_image(m)
    assert out.dtype == np.uint8
    assert out.shape == (m.height, m.width, 3)
    return out


RGB = colourful()
ALPHA = np.full((8, 12, 1), 77, np.uint8)
EXACT = {
    "rgb8": RGB,
    "bgr8": RGB[..., ::-1],
    "rgba8": np.concatenate([RGB, ALPHA], axis=-1),
    "bgra8": np.concatenate([RGB[..., ::-1], ALPHA], axis=-1),
}


@pytest.mark.parametrize("encoding", EXACT)
def test_colour_orders_are_exact(encoding):
    pixels = EXACT[encoding]
    np.testing.assert_array_equal(decode(message(pixels.reshape(8, -1), encoding, 8, 12)), RGB)


def test_mono_is_grey():
    grey = RGB[..., 0]
    np.testing.assert_array_equal(decode(message(grey, "mono8", 8, 12)), np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize(("pattern", "encoding"), [(p, f"bayer_{p}8") for p in ("rggb", "bggr", "gbrg", "grbg")])
def test_bayer_of_one_colour_gives_that_colour(pattern, encoding):
    colour = {"r": 200, "g": 100, "b": 50}
    mosaic = np.zeros((8, 8), np.uint8)
    for place, letter in enumerate(pattern):
        mosaic[place // 2 :: 2, place % 2 :: 2] = colour[letter]
    assert (decode(message(mosaic, encoding, 8, 8)) == (200, 100, 50)).all()


# ITU-R BT.601, video range, which cameras use: Y, U, V of pure red.
RED_YUV = (81, 90, 240)


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12"])
def test_yuv_red_is_red(encoding):
    y, u, v = RED_YUV
    if encoding == "nv12":
        rows = np.concatenate([np.full((8, 12), y, np.uint8), np.tile(np.array([u, v], np.uint8), (4, 6))])
    else:
        pair = (u, y, v, y) if encoding in ("yuv422", "uyvy") else (y, u, y, v)
        rows = np.tile(np.array(pair, np.uint8), (8, 6))
    np.testing.assert_allclose(decode(message(rows, encoding, 8, 12)), np.broadcast_to((255, 0, 0), (8, 12, 3)), atol=3)


def unpadded_rows(encoding: str, seed: int = 5) -> np.ndarray:
    layout = ENCODINGS[encoding]
    rows = 12 if layout.even_height else 8
    return np.random.default_rng(seed).integers(0, 256, (rows, 12 * layout.channels), dtype=np.uint8)


@pytest.mark.parametrize("padding", [1, 2, 5, 64])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_padding_of_any_number_of_bytes_changes_nothing(encoding, padding):
    rows = unpadded_rows(encoding)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    np.testing.assert_array_equal(decode(message(padded, encoding, 8, 12)), decode(message(rows, encoding, 8, 12)))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_byte_order_and_bytes_after_the_image_do_not_matter_in_8_bit(encoding):
    rows = unpadded_rows(encoding)
    plain = message(rows, encoding, 8, 12)
    odd = message(rows, encoding, 8, 12, is_bigendian=1)
    odd.data.extend([9] * 100)
    np.testing.assert_array_equal(decode(odd), decode(plain))


def test_rgb_is_a_view_without_a_copy():
    m = message(RGB.reshape(8, -1), "rgb8", 8, 12)
    assert np.shares_memory(decode(m), np.frombuffer(m.data, np.uint8))


BAD = {
    "data_short": ({"data": array.array("B", bytes(8 * 36 - 1))}, "data_short"),
    "no_data": ({"data": array.array("B")}, "data_short"),
    "step_zero": ({"step": 0}, "step"),
    "step_small": ({"step": 35}, "step"),
    "encoding_unknown": ({"encoding": "rgb9"}, "encoding"),
    "encoding_empty": ({"encoding": ""}, "encoding"),
    "encoding_endless": ({"encoding": "x" * 100_000}, "encoding"),
    "encoding_16_bit": ({"encoding": "mono16", "is_bigendian": 1}, "encoding"),
    "width_zero": ({"width": 0}, "size_zero"),
    "height_zero": ({"height": 0}, "size_zero"),
    "huge": ({"height": 2**32 - 1, "width": 2**32 - 1}, "size_huge"),
    "odd_width": ({"encoding": "yuyv", "width": 11}, "size_odd"),
    "odd_height": ({"encoding": "nv12", "height": 7}, "size_odd"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_message_is_rejected_with_its_reason_in_one_line(case):
    fields, reason = BAD[case]
    bad = message(RGB.reshape(8, -1), "rgb8", 8, 12)
    vars(bad).update(fields)
    with pytest.raises(RejectedFrame) as caught:
        check_image(bad, MAX_PIXELS)
    assert caught.value.reason == reason
    assert 0 < len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(
    height=st.integers(0, 20),
    width=st.integers(0, 20),
    step=st.integers(0, 100),
    size=st.integers(0, 2000),
    encoding=st.sampled_from([*ENCODINGS, "mono16", "?"]),
    big=st.integers(0, 255),
)
def test_any_message_is_either_rejected_or_decoded_to_its_size(height, width, step, size, encoding, big):
    m = message(np.zeros(size, np.uint8), encoding, height, width, step, is_bigendian=big)
    try:
        check_image(m, MAX_PIXELS)
    except RejectedFrame:
        return
    assert decode_image(m).shape == (height, width, 3)


def compress(image: np.ndarray, kind: str) -> bytes:
    return cv2.imencode(f".{kind}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def smooth() -> np.ndarray:
    return cv2.resize(colourful(4, 6), (96, 64), interpolation=cv2.INTER_CUBIC)


def test_png_is_exact():
    data = compress(smooth(), "png")
    assert check_compressed(data, MAX_PIXELS) == (64, 96)
    np.testing.assert_array_equal(decode_compressed(data), smooth())


def test_jpeg_is_close_and_may_be_padded_with_zeros():
    data = compress(smooth(), "jpg") + bytes(30)
    assert check_compressed(array.array("B", data), MAX_PIXELS) == (64, 96)
    assert np.abs(decode_compressed(data).astype(int) - smooth()).mean() < 3


def test_grey_jpeg_becomes_rgb():
    data = cv2.imencode(".jpg", smooth()[..., 0])[1].tobytes()
    assert decode_compressed(data).shape == (64, 96, 3)


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + orientation.to_bytes(2, "big") + bytes(6)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def test_exif_orientation_does_not_turn_the_image():
    plain = compress(smooth(), "jpg")
    turned = with_exif_orientation(plain, 6)
    assert check_compressed(turned, MAX_PIXELS) == (64, 96)
    # The file does ask to be turned: otherwise this test would prove nothing.
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (96, 64, 3)
    np.testing.assert_array_equal(decode_compressed(turned), decode_compressed(plain))


JPEG, PNG = compress(smooth(), "jpg"), compress(smooth(), "png")
HUGE_PNG = PNG[:16] + (60000).to_bytes(4, "big") * 2 + PNG[24:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "data_short"),
        (b"hello world", "encoding"),
        (JPEG[: len(JPEG) // 2], "corrupt"),
        (JPEG[:2] + JPEG[2:4], "corrupt"),
        (b"\xff\xd8\xff\xe0" + bytes(60) + b"\xff\xd9", "corrupt"),
        (PNG[:12], "corrupt"),
        (PNG[:16] + bytes(8) + PNG[24:], "size_zero"),
        (HUGE_PNG, "size_huge"),
    ],
)
def test_bad_compressed_data_is_rejected_before_decoding(data, reason):
    with pytest.raises(RejectedFrame) as caught:
        check_compressed(data, MAX_PIXELS)
    assert caught.value.reason == reason


@pytest.mark.parametrize("data", [PNG[: len(PNG) // 2], JPEG[:20] + JPEG[-2:]])
def test_compressed_data_that_only_the_decoder_finds_corrupt_is_rejected(data):
    with pytest.raises(RejectedFrame, match="cannot decode") as caught:
        decode_compressed(data)
    assert caught.value.reason == "corrupt"


@settings(max_examples=200, deadline=None)
@given(head=st.sampled_from([b"", JPEG[:200], PNG[:40], b"\xff\xd8\xff"]), tail=st.binary(max_size=200))
def test_any_bytes_are_rejected_or_decoded(head, tail):
    outcome = "decoded"
    try:
        check_compressed(head + tail, MAX_PIXELS)
        assert decode_compressed(head + tail).shape[2] == 3
    except RejectedFrame as rejection:
        outcome = rejection.reason
    assert outcome in {"decoded", "data_short", "encoding", "corrupt", "size_zero", "size_huge"}


@pytest.mark.parametrize(
    ("shape", "dtype", "encoding"),
    [((3, 5), "u1", "mono8"), ((3, 5, 3), "u1", "rgb8"), ((3, 5), "f4", "32FC1"), ((3, 5, 3), "f4", "32FC3")],
)
def test_filled_message_holds_the_array(shape, dtype, encoding):
    values = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    m = SimpleNamespace(data=array.array("B"))
    fill_image(m, values[::-1][::-1], encoding)
    assert (m.height, m.width, m.encoding) == (3, 5, encoding)
    assert m.step * m.height == len(m.data)
    assert m.is_bigendian == int(sys.byteorder == "big" and values.itemsize > 1)
    np.testing.assert_array_equal(np.frombuffer(m.data, values.dtype).reshape(shape), values)


def test_strided_array_is_filled_in_reading_order():
    values = np.arange(24, dtype=np.float32).reshape(4, 6).T
    m = SimpleNamespace(data=array.array("B"))
    fill_image(m, values, "32FC1")
    np.testing.assert_array_equal(np.frombuffer(m.data, np.float32).reshape(6, 4), values)


# cv_bridge ------------------------------------------------------------------------------------------------------------


class Bridge:
    """The part of `cv_bridge.CvBridge` that is used, as right or as wrong as a test wants it."""

    sixteen_bit = ("uint16", 1)
    wrong: tuple[str, ...] = ()
    decoded: list[str]

    def __init__(self):
        type(self).decoded = []

    def encoding_to_dtype_with_channels(self, encoding):
        return {"16UC1": self.sixteen_bit}[encoding]

    def imgmsg_to_cv2(self, m, desired_encoding):
        assert desired_encoding == "rgb8"
        if m.encoding == "nv12":
            raise RuntimeError("unknown encoding")
        self.decoded.append(m.encoding)
        return decode_image(m) + (m.encoding in self.wrong)


def install(monkeypatch, bridge):
    module = ModuleType("cv_bridge")
    module.CvBridge = bridge
    monkeypatch.setitem(sys.modules, "cv_bridge", module)


def test_cv_bridge_is_used_where_it_agrees_and_only_there(monkeypatch):
    class PartlyWrong(Bridge):
        wrong = ("yuyv",)

    install(monkeypatch, PartlyWrong)
    decoder, text = cv_bridge_codec.load_decoder()
    assert text.startswith("cv_bridge for ")
    PartlyWrong.decoded.clear()
    for encoding in ENCODINGS:
        m = message(unpadded_rows(encoding), encoding, 8, 12)
        np.testing.assert_array_equal(decoder(m), decode_image(m))
    assert set(PartlyWrong.decoded) == set(ENCODINGS) - {"yuyv", "nv12"}


def test_cv_bridge_never_sees_padded_rows(monkeypatch):
    install(monkeypatch, Bridge)
    decoder, _ = cv_bridge_codec.load_decoder()
    Bridge.decoded.clear()
    m = message(np.pad(unpadded_rows("bgr8"), ((0, 0), (0, 5))), "bgr8", 8, 12)
    np.testing.assert_array_equal(decoder(m), decode_image(m))
    assert Bridge.decoded == []


def test_the_other_package_named_cv_bridge_is_not_used(monkeypatch):
    class Old(Bridge):
        sixteen_bit = ("uint8", 1)

    install(monkeypatch, Old)
    assert cv_bridge_codec.load_decoder() == (decode_image, "own image codec (this cv_bridge is not the ROS 2 one)")


def test_a_cv_bridge_that_does_not_import_is_not_used(monkeypatch):
    class Broken:
        def __init__(self):
            raise AttributeError("_ARRAY_API not found")

    install(monkeypatch, Broken)
    assert cv_bridge_codec.load_decoder() == (decode_image, "own image codec (no cv_bridge: AttributeError)")


def test_the_real_cv_bridge_and_our_codec_agree():
    pytest.importorskip("cv_bridge", exc_type=Exception)
    sensor_msgs = pytest.importorskip("sensor_msgs.msg")
    decoder, text = cv_bridge_codec.load_decoder(sensor_msgs.Image)
    assert "rgb8" in text
    for encoding in ENCODINGS:
        m = sensor_msgs.Image(height=8, width=12, encoding=encoding, step=12 * ENCODINGS[encoding].channels)
        m.data.frombytes(unpadded_rows(encoding).tobytes())
        np.testing.assert_array_equal(decoder(m), decode_image(m))
