"""The replay node over real DDS: what it publishes, at which rate, how it begins and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import cv2
import numpy as np
import pytest
from densemtl_ros.frame_sources import Frame
from densemtl_ros.replay_node import camera_info
from densemtl_ros.transport import transport_environment
from rclpy.qos import QoSProfile, ReliabilityPolicy
from replay_stage import Stage
from sensor_msgs.msg import CameraInfo, Image

from densemtl_core.errors import InputError

TIMEOUT = 20.0
RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture
def folder(tmp_path):
    for number in range(6):
        picture = np.full((36, 64, 3), 10 * number, np.uint8)
        picture[:, :8, 2] = 250  # a red bar: wrong channel order or row length would show
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    return tmp_path


class Theatre(Stage):
    """A stage whose audience keeps images and camera infos."""

    def __init__(self):
        super().__init__(TIMEOUT)
        self.images, self.infos, self.times = [], [], []

    def play(self, folder, **parameters):
        return super().play(**{"source": str(folder), "rate": 50.0, **parameters})

    def watch(self, qos=RELIABLE):
        self.audience.create_subscription(Image, "image", self._on_image, qos)
        self.audience.create_subscription(CameraInfo, "camera_info", self.infos.append, qos)

    def _on_image(self, message):
        self.images.append(message)
        self.times.append(time.monotonic())


@pytest.fixture
def theatre():
    theatre = Theatre()
    yield theatre
    theatre.close()


def pixels(message):
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


def test_smoke(theatre, folder):
    theatre.watch()
    theatre.play(folder)
    theatre.until(lambda: theatre.images, "an image")


def test_every_frame_arrives_exactly_with_its_camera_info(theatre, folder):
    theatre.watch()
    node = theatre.play(folder, frame_id="front_optical", rate=20.0)
    theatre.until(lambda: node.finished and len(theatre.images) == len(theatre.infos) == 6, "six frames")
    for number, (image, info) in enumerate(zip(theatre.images, theatre.infos, strict=True)):
        expected = np.full((36, 64, 3), 10 * number, np.uint8)
        expected[:, :8, 0] = 250
        assert (pixels(image) == expected).all()
        assert (image.encoding, image.step, image.is_bigendian) == ("rgb8", 192, 0)
        assert image.header == info.header
        assert image.header.frame_id == "front_optical"
        assert (info.width, info.height) == (64, 36)
        assert not info.k.any(), "an unknown camera is all zero, which means uncalibrated"
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in theatre.images]
    assert all(a < b for a, b in pairwise(stamps))
    assert abs(stamps[-1] / 1e9 - time.time()) < TIMEOUT


def test_rate_is_kept(theatre, folder):
    theatre.watch()
    theatre.play(folder, rate=25.0, loop=True)
    theatre.until(lambda: len(theatre.images) > 40, "forty frames")
    spacing = np.diff([m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in theatre.images])
    assert np.median(spacing) == pytest.approx(0.04, rel=0.2)


def test_loop_begins_again(theatre, folder):
    theatre.watch()
    node = theatre.play(folder, loop=True)
    theatre.until(lambda: len(theatre.images) > 13, "more than two passes")
    assert [int(pixels(m)[0, -1, 0]) for m in theatre.images[:13]] == [10 * (i % 6) for i in range(13)]
    assert not node.finished


def test_width_scales_the_image(theatre, folder):
    theatre.watch()
    theatre.play(folder, width=32)
    theatre.until(lambda: theatre.images and theatre.infos, "an image")
    assert pixels(theatre.images[0]).shape == (18, 32, 3)
    assert (theatre.infos[0].width, theatre.infos[0].height) == (32, 18)


def test_first_frame_waits_for_a_subscriber(theatre, folder):
    node = theatre.play(folder)
    theatre.until(lambda: node._reader.ready, "frames are read")
    for _ in range(10):
        theatre.executor.spin_once(timeout_sec=0.03)
    assert node.published == 0
    theatre.watch()
    theatre.until(lambda: theatre.images, "an image")
    assert int(pixels(theatre.images[0])[0, -1, 0]) == 0, "the first image heard is the first of the folder"


@pytest.mark.parametrize("parameters", [{"wait_for_subscribers": 0}, {"wait_timeout": 0.05}], ids=["never", "not long"])
def test_playing_to_nobody(theatre, folder, parameters):
    node = theatre.play(folder, **parameters)
    theatre.until(lambda: node.finished, "the end")
    assert node.published == 6


def test_best_effort_is_not_heard_by_who_demands_reliable(theatre, folder):
    theatre.watch(RELIABLE)
    node = theatre.play(folder, reliability="best_effort", wait_for_subscribers=0, loop=True)
    theatre.until(lambda: node.published > 20, "twenty frames")
    assert theatre.images == []
    theatre.watch(BEST_EFFORT)
    theatre.until(lambda: theatre.images, "an image")


def test_whole_number_for_rate(theatre, folder):
    node = theatre.play(folder, rate=40)
    assert node._rate == 40.0


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"source": "/no/such/place"}, "does not exist"),
        ({"rate": -1.0}, "rate: -1.0"),
        ({"rate": "fast"}, "rate: 'fast'"),
        ({"rate": float("nan")}, "rate: nan"),
        ({"rate": True}, "rate: True"),
        ({"width": 3}, "width is 3"),
        ({"width": -5}, "width: -5"),
        ({"loop": "yes"}, "loop: 'yes'"),
        ({"reliability": "perhaps"}, "reliability: 'perhaps'"),
    ],
    ids=str,
)
def test_bad_parameter_is_one_line(theatre, folder, parameters, text):
    with pytest.raises(InputError, match=text) as error:
        theatre.play(folder, **parameters)
    assert "\n" not in str(error.value)


def test_broken_file_among_good_ones_is_skipped(theatre, folder):
    (folder / "3.png").write_bytes(b"broken")
    theatre.watch()
    node = theatre.play(folder)
    theatre.until(lambda: node.finished and len(theatre.images) == 5, "five frames")
    assert [int(pixels(m)[0, -1, 0]) for m in theatre.images] == [0, 10, 20, 40, 50]


def test_camera_info_of_a_known_camera():
    k = np.array([[300.0, 0, 31.5], [0, 310.0, 17.5], [0, 0, 1]])
    info = camera_info(Frame(np.zeros((36, 64, 3), np.uint8), k, 0.0))
    assert (info.k.reshape(3, 3) == k).all()
    assert (info.p.reshape(3, 4)[:, :3] == k).all()
    assert (info.p.reshape(3, 4)[:, 3] == 0).all()
    assert (info.r.reshape(3, 3) == np.eye(3)).all()
    assert info.distortion_model == "plumb_bob"
    assert not any(info.d)


# The process ---------------------------------------------------------------------------------------------------------


def start(*parameters):
    command = [sys.executable, "-m", "densemtl_ros.replay_node", "--ros-args", "-r", "__ns:=/stage"]
    for parameter in parameters:
        command += ["-p", parameter]
    environment = {**os.environ, **transport_environment()}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_process_ends_with_0_after_the_last_frame_which_arrives(theatre, folder):
    theatre.watch()
    process = start(f"source:={folder}", "rate:=30.0")
    theatre.until(lambda: process.poll() is not None, "the process ends")
    theatre.until(lambda: len(theatre.images) == 6, "the last frame")
    out, err = process.communicate()
    assert process.returncode == 0
    assert "played 6 frames" in out + err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signal_ends_the_process_cleanly(theatre, folder, number):
    theatre.watch()
    process = start(f"source:={folder}", "loop:=true")
    theatre.until(lambda: theatre.images, "an image")
    process.send_signal(number)
    process.send_signal(number)  # an impatient second one must not cut the clean-up short
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert "Traceback" not in out + err


@pytest.mark.slow
def test_signal_while_the_street_is_made_ends_the_process_cleanly():
    """Its thread is in PyTorch then: a process that leaves it behind is aborted."""
    process = start("source:=street", "width:=320")
    for line in process.stderr:
        if "making its frames first" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err


def test_bad_source_ends_the_process_with_2_and_one_line(tmp_path):
    process = start(f"source:={tmp_path}")
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 2
    assert (out + err).count("\n") == 1
    assert "holds no image file" in err


@pytest.mark.skipif(
    not any("PROFILES" in name for name in transport_environment()), reason="too little shared memory, or own profile"
)
def test_big_best_effort_images_arrive_with_the_profile(theatre, tmp_path):
    """Without the profile a handful of these 120 arrive: a frame is larger than the default segment."""
    for number in range(10):
        noise = np.random.default_rng(number).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{number}.bmp"), noise)
    theatre.watch(BEST_EFFORT)
    process = start(f"source:={tmp_path}", "rate:=30.0", "loop:=true", "reliability:=best_effort")
    try:
        theatre.until(lambda: len(theatre.images) >= 60, "sixty images")
        stamps = [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in theatre.images]
        sent = 1 + round((stamps[-1] - stamps[0]) * 30)
        assert len(stamps) >= 0.8 * sent, f"{len(stamps)} of about {sent} arrived"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT)
