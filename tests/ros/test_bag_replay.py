"""A bag played over real DDS: the same bytes, under the right stamps, at the right times."""

from __future__ import annotations

import time
from itertools import pairwise

import cv2
import numpy as np
import pytest
from bag_of_frames import FRAME_ID, STEP, drive, picture, stamp, stamped, write_bag
from bag_writing import TYPES, camera_info, image
from camera_rig import TIMEOUT
from rclpy.qos import QoSProfile
from replay_stage import Stage
from rosbags.rosbag2 import Reader
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from densemtl_core.errors import InputError

QOS = QoSProfile(depth=50)


class Theatre(Stage):
    """A stage whose audience notes when each message came."""

    def play(self, source, **parameters):
        return super().play(source=str(source), **parameters)

    def hear(self, kind, topic, raw=False):
        heard = []
        self.audience.create_subscription(
            kind, topic, lambda message: heard.append((time.monotonic(), message)), QOS, raw=raw
        )
        return heard


@pytest.fixture
def theatre():
    theatre = Theatre(TIMEOUT)
    yield theatre
    theatre.close()


def recorded(path, topic):
    with Reader(path) as reader:
        wanted = [c for c in reader.connections if c.topic == topic]
        return [bytes(raw) for _, _, raw in reader.messages(wanted)]


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_kept_stamps_are_the_recorded_bytes(theatre, tmp_path):
    path = drive(tmp_path / "bag")
    images, infos = theatre.hear(Image, "image", raw=True), theatre.hear(CameraInfo, "camera_info", raw=True)
    node = theatre.play(path, keep_stamps=True)
    theatre.until(lambda: node.finished and len(images) == len(infos) == 4, "four frames")
    assert [bytes(m) for _, m in images] == recorded(path, "/front/image_raw")
    assert [bytes(m) for _, m in infos] == recorded(path, "/front/camera_info")


def test_new_stamps_are_of_now_and_nothing_else_changes(theatre, tmp_path):
    path = drive(tmp_path / "bag")
    images, infos = theatre.hear(Image, "image"), theatre.hear(CameraInfo, "camera_info")
    node = theatre.play(path)
    theatre.until(lambda: node.finished and len(images) == len(infos) == 4, "four frames")
    for number, ((_, message), (_, info)) in enumerate(zip(images, infos, strict=True)):
        assert message.header == info.header
        assert message.header.frame_id == FRAME_ID
        assert abs(stamp_of(message) - time.time_ns()) < TIMEOUT * 1e9
        assert (np.array(message.data).reshape(6, 8, 3) == picture(number)).all()
        assert info.k[0] == 40
    assert all(a < b for a, b in pairwise(stamp_of(m) for _, m in images))


def test_compressed_messages_go_out_as_they_are_and_decoded_for_who_listens(theatre, tmp_path):
    path = drive(tmp_path / "bag", packed=True)
    packed, plain = theatre.hear(CompressedImage, "image/compressed", raw=True), theatre.hear(Image, "image")
    node = theatre.play(path, keep_stamps=True, wait_for_subscribers=2)
    theatre.until(lambda: node.finished and len(packed) == len(plain) == 4, "four frames in both forms")
    assert [bytes(m) for _, m in packed] == recorded(path, "/front/image_raw/compressed")
    for number, (_, message) in enumerate(plain):
        assert (stamp_of(message), message.header.frame_id, message.encoding) == (stamp(number), FRAME_ID, "rgb8")
        assert (np.array(message.data).reshape(6, 8, 3) == picture(number)).all()


def test_a_corrupt_picture_goes_out_compressed_only(theatre, tmp_path):
    messages = []
    for number in range(3):
        good, data = cv2.imencode(".jpg", picture(number, (16, 16)))
        assert good
        data = data.ravel()[: 40 if number == 1 else None]
        kind = TYPES.types["sensor_msgs/msg/CompressedImage"]
        message = stamped(kind(header=None, format="jpeg", data=data), stamp(number))
        messages.append(("/c/image/compressed", stamp(number), message))
    path = write_bag(tmp_path / "bag", messages)
    packed, plain = theatre.hear(CompressedImage, "image/compressed"), theatre.hear(Image, "image")
    node = theatre.play(path, keep_stamps=True, wait_for_subscribers=2)
    theatre.until(lambda: node.finished and len(packed) == 3 and len(plain) == 2, "three packed, two plain")
    assert [stamp_of(m) for _, m in plain] == [stamp(0), stamp(2)]


