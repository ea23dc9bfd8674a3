"""Frames that no camera should send: each is refused under its reason, in one line that says what is wrong with it.

Nothing but `RejectedFrame` may come out of checking and decoding, and no more memory than the bytes that did arrive.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from densemtl_ros.compressed_codec import check_compressed, decode_compressed
from densemtl_ros.image_codec import ENCODINGS, RejectedFrame, check_image, decode_image
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from reference_decoder import TWO_PIXELS, TWO_PLANES, image_message, noise, reference_rgb, row_bytes

MAX_PIXELS = 4_000_000
HEIGHT, WIDTH = 8, 12


def decode(m) -> np.ndarray:
    check_image(m, MAX_PIXELS)
    return decode_image(m)


def decode_file(data: bytes, name: str = "") -> np.ndarray:
    size = check_compressed(data, MAX_PIXELS, name)
    image = decode_compressed(data)
    assert image.shape == (*size, 3), "the decoder found another size than the check"
    return image


def outcome(action, *arguments) -> np.ndarray | str:
    """The image, or why there is none."""
    try:
        return action(*arguments)
    except RejectedFrame as rejection:
        return str(rejection)


def refused(action, *arguments) -> RejectedFrame:
    """The rejection; checks what holds of each."""
    tracemalloc.start()
    try:
        with pytest.raises(RejectedFrame) as caught:
            action(*arguments)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert 10 < len(text) < 400
    assert text.isprintable(), "a log line must stay one line"
    assert peak < 1_000_000, f"{peak} bytes for a frame that is not used"
    return caught.value


# sensor_msgs/Image ----------------------------------------------------------------------------------------------------

# Changes to a good 12 x 8 rgb8 message; the reason; what the text has to name.
FIELDS = {
    "height zero": ({"height": 0}, "size_zero", "height 0"),
    "width zero": ({"width": 0}, "size_zero", "width 0"),
    "both zero and no data": ({"height": 0, "width": 0, "data": b""}, "size_zero", "width 0 x height 0"),
    "height negative": ({"height": -1}, "size_zero", "height -1"),
    "both as large as they go": ({"height": 2**32 - 1, "width": 2**32 - 1}, "size_huge", "max_pixels = 4000000"),
    "product is zero in 32 bit": ({"height": 2**16, "width": 2**16}, "size_huge", "width 65536 x height 65536"),
    "endlessly high": ({"height": 2**32 - 1, "width": 1}, "size_huge", "height 4294967295"),
    "endlessly wide": ({"height": 1, "width": 2**32 - 1}, "size_huge", "width 4294967295"),
    "one pixel over the limit": ({"height": 1, "width": MAX_PIXELS + 1}, "size_huge", "width 4000001"),
    "step zero": ({"step": 0}, "step", "step 0"),
    "step negative": ({"step": -36}, "step", "step -36"),
    "step one byte short": ({"step": 35}, "step", "step 35 is less than the 36 bytes"),
    "step in pixels": ({"step": 12}, "step", "step 12"),
    "step of three channels for four": ({"encoding": "rgba8"}, "step", "48 bytes of a row in rgba8"),
    "step of one byte for two": ({"encoding": "rgb16"}, "step", "72 bytes of a row in rgb16"),
    "step of luma alone": ({"encoding": "yuyv", "step": 12}, "step", "24 bytes of a row in yuyv"),
    "step as large as it goes": ({"step": 2**32 - 1}, "data_short", "step 4294967295 x 8 rows"),
    "step says padded, data are not": ({"step": 40}, "data_short", "288 bytes of data, 320 needed"),
    "no data": ({"data": b""}, "data_short", "0 bytes of data, 288 needed"),
    "one byte of data": ({"data": b"7"}, "data_short", "1 bytes of data"),
    "last byte missing": ({"data": bytes(287)}, "data_short", "287 bytes of data, 288 needed"),
    "last row missing": ({"data": bytes(252)}, "data_short", "252 bytes of data"),
    "half of the data": ({"data": bytes(144)}, "data_short", "144 bytes of data"),
    "higher than its data": ({"height": 9}, "data_short", "324 needed"),
    "nv12 without colours": ({"encoding": "nv12", "step": 12, "data": bytes(96)}, "data_short", "144 needed"),
    "nv21 one byte short": ({"encoding": "nv21", "step": 12, "data": bytes(143)}, "data_short", "143 bytes"),
    "nv12 with padded luma alone": ({"encoding": "nv12", "step": 16, "data": bytes(144)}, "data_short", "192 needed"),
    "mono16 with 8 bit of data": ({"encoding": "mono16", "step": 24, "data": bytes(96)}, "data_short", "192 needed"),
    "mosaic of 16 bit with 8": (
        {"encoding": "bayer_rggb16", "step": 24, "data": bytes(96)},
        "data_short",
        "96 bytes of data, 192 needed",
    ),
    "odd width in uyvy": ({"encoding": "uyvy", "width": 11}, "size_odd", "width 11"),
    "odd width in yuyv": ({"encoding": "yuyv", "width": 11}, "size_odd", "even width"),
    "width one in yuv422": ({"encoding": "yuv422", "width": 1}, "size_odd", "width 1"),
    "odd width in yuv422_yuy2": ({"encoding": "yuv422_yuy2", "width": 9}, "size_odd", "yuv422_yuy2"),
    "odd width in nv12": ({"encoding": "nv12", "width": 11}, "size_odd", "even width and height"),
    "odd height in nv12": ({"encoding": "nv12", "height": 7}, "size_odd", "height 7"),
    "odd height in nv21": ({"encoding": "nv21", "height": 7}, "size_odd", "nv21"),
    "mosaic of one cell": ({"encoding": "bayer_rggb8", "height": 2, "width": 2}, "size_small", "at least 3"),
    "mosaic of one row": ({"encoding": "bayer_grbg8", "height": 1}, "size_small", "height 1"),
    "mosaic of one column": ({"encoding": "bayer_bggr16", "width": 1}, "size_small", "width 1"),
}
NAMES = {
    "none": ("", "''"),
    "unknown": ("rgb9", "'rgb9'"),
    "capitals": ("RGB8", "'RGB8'"),
    "blank before": (" rgb8", "' rgb8'"),
    "zero after": ("rgb8\0", r"'rgb8\x00'"),
    "newline after": ("rgb8\n", r"'rgb8\n'"),
    "terminal commands": ("\x1b[2J\x07", r"\x1b[2J\x07"),
    "not UTF-8": ("\udcff\udcfe", r"\udcff"),
    "other script": ("彩色８", "彩色８"),
    "right to left": ("\u202ergb8", r"\u202e"),
    "endless": ("x" * 100_000, "'" + "x" * 40 + "'"),
    "video": ("h264", "'h264'"),
    "a file": ("jpeg", "'jpeg'"),
    "depth in millimetres": ("16UC1", "colour topic"),
    "depth in metres": ("32FC1", "depth image"),
    "doubles": ("64FC1", "'64FC1'"),
    "two channels": ("8UC2", "'8UC2'"),
    "five channels": ("8UC5", "'8UC5'"),
    "signed": ("8SC3", "'8SC3'"),
    "signed 16 bit": ("16SC1", "'16SC1'"),
    "four floats": ("32FC4", "'32FC4'"),
    "colours in full": ("nv24", "'nv24'"),
    "planes in no fixed order": ("yuv420", "'yuv420'"),
    "three planes": ("i420", "'i420'"),
    "alpha of 16 bit": ("rgba16", "'rgba16'"),
    "mosaic of 12 bit": ("bayer_rggb12", "'bayer_rggb12'"),
    "mosaic without a size": ("bayer_rggb", "'bayer_rggb'"),
}


def spoilt(**changes):
    return image_message(
        changes.pop("data", noise("rgb8", HEIGHT, WIDTH)), "rgb8", HEIGHT, WIDTH, **{"step": 36, **changes}
    )


@pytest.mark.parametrize("case", FIELDS)
def test_fields_that_contradict_each_other(case):
    changes, reason, named = FIELDS[case]
    m = spoilt()
    vars(m).update(changes)
    rejection = refused(decode, m)
    assert rejection.reason == reason
    assert named in str(rejection)


@pytest.mark.parametrize("case", NAMES)
def test_encodings_that_are_none_of_ours(case):
    name, named = NAMES[case]
    m = spoilt()
    m.encoding = name
    rejection = refused(decode, m)
    assert rejection.reason == "encoding"
    assert named in str(rejection)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_byte_less_is_too_little_in_every_encoding(encoding):
    data = noise(encoding, HEIGHT, WIDTH)
    assert decode(image_message(data, encoding, HEIGHT, WIDTH)).shape == (HEIGHT, WIDTH, 3)
    assert refused(decode, image_message(data[:-1], encoding, HEIGHT, WIDTH)).reason == "data_short"
    step = row_bytes(encoding, WIDTH) - 1
    assert refused(decode, image_message(data, encoding, HEIGHT, WIDTH, step)).reason == "step"


# sensor_msgs/CompressedImage ------------------------------------------------------------------------------------------


def picture() -> np.ndarray:
    rough = np.random.default_rng(3).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(rough, (96, 64), interpolation=cv2.INTER_CUBIC)


def encoded(kind: str, *options: int) -> bytes:
    return cv2.imencode(kind, picture(), options)[1].tobytes()


JPEG, PNG = encoded(".jpg"), encoded(".png")
PROGRESSIVE = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
FRAME = JPEG.index(b"\xff\xc0")
SCAN = JPEG.index(b"\xff\xda")
LAST_SCAN = PROGRESSIVE.rindex(b"\xff\xda")
END = b"\xff\xd9"


def jpeg_frame(height: int, width: int, marker: int = 0xC0, bits: int = 8) -> bytes:
    """The JPEG with another start of frame."""
    return JPEG[:FRAME] + struct.pack(">BBHBHH", 0xFF, marker, 17, bits, height, width) + JPEG[FRAME + 9 :]


def hidden(jpeg: bytes) -> bytes:
    """The JPEG with another before it, which decoders find, and which who takes FF 00 for a segment skips."""
    return JPEG[:2] + b"\xff\0" + struct.pack(">H", len(jpeg)) + jpeg[2:] + JPEG[2:]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    """The PNG with another header, its check sum right."""
    return PNG[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)) + PNG[33:]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


FILES = {
    "no data": (b"", "data_short"),
    "text": (b"hello world", "encoding"),
    "one byte": (b"\xff", "encoding"),
    "zeros": (bytes(1000), "encoding"),
    "gif": (b"GIF89a" + bytes(50), "encoding"),
    "webp": (b"RIFF\0\1\0\0WEBPVP8 ", "encoding"),
    "bmp": (b"BM" + bytes(100), "encoding"),
    "tiff": (b"II*\0" + bytes(100), "encoding"),
    "video": (b"\0\0\0\1\x67" + bytes(50), "encoding"),
    "compressedDepth": (bytes(12) + PNG, "encoding"),
    "jpeg: begin alone": (JPEG[:3], "corrupt"),
    "jpeg: begin and end alone": (JPEG[:2] + END, "corrupt"),
    "jpeg: last byte missing": (JPEG[:-1], "corrupt"),
    "jpeg: end missing": (JPEG[:-2], "corrupt"),
    "jpeg: half": (JPEG[: len(JPEG) // 2], "corrupt"),
    "jpeg: half, then zeros": (JPEG[: len(JPEG) // 2] + bytes(len(JPEG)), "corrupt"),
    "jpeg: zeros for a header": (b"\xff\xd8\xff\xe0" + bytes(60) + END, "corrupt"),
    "jpeg: segment longer than the file": (b"\xff\xd8\xff\xe0\xff\xff" + bytes(60) + END, "corrupt"),
    "jpeg: segment of length one": (b"\xff\xd8\xff\xe0\0\1" + JPEG[6:], "corrupt"),
    "jpeg: no frame": (JPEG[:FRAME] + END, "corrupt"),
    "jpeg: no scan": (JPEG[:SCAN] + END, "corrupt"),
    "jpeg: header and end alone": (JPEG[:20] + END, "corrupt"),
    "jpeg: two frames": (JPEG[:FRAME] + JPEG[FRAME : FRAME + 19] + JPEG[FRAME:], "corrupt"),
    "jpeg: another frame behind FF 00": (hidden(jpeg_frame(640, 960)), "corrupt"),
    "jpeg: 12 bit": (jpeg_frame(64, 96, 0xC1, bits=12), "corrupt"),
    "jpeg: lossless": (jpeg_frame(64, 96, 0xC3), "corrupt"),
    "jpeg: height zero": (jpeg_frame(0, 96), "size_zero"),
    "jpeg: width zero": (jpeg_frame(64, 0), "size_zero"),
    "jpeg: 400 megapixels": (jpeg_frame(20_000, 20_000), "size_huge"),
    "jpeg: gigapixels": (jpeg_frame(65500, 65500), "size_huge"),
    "jpeg: a thousand scans": (PROGRESSIVE[:-2] + PROGRESSIVE[LAST_SCAN:-2] * 1000 + END, "corrupt"),
    "png: signature alone": (PNG[:8], "corrupt"),
    "png: half a header": (PNG[:20], "corrupt"),
    "png: header alone": (PNG[:33], "corrupt"),
    "png: half": (PNG[: len(PNG) // 2], "corrupt"),
    "png: last byte missing": (PNG[:-1], "corrupt"),
    "png: begins with another chunk": (PNG[:8] + chunk(b"tEXt", b"a\0" + bytes(30)) + PNG[8:], "corrupt"),
    "png: header of another length": (PNG[:8] + b"\0\0\0\x0e" + PNG[12:], "corrupt"),
    "png: header fails its check sum": (flipped(PNG, 30), "corrupt"),
    "png: pixels fail their check sum": (flipped(PNG, len(PNG) // 2), "corrupt"),
    "png: pixels are no zlib stream": (PNG[:33] + chunk(b"IDAT", bytes(500)) + chunk(b"IEND", b""), "corrupt"),
    "png: a chunk of gigabytes": (PNG[:33] + b"\x91\0\x20\0" + PNG[37:], "corrupt"),
    "png: end missing": (PNG[:-12], "corrupt"),
    "png: no pixels": (PNG[:33] + chunk(b"IEND", b""), "corrupt"),
    "png: more rows than pixels": (png_header(96, 640), "corrupt"),
    "png: three bits": (png_header(96, 64, bits=3), "corrupt"),
    "png: colours of no kind": (png_header(96, 64, colour=5), "corrupt"),
    "png: width zero": (png_header(0, 64), "size_zero"),
    "png: height zero": (png_header(96, 0), "size_zero"),
    "png: 400 megapixels": (png_header(20_000, 20_000), "size_huge"),
    "png: gigapixels": (png_header(60_000, 60_000), "size_huge"),
    "png: as large as it goes": (png_header(2**31 - 1, 2**31 - 1), "size_huge"),
    "png: larger than it can be": (png_header(2**32 - 1, 1), "size_huge"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_picture(case):
    data, reason = FILES[case]
    rejection = refused(decode_file, data)
    assert rejection.reason == reason
    assert any(word in str(rejection) for word in ("data", "width", "scans"))


@pytest.mark.parametrize(
    "name",
    [
        "16UC1; compressedDepth png",
        "32FC1; compressedDepth rvl",
        "; compressedDepth",
        "16UC1; png compressed ",
        "32FC1; png compressed ",
        "bayer_rggb8; jpeg compressed ",
        "bayer_grbg16; png compressed mono16",
    ],
)
def test_formats_that_are_packed_as_a_picture_and_are_none(name):
    rejection = refused(decode_file, PNG, name)
    assert rejection.reason == "encoding"
    assert repr(name) in str(rejection)
    assert "colour topic" in str(rejection)


def test_compressed_depth_is_told_by_its_data_too():
    assert "compressedDepth" in str(refused(decode_file, bytes(12) + PNG))


GROWTH = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import test_malformed_frames as frames
frames.decode_file(frames.JPEG), frames.decode_file(frames.PNG)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for data, reason in frames.FILES.values():
    try:
        frames.decode_file(data)
    except frames.RejectedFrame as rejection:
        assert rejection.reason == reason, (rejection, reason)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_no_file_makes_the_process_grow():
    """The decoder's own memory is seen by nobody but the system."""
    command = [sys.executable, "-c", GROWTH, os.path.dirname(__file__)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(out.stdout) < 16_384, "kB"


# Anything at all ------------------------------------------------------------------------------------------------------

several = settings(max_examples=150, deadline=None, derandomize=True)
SIZES = st.one_of(st.integers(0, 14), st.sampled_from([2**16, 2**31, 2**32 - 1]))


@several
@given(
    height=SIZES,
    width=SIZES,
    step=st.one_of(st.integers(0, 90), st.just(2**32 - 1)),
    size=st.integers(0, 1500),
    # As rclpy reads a name that need not be UTF-8.
    encoding=st.sampled_from([*ENCODINGS]) | st.binary(max_size=12).map(lambda b: b.decode(errors="surrogateescape")),
    big=st.integers(0, 255),
)
def test_any_fields_are_refused_or_decoded_to_their_size(height, width, step, size, encoding, big):
    m = image_message(bytes(size), "rgb8", height, width, step, is_bigendian=big)
    m.encoding = encoding
    result = outcome(decode, m)
    assert result.isprintable() if isinstance(result, str) else result.shape == (height, width, 3)


@several
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    encoding=st.sampled_from([*ENCODINGS]),
    padding=st.integers(0, 7),
    behind=st.integers(0, 50),
    big=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_frame_that_holds_what_it_says_is_decoded_as_defined(height, width, encoding, padding, behind, big, seed):
    layout = ENCODINGS[encoding]
    height += height % 2 if layout.even_height else 0
    width += width % 2 if layout.even_width else 0
    assume(min(height, width) >= layout.smallest)
    data = noise(encoding, height, width, padding, seed) + bytes(behind)
    step = row_bytes(encoding, width) + padding
    m = image_message(data, encoding, height, width, step, is_bigendian=int(big))
    tolerance = 1 if encoding in (*TWO_PIXELS, *TWO_PLANES) else 0
    np.testing.assert_allclose(decode(m).astype(int), reference_rgb(m), atol=tolerance)


@several
@given(head=st.sampled_from([b"", b"\xff\xd8\xff", JPEG[:200], JPEG[:SCAN], PNG[:33], PNG[:60]]), tail=st.binary())
@example(head=JPEG, tail=END)
def test_any_bytes_are_refused_or_decoded_to_the_size_they_say(head, tail):
    for data in (head + tail, head + tail + END):
        result = outcome(decode_file, data)
        assert result.isprintable() if isinstance(result, str) else result.dtype == np.uint8


@several
@given(
    file=st.sampled_from([JPEG, PROGRESSIVE, PNG]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.floats(0, 1, exclude_max=True),
    length=st.integers(0, 20),
)
def test_a_picture_with_some_bytes_changed_and_cut_out_is_refused_or_has_the_size_it_says(file, changes, cut, length):
    data = bytearray(file)
    for place, value in changes:
        data[int(place * len(data))] = value
    start = int(cut * len(data))
    del data[start : start + length]
    result = outcome(decode_file, bytes(data))
    assert result.isprintable() if isinstance(result, str) else result.dtype == np.uint8
