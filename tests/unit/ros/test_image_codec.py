"""Camera messages to RGB: right for what cameras send. What cannot be read is in `test_malformed_frames`."""

from __future__ import annotations

import array
import io
import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from densemtl_ros import cv_bridge_codec
from densemtl_ros.compressed_codec import check_compressed, decode_compressed
from densemtl_ros.image_codec import ENCODINGS, check_image, decode_image, fill_image
from reference_decoder import (
    ALL,
    MOSAICS,
    TWO_PIXELS,
    TWO_PLANES,
    image_message,
    noise,
    reference_rgb,
    row_bytes,
)

MAX_PIXELS = 4_000_000


def colourful(height: int = 8, width: int = 12) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decode(m) -> np.ndarray:
    check_image(m, MAX_PIXELS)
    out = decode_image(m)
    assert out.dtype == np.uint8
    assert out.shape == (m.height, m.width, 3)
    return out


def test_every_encoding_has_a_reference():
    assert set(ALL) == set(ENCODINGS)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_pixels_are_those_of_the_definition(encoding):
    m = image_message(noise(encoding, 8, 12), encoding, 8, 12)
    # OpenCV converts YUV in integers.
    tolerance = 1 if encoding in (*TWO_PIXELS, *TWO_PLANES) else 0
    np.testing.assert_allclose(decode(m).astype(int), reference_rgb(m), atol=tolerance)


# ITU-R BT.601, video range, rounded: Y, U, V of the primaries, black and white.
COLOURS_IN_YUV = {
    (255, 0, 0): (81, 90, 240),
    (0, 255, 0): (145, 54, 34),
    (0, 0, 255): (41, 240, 110),
    (0, 0, 0): (16, 128, 128),
    (255, 255, 255): (235, 128, 128),
}


@pytest.mark.parametrize("colour", COLOURS_IN_YUV)
@pytest.mark.parametrize(("encoding", "order"), [("uyvy", "UYVY"), ("yuv422_yuy2", "YUYV")])
def test_yuv_of_two_pixels_in_four_bytes(encoding, order, colour):
    four = dict(zip("YUV", COLOURS_IN_YUV[colour], strict=True))
    m = image_message(bytes(four[letter] for letter in order) * 48, encoding, 8, 12)
    np.testing.assert_allclose(decode(m).astype(int), np.broadcast_to(colour, (8, 12, 3)), atol=3)


@pytest.mark.parametrize("colour", COLOURS_IN_YUV)
@pytest.mark.parametrize(("encoding", "order"), [("nv12", "UV"), ("nv21", "VU")])
def test_yuv_in_two_planes(encoding, order, colour):
    three = dict(zip("YUV", COLOURS_IN_YUV[colour], strict=True))
    pairs = bytes(three[letter] for letter in order) * 24
    m = image_message(bytes([three["Y"]]) * 96 + pairs, encoding, 8, 12)
    np.testing.assert_allclose(decode(m).astype(int), np.broadcast_to(colour, (8, 12, 3)), atol=3)