def test_recorded_times_are_kept(theatre, tmp_path):
    gaps = [0.1, 0.5, 0.1, 0.5]
    times = [10**9 + int(1e9 * sum(gaps[:n])) for n in range(5)]
    path = write_bag(tmp_path / "bag", [("/c/image", at, stamped(image(picture(0)), at)) for at in times])
    heard = theatre.hear(Image, "image")
    theatre.play(path)
    theatre.until(lambda: len(heard) == 5, "five frames")
    # The time of publishing, which a busy listener does not blur.
    told = np.diff([stamp_of(m) for _, m in heard]) / 1e9
    assert told == pytest.approx(gaps, abs=0.15)


def test_a_rate_and_loop(theatre, tmp_path):
    heard = theatre.hear(Image, "image")
    node = theatre.play(drive(tmp_path / "bag", 3), rate=50, loop=True)
    theatre.until(lambda: len(heard) >= 8, "more than two passes")
    assert [int(m.data[0]) for _, m in heard[:8]] == [int(picture(n % 3)[0, 0, 0]) for n in range(8)]
    assert np.median(np.diff([stamp_of(m) for _, m in heard])) == pytest.approx(0.02e9, rel=0.3)
    assert not node.finished


def test_the_clock_follows_the_bag(theatre, tmp_path):
    path = drive(tmp_path / "bag", 3)
    heard, images = theatre.hear(Clock, "/clock"), theatre.hear(Image, "image")
    node = theatre.play(path, keep_stamps=True, clock=True, loop=True)
    theatre.until(lambda: node.published >= 5 and len(images) >= 5, "a second pass")
    times = np.array([m.clock.sec * 10**9 + m.clock.nanosec for _, m in heard])
    assert times[0] == stamp(0) + 3_000_000, "the time of recording of the first frame"
    steps = np.diff(times)
    back = np.flatnonzero(steps < 0)
    assert len(back), "the bag has begun again"
    assert (times[back + 1] == times[0]).all(), "it goes back there, and nowhere else"
    assert (times[back] - times[0] > 1.9 * STEP).all()
    assert (steps >= 0).sum() > 5, "it goes on between frames"


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"topic": "/nothing"}, "topic /nothing is not there"),
        ({"width": 64}, "width is 64, but a bag is played as it was recorded"),
        ({"clock": True}, "set keep_stamps:=true"),
        ({"source": "street", "keep_stamps": True}, "keep_stamps is set, but source 'street' is no bag"),
        ({"source": "street", "topic": "/a"}, "topic is '/a', but source 'street' is no bag"),
    ],
    ids=str,
)
def test_bad_parameter_is_one_line(theatre, tmp_path, parameters, text):
    path = drive(tmp_path / "bag", 1)
    with pytest.raises(InputError, match=text) as error:
        theatre.play(**{"source": path, **parameters})
    assert "\n" not in str(error.value)


def test_without_camera_info_none_is_invented(theatre, tmp_path):
    at = stamp(0)
    path = write_bag(tmp_path / "bag", [("/c/image", at, stamped(image(picture(0)), at))])
    images = theatre.hear(Image, "image")
    theatre.play(path)
    theatre.until(lambda: images, "the image")
    assert theatre.audience.count_publishers("/stage/camera_info") == 0


def test_camera_info_gets_the_images_stamp(theatre, tmp_path):
    """Recorded at another rate than the images, one goes out with each image all the same."""
    frames = [("/c/image", stamp(n), stamped(image(picture(n)), stamp(n))) for n in range(3)]
    info = ("/c/camera_info", stamp(0) - 5, stamped(camera_info(), stamp(0) - 5))
    infos = theatre.hear(CameraInfo, "camera_info")
    theatre.play(write_bag(tmp_path / "bag", [info, *frames]), keep_stamps=True, wait_for_subscribers=0)
    theatre.until(lambda: infos and stamp_of(infos[-1][1]) == stamp(2), "the last camera_info")
