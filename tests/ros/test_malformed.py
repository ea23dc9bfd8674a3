"""Frames that are wrong: each is counted under its reason, reported, and harms nothing after it."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from camera_rig import RELIABLE, as_array, picture
from fake_predictor import FakePredictor, expected
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, RegionOfInterest

SECOND = 1_000_000_000


def good_frame_is_right(rig, seed=0, stamp=None):
    """Send a good frame; it must come back computed, whatever went before."""
    image = picture(seed=seed)
    before = len(rig.received["depth/image"])
    message = rig.message(image, stamp=stamp)
    rig.camera.publish(message)

    def answers():
        # A frame sent earlier may still be on its way out and come first.
        return [m for m in rig.received["depth/image"][before:] if m.header == message.header]

    rig.until(answers, "the good frame's depth")
    (got,) = answers()
    np.testing.assert_array_equal(as_array(got), expected(image)["depth"])


def short(m):
    m.data = m.data[:-1]


def empty(m):
    m.data = array.array("B")


def with_fields(**fields):
    def change(m):
        for name, value in fields.items():
            setattr(m, name, value)

    return change


def missing(rows):
    """Without the last rows of its data."""

    def change(m):
        m.data = m.data[: len(m.data) - rows * m.step]

    return change


def both(*changes):
    def change(m):
        for one in changes:
            one(m)

    return change


# Changes to a good 64 x 48 rgb8 frame, and the reason; the whole table is in tests/unit/ros/test_malformed_frames.py.
MALFORMED = {
    "data shorter than height x step": (short, "data_short"),
    "no data": (empty, "data_short"),
    "last row missing": (missing(1), "data_short"),
    "rows padded in step alone": (with_fields(step=256), "data_short"),
    "step as large as it goes": (with_fields(step=2**32 - 1), "data_short"),
    "16 bit with 8 bit of data": (with_fields(encoding="rgb16", step=384), "data_short"),
    "nv12 without colours": (both(with_fields(encoding="nv12"), missing(1)), "data_short"),
    "step zero": (with_fields(step=0), "step"),
    "step too small": (with_fields(step=64 * 3 - 1), "step"),
    "step of 8 bit for big-endian 16": (with_fields(encoding="bgr16", is_bigendian=1), "step"),
    "unknown encoding": (with_fields(encoding="h264"), "encoding"),
    "no encoding": (with_fields(encoding=""), "encoding"),
    "endless encoding": (with_fields(encoding="x" * 100_000), "encoding"),
    "encoding that writes to a terminal": (with_fields(encoding="rgb8\n\x1b[2J"), "encoding"),
    "a depth image": (with_fields(encoding="16UC1"), "encoding"),
    "zero width": (with_fields(width=0), "size_zero"),
    "zero height": (with_fields(height=0), "size_zero"),
    "huge": (with_fields(width=2**32 - 1, height=2**32 - 1), "size_huge"),
    "pixels that are zero in 32 bit": (with_fields(width=2**16, height=2**16), "size_huge"),
    "endlessly high": (with_fields(width=1, height=2**32 - 1), "size_huge"),
    "odd width in 4:2:2": (with_fields(encoding="uyvy", width=63), "size_odd"),
    "odd height in 4:2:0": (with_fields(encoding="nv12", height=47), "size_odd"),
    "mosaic of one cell": (with_fields(encoding="bayer_rggb8", width=2, height=2), "size_small"),
}


def test_every_malformed_frame_is_counted_and_the_next_good_one_is_right(start_rig):
    rig = start_rig()
    rig.activate("depth/image")
    good_frame_is_right(rig)
    counts: dict[str, int] = {}
    for number, (case, (spoil, reason)) in enumerate(MALFORMED.items(), 1):
        message = rig.message(picture())
        spoil(message)
        rig.camera.publish(message)
        counts[reason] = counts.get(reason, 0) + 1
        rig.until(lambda n=number: rig.count("rejected") == n, case)
        assert {k: v for k, v in rig.values().items() if k.startswith("rejected.")} == {
            f"rejected.{name}": str(count) for name, count in counts.items()
        }, case
        good_frame_is_right(rig, seed=number)
    assert len(rig.received["depth/image"]) == len(MALFORMED) + 1, "nothing may be published for a rejected frame"
    report = rig.node.diagnose()
    assert report.level == 1
    assert "data_short 7" in report.message
    # The same reaches a person through /diagnostics.
    rig.until(lambda: any("data_short 7" in s.message and s.level == b"\1" for s in rig.statuses), "the warning status")


def test_bytes_that_are_no_message_harm_nothing(start_rig):
    rig = start_rig()
    rig.activate("depth/image")
    good = serialize_message(rig.message(picture()))
    for garbage in (b"\0\1\0\0", good[: len(good) // 2], good[:4] + b"\xff" * 100, b"\0\1\0\0" + b"\x7f" * len(good)):
        rig.camera.publish(garbage)
    unreadable = good.replace(b"rgb8", b"\xff\xfe\xfd8")  # a name that is not UTF-8
    rig.camera.publish(unreadable)
    rig.until(lambda: rig.count("rejected.encoding") == 1, "the unreadable name")
    good_frame_is_right(rig)


@pytest.mark.parametrize("padding", [1, 64])
def test_padded_rows_and_a_big_endian_flag_on_8_bit_are_understood(start_rig, padding):
    rig = start_rig()
    rig.activate("depth/image")
    image = picture()
    message = rig.message(np.pad(image.reshape(48, -1), ((0, 0), (0, padding))), "rgb8")
    message.width, message.is_bigendian = 64, 1
    rig.camera.publish(message)
    rig.until(lambda: rig.received["depth/image"], "depth")
    np.testing.assert_array_equal(as_array(rig.received["depth/image"][0]), expected(image)["depth"])


def test_odd_stamps_are_counted_and_the_frames_used(start_rig):
    rig = start_rig()
    rig.activate("depth/image")
    now = rig.tester.get_clock().now().nanoseconds
    good_frame_is_right(rig, 0, stamp=now)
    good_frame_is_right(rig, 1, stamp=now + 3600 * SECOND)
    good_frame_is_right(rig, 2, stamp=now - 3600 * SECOND)  # a bag that begins again
    good_frame_is_right(rig, 3, stamp=now - 3599 * SECOND)
    good_frame_is_right(rig, 4, stamp=0)
    rig.until(lambda: rig.count("processed") == 5, "all processed")
    assert {key: value for key, value in rig.values().items() if key.startswith("irregular.")} == {
        "irregular.stamp_future": "1",
        "irregular.stamp_back": "1",
        "irregular.stamp_zero": "1",
    }
    assert rig.count("rejected") == 0


def test_nanoseconds_beyond_a_second_are_passed_on_untouched(start_rig):
    rig = start_rig()
    rig.activate("depth/image")
    message = rig.message(picture())
    message.header.stamp.sec, message.header.stamp.nanosec = -5, 4_000_000_000
    rig.camera.publish(message)
    rig.until(lambda: rig.received["depth/image"], "depth")
    assert rig.received["depth/image"][0].header == message.header


def compressed(rig, data: bytes, stamp: int = 42) -> CompressedImage:
    message = CompressedImage(format="png")
    message.header.stamp.sec = stamp
    message.header.frame_id = "camera_optical"
    message.data.frombytes(data)
    return message


IMAGE = picture()
PNG, JPEG = (cv2.imencode(kind, np.ascontiguousarray(IMAGE[..., ::-1]))[1].tobytes() for kind in (".png", ".jpg"))
FRAME, SCAN, END = JPEG.index(b"\xff\xc0"), JPEG.index(b"\xff\xda"), b"\xff\xd9"
COMPRESSED = {
    "no data": (b"", "data_short"),
    "no image at all": (b"no image at all", "encoding"),
    "compressedDepth": (bytes(12) + PNG, "encoding"),
    "jpeg: half": (JPEG[: len(JPEG) // 2], "corrupt"),
    "jpeg: half, then zeros": (JPEG[: len(JPEG) // 2] + bytes(len(JPEG)), "corrupt"),
    "jpeg: no scan": (JPEG[:SCAN] + END, "corrupt"),
    "jpeg: a frame hidden behind FF 00": (JPEG[:2] + b"\xff\0\0\x12" + JPEG[2:], "corrupt"),
    "jpeg: a thousand scans": (JPEG[:-2] + JPEG[SCAN:-2] * 1000 + END, "corrupt"),
    "jpeg: gigapixels": (JPEG[: FRAME + 5] + b"\xff" * 4 + JPEG[FRAME + 9 :], "size_huge"),
    "png: half": (PNG[: len(PNG) // 2], "corrupt"),  # found when it is decoded, in the worker, as the next two are
    "png: check sum": (PNG[:99] + bytes([PNG[99] ^ 1]) + PNG[100:], "corrupt"),
    "png: a chunk of gigabytes": (PNG[:33] + b"\x91\0\x20\0" + PNG[37:], "corrupt"),
    "png: gigapixels": (PNG[:16] + b"\xff" * 8 + PNG[24:], "size_huge"),
}


def test_every_malformed_compressed_frame_is_counted_and_the_next_good_one_is_right(start_rig):
    rig = start_rig(image_transport="compressed")
    rig.tester.destroy_publisher(rig.camera)
    rig.camera = rig.tester.create_publisher(CompressedImage, "image/compressed", RELIABLE)
    rig.activate("depth/image")
    counts: dict[str, int] = {}
    for number, (case, (data, reason)) in enumerate(COMPRESSED.items(), 1):
        rig.camera.publish(compressed(rig, data))
        counts[reason] = counts.get(reason, 0) + 1
        rig.until(lambda n=number: rig.count("rejected") == n, case)
        assert rig.count(f"rejected.{reason}") == counts[reason], case
        rig.camera.publish(compressed(rig, PNG))
        rig.until(lambda n=number: len(rig.received["depth/image"]) == n, f"the good frame after {case}")
        np.testing.assert_array_equal(as_array(rig.received["depth/image"][-1]), expected(IMAGE)["depth"])
    rig.camera.publish(compressed(rig, JPEG))
    rig.until(lambda: len(rig.received["depth/image"]) == len(COMPRESSED) + 1, "the JPEG")
    assert rig.received["depth/image"][-1].header == compressed(rig, JPEG).header


NAN = float("nan")
K = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]
# Fields of a camera_info that describes the 64 x 48 image otherwise.
CONTRADICTING = {
    "of another size": {"width": 32},
    "of no size": {"width": 0, "height": 0},
    "binned to nothing": {"binning_x": 2**32 - 1, "binning_y": 2**32 - 1},
    "region outside": {"roi": RegionOfInterest(x_offset=2**32 - 1, width=64, height=48)},
}
NOT_CALIBRATED = {
    "all zero": {"k": [0.0] * 9},
    "not a number": {"k": [NAN] * 9},
    "infinite": {"k": [float("inf"), *K[1:]]},
    "negative": {"k": [-60.0, *K[1:]]},
}


def test_every_malformed_camera_info_is_told_and_not_used(start_rig):
    predictor = FakePredictor()
    predictor.manifest.tasks["depth"].camera = {"focal": 200.0, "limit": 80.0}
    rig = start_rig(predictor)
    rig.activate("depth/image")
    publisher = rig.tester.create_publisher(CameraInfo, "camera_info", RELIABLE)
    rig.until(publisher.get_subscription_count, "the node subscribes to camera_info")

    def camera_used(frame_id, fields):
        """Send a camera_info and then frames until one meets it; the camera of that frame."""
        publisher.publish(CameraInfo(**({"height": 48, "width": 64, "k": K} | fields)))
        good_frame_is_right(rig, seed=frame_id)
        return predictor.cameras[-1]

    def wait_for(frame_id, fields, wanted, told=0):
        before = rig.count("irregular.camera_info_size")
        rig.until(
            lambda: (
                camera_used(frame_id, fields) == wanted and rig.count("irregular.camera_info_size") >= before + told
            ),
            str(fields),
        )

    for number, (case, fields) in enumerate((CONTRADICTING | NOT_CALIBRATED).items()):
        wait_for(number, {}, K)
        wait_for(number, fields, None, told=case in CONTRADICTING)
    wait_for(99, {}, K)
    assert rig.count("rejected") == rig.count("inference_failures") == 0
    assert rig.state() == "active"


def test_a_failing_predictor_is_reported_and_the_next_good_frame_is_right(start_rig, capfd):
    def fail(image):
        if image.max() == 7:
            raise RuntimeError("the engine\nstumbled")

    rig = start_rig(FakePredictor(before=fail), max_inference_failures=3)
    rig.activate("depth/image")
    bad = np.full((48, 64, 3), 7, np.uint8)
    for number in (1, 2):
        rig.camera.publish(rig.message(bad))
        rig.until(lambda n=number: rig.count("inference_failures") == n, "the failure is counted")
    report = rig.node.diagnose()
    assert (report.level, report.message) == (2, "inference failed 2 times in a row: RuntimeError: the engine stumbled")
    good_frame_is_right(rig)
    rig.until(lambda: rig.node.diagnose().level == 0, "diagnostics recover")
    for number in (3, 4):
        rig.camera.publish(rig.message(bad))
        rig.until(lambda n=number: rig.count("inference_failures") == n, "the failure is counted")
    assert rig.node.exit_code is None, "only failures in a row make the node leave"
    assert rig.state() == "active"
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "frames"), [(RuntimeError("again"), 3), (RuntimeError("CUDA error: an illegal memory access"), 1)]
)
def test_a_broken_engine_makes_the_node_leave_through_the_error_transition(start_rig, error, frames):
    def fail(image):
        raise error

    rig = start_rig(FakePredictor(before=fail), max_inference_failures=3)
    rig.activate("depth/image")
    for number in range(1, frames + 1):
        assert rig.node.exit_code is None
        rig.camera.publish(rig.message(picture()))
        rig.until(lambda n=number: rig.count("inference_failures") == n, "the failure is counted")
    rig.until(lambda: rig.node.exit_code == 1, "the node gives up")
    assert rig.state() == "finalized"
    assert rig.predictor.closed
    rig.until(lambda: any(s.level == b"\2" and str(error) in s.message for s in rig.statuses), "the last error status")
    assert rig.received["depth/image"] == []


def test_a_camera_that_dies_is_reported_and_one_that_returns_is_used(start_rig):
    rig = start_rig(input_timeout=0.5)
    rig.activate("depth/image")
    good_frame_is_right(rig)
    rig.tester.destroy_publisher(rig.camera)
    rig.until(lambda: rig.node.diagnose().level == 2, "the silence is reported")
    assert "no usable frame for" in rig.node.diagnose().message
    assert len(rig.received["depth/image"]) == 1, "an old result must not be repeated"
    rig.camera = rig.tester.create_publisher(type(rig.message(picture())), "image", RELIABLE)
    rig.connect("depth/image")
    good_frame_is_right(rig, seed=1)
    assert rig.node.diagnose().level == 0