@pytest.mark.parametrize("encoding", MOSAICS)
def test_a_mosaic_of_one_colour_gives_that_colour(encoding):
    colour = {"r": 200, "g": 100, "b": 50}
    mosaic = np.zeros((8, 8), np.uint16)
    for place, letter in enumerate(MOSAICS[encoding]):
        mosaic[place // 2 :: 2, place % 2 :: 2] = colour[letter]
    data = (mosaic * 256).astype("<u2").tobytes() if encoding.endswith("16") else mosaic.astype("u1").tobytes()
    assert (decode(image_message(data, encoding, 8, 8)) == (200, 100, 50)).all()


@pytest.mark.parametrize("padding", [1, 2, 5, 64])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_padding_of_any_number_of_bytes_changes_nothing(encoding, padding):
    row = row_bytes(encoding, 12)
    rows = np.frombuffer(noise(encoding, 8, 12), np.uint8).reshape(-1, row)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    np.testing.assert_array_equal(
        decode(image_message(padded.tobytes(), encoding, 8, 12, row + padding)),
        decode(image_message(rows.tobytes(), encoding, 8, 12)),
    )


@pytest.mark.parametrize("encoding", [name for name, layout in ENCODINGS.items() if layout.sample_bytes == 1])
def test_byte_order_and_bytes_after_the_image_do_not_matter_in_8_bit(encoding):
    data = noise(encoding, 8, 12)
    plain = image_message(data, encoding, 8, 12)
    odd = image_message(data + bytes([9]) * 100, encoding, 8, 12, is_bigendian=1)
    np.testing.assert_array_equal(decode(odd), decode(plain))


@pytest.mark.parametrize("encoding", [name for name, layout in ENCODINGS.items() if layout.sample_bytes == 2])
def test_16_bit_is_read_in_either_byte_order(encoding):
    little = noise(encoding, 8, 12)
    big = np.frombuffer(little, "<u2").astype(">u2").tobytes()
    np.testing.assert_array_equal(
        decode(image_message(big, encoding, 8, 12, is_bigendian=1)), decode(image_message(little, encoding, 8, 12))
    )


def test_rgb_is_a_view_without_a_copy():
    m = image_message(noise("rgb8", 8, 12), "rgb8", 8, 12)
    assert np.shares_memory(decode(m), np.frombuffer(m.data, np.uint8))


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
    grey = smooth()[..., 0]
    got = decode_compressed(cv2.imencode(".jpg", grey)[1].tobytes())
    assert (got == got[..., :1]).all()
    assert np.abs(got[..., 0].astype(int) - grey).mean() < 3


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


@pytest.mark.parametrize("zeros", [1, 5000, 300_000])
def test_jpeg_in_a_buffer_that_is_too_large(zeros):
    data = compress(smooth(), "jpg")
    assert check_compressed(array.array("B", data + bytes(zeros)), MAX_PIXELS) == (64, 96)
    np.testing.assert_array_equal(decode_compressed(data + bytes(zeros)), decode_compressed(data))


FORMATS = ("", "jpeg", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed ", "rgb8; jpeg compressed rgb8", "nonsense")


COLOURS = ("bayer_rggb8; jpeg compressed bgr8", "bayer_bggr16; png compressed rgb16", "mono16; png compressed ")


@pytest.mark.parametrize("name", [*FORMATS, *COLOURS, "x" * 9999])
def test_the_file_decides_whatever_the_format_is_called(name):
    assert check_compressed(compress(smooth(), "jpg"), MAX_PIXELS, name) == (64, 96)
    assert check_compressed(compress(smooth(), "png"), MAX_PIXELS, name) == (64, 96)


def test_motion_jpeg_without_tables_uses_the_standard_ones():
    data = compress(smooth(), "jpg")
    bare = data[: data.index(b"\xff\xc4")] + data[data.index(b"\xff\xda") :]
    assert check_compressed(bare, MAX_PIXELS) == (64, 96)
    np.testing.assert_array_equal(decode_compressed(bare), decode_compressed(data))


def test_progressive_jpeg():
    bgr = cv2.cvtColor(smooth(), cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert data.count(b"\xff\xda") > 3
    assert check_compressed(data, MAX_PIXELS) == (64, 96)
    np.testing.assert_array_equal(decode_compressed(data), decode_compressed(compress(smooth(), "jpg")))


def test_cmyk_jpeg():
    image = pytest.importorskip("PIL.Image")
    packed = io.BytesIO()
    image.fromarray(smooth()).convert("CMYK").save(packed, "jpeg", quality=95)
    assert check_compressed(packed.getvalue(), MAX_PIXELS) == (64, 96)
    assert np.abs(decode_compressed(packed.getvalue()).astype(int) - smooth()).mean() < 3


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_png_keeps_the_high_byte(channels):
    pixels = np.random.default_rng(1).integers(0, 65536, (64, 96, channels), dtype=np.uint16)
    data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    assert check_compressed(data, MAX_PIXELS) == (64, 96)
    np.testing.assert_array_equal(decode_compressed(data), np.broadcast_to(pixels // 256, (64, 96, 3)))


def test_png_alpha_is_dropped_and_does_not_darken():
    bgra = np.dstack([smooth()[..., ::-1], np.zeros((64, 96), np.uint8)])
    np.testing.assert_array_equal(decode_compressed(cv2.imencode(".png", bgra)[1].tobytes()), smooth())


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
        m = image_message(noise(encoding, 8, 12), encoding, 8, 12)
        np.testing.assert_array_equal(decoder(m), decode_image(m))
    assert set(PartlyWrong.decoded) == set(ENCODINGS) - {"yuyv", "nv12"}


def test_cv_bridge_never_sees_padded_rows(monkeypatch):
    install(monkeypatch, Bridge)
    decoder, _ = cv_bridge_codec.load_decoder()
    Bridge.decoded.clear()
    m = image_message(noise("bgr8", 8, 12, padding=5), "bgr8", 8, 12, 36 + 5)
    np.testing.assert_array_equal(decoder(m), decode_image(m))
    assert Bridge.decoded == []


def test_cv_bridge_never_sees_the_big_endian_flag(monkeypatch):
    class Modern(Bridge):
        def imgmsg_to_cv2(self, m, desired_encoding):
            if m.is_bigendian:  # what cv_bridge does with it under NumPy 2
                raise AttributeError("`newbyteorder` was removed from the ndarray class in NumPy 2.0")
            return super().imgmsg_to_cv2(m, desired_encoding)

    install(monkeypatch, Modern)
    decoder, text = cv_bridge_codec.load_decoder()
    assert "bgr8" in text
    m = image_message(noise("bgr8", 8, 12), "bgr8", 8, 12, is_bigendian=1)
    np.testing.assert_array_equal(decoder(m), decode_image(m))


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
        m = sensor_msgs.Image(height=8, width=12, encoding=encoding, step=row_bytes(encoding, 12))
        m.data.frombytes(noise(encoding, 8, 12))
        np.testing.assert_array_equal(decoder(m), decode_image(m))
