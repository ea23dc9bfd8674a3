"""Folders, videos and the street as sources of frames, and what a bad one says."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from densemtl_ros.frame_sources import FolderSource, VideoSource, natural_key, open_source, resized
from densemtl_ros.street_source import StreetSource

from densemtl_core.errors import InputError


def write_image(path, value, size=(24, 40)):
    """A picture of one colour whose red is ``value``; PNG keeps it exactly."""
    bgr = np.zeros((*size, 3), np.uint8)
    bgr[..., 2] = value
    assert cv2.imwrite(str(path), bgr)


@pytest.fixture
def folder(tmp_path):
    for number in (10, 9, 1):
        write_image(tmp_path / f"frame_{number}.png", number)
    (tmp_path / "notes.txt").write_text("not an image")
    write_image(tmp_path / ".hidden.png", 200)
    return tmp_path


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    assert writer.isOpened()
    for level in (0, 60, 120, 180, 240):
        writer.write(np.full((48, 64, 3), (0, 0, level), np.uint8))
    writer.release()
    return path


def test_smoke(folder):
    assert len(list(open_source(str(folder)))) == 3


def test_natural_order_puts_9_before_10():
    names = ["b2", "a10.png", "a9.png", "a09.png", "10", "9"]
    assert sorted(names, key=natural_key)[:2] == ["9", "10"]
    assert sorted(["a10", "a9"], key=natural_key) == ["a9", "a10"]


def test_folder_gives_rgb_in_natural_order_with_times(folder):
    frames = list(open_source(str(folder), rate=5.0))
    assert [int(f.rgb[0, 0, 0]) for f in frames] == [1, 9, 10]
    assert all(not f.rgb[..., 1:].any() for f in frames), "red must be the first channel"
    assert [f.seconds for f in frames] == pytest.approx([0.0, 0.2, 0.4])
    assert all(f.rgb.dtype == np.uint8 and f.rgb.flags.c_contiguous and f.intrinsics is None for f in frames)


def test_every_pass_starts_anew(folder):
    source = open_source(str(folder))
    assert [f.rgb[0, 0, 0] for f in source] == [f.rgb[0, 0, 0] for f in source]


def test_unreadable_file_is_skipped_and_named(folder):
    (folder / "frame_5.jpg").write_bytes(b"\xff\xd8 cut off")
    (folder / "frame_6.png").write_bytes(b"")
    source = open_source(str(folder))
    assert [int(f.rgb[0, 0, 0]) for f in source] == [1, 9, 10]
    assert source.skipped == ["frame_5.jpg", "frame_6.png"]
    list(source)
    assert len(source.skipped) == 2, "names of the latest pass only"


def test_one_image_is_a_source(folder):
    source = open_source(str(folder / "frame_9.png"))
    assert isinstance(source, FolderSource)
    assert [int(f.rgb[0, 0, 0]) for f in source] == [9]


def test_video_gives_every_frame_at_its_own_rate(video):
    source = open_source(str(video))
    frames = list(source)
    assert isinstance(source, VideoSource)
    assert source.rate == pytest.approx(20.0)
    assert [f.rgb.shape for f in frames] == [(48, 64, 3)] * 5
    assert [f.seconds for f in frames] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    # JPEG is not exact; the order and the channel are.
    assert np.abs([f.rgb[..., 0].mean() for f in frames] - np.array([0, 60, 120, 180, 240])).max() < 8
    assert max(f.rgb[..., 1:].mean() for f in frames) < 8


def test_width_keeps_the_aspect_and_makes_the_height_even():
    rgb = np.zeros((375, 1242, 3), np.uint8)
    frame = resized(rgb, None, 0.0, 640)
    assert frame.rgb.shape == (194, 640, 3)


def test_resize_moves_intrinsics_with_the_pixels():
    """A point projected before the resize and scaled by hand is the point projected after it."""
    k = np.array([[300.0, 0, 310.0], [0, 305.0, 170.0], [0, 0, 1]])
    frame = resized(np.zeros((360, 640, 3), np.uint8), k, 0.0, 320)
    ray = np.array([0.4, -0.2, 1.0])
    u, v, _ = k @ ray
    u_new, v_new, _ = frame.intrinsics @ ray
    assert (u_new, v_new) == pytest.approx(((u + 0.5) / 2 - 0.5, (v + 0.5) / 2 - 0.5))


def test_width_0_leaves_the_picture_alone():
    rgb = np.zeros((7, 9, 3), np.uint8)
    assert resized(rgb, None, 0.0, 0).rgb is rgb


def empty(path):
    (path / "holiday.txt").write_text("")
    return str(path)


def broken_images(path):
    (path / "a.png").write_bytes(b"no png")
    return str(path)


def broken_video(path):
    (path / "a.mp4").write_bytes(b"no video at all")
    return str(path / "a.mp4")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: str(path / "nowhere"), "does not exist"),
        (lambda path: "", "does not exist"),
        (empty, "holds no image file"),
        (broken_images, "can be decoded"),
        (broken_video, "no frame can be decoded as video"),
    ],
    ids=["missing", "empty name", "no image", "broken images", "broken video"],
)
def test_bad_source_is_one_line(tmp_path, make, text):
    with pytest.raises(InputError, match=text) as error:
        open_source(make(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("width", [-1, 1, 10_000])
def test_width_out_of_range_is_one_line(folder, width):
    with pytest.raises(InputError, match=f"width is {width}"):
        open_source(str(folder), width=width)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_folder_that_may_not_be_read(folder):
    folder.chmod(0)
    try:
        with pytest.raises(InputError, match="cannot be listed"):
            open_source(str(folder))
    finally:
        folder.chmod(0o755)


class CountingWorld:
    """A street world whose frame number is its brightness; counts how many frames are asked of it."""

    def __init__(self, seconds=0.0):
        self.made = 0
        self.asked = []
        self._clock = 0.0
        self.seconds = seconds

    def sequence(self, scene, frames, fps):
        self.asked.append((scene, frames, fps))
        for number in range(frames):
            self.made += 1
            self._clock += self.seconds
            yield SimpleNamespace(
                image=torch.full((3, 4, 6), (number + 0.3) / 255), intrinsics=torch.eye(3) * (number + 1)
            )

    def now(self):
        return self._clock


def test_street_goes_there_and_back_without_a_jump_and_is_made_once():
    world = CountingWorld()
    source = StreetSource(world, scene=7, frames=4, rate=8.0)
    first, second = list(source), list(source)
    assert [int(f.rgb[0, 0, 0]) for f in first] == [0, 1, 2, 3, 2, 1]
    assert [int(f.rgb[0, 0, 0]) for f in second] == [0, 1, 2, 3, 2, 1]
    assert world.asked == [(7, 4, 8.0)]
    assert first[3].intrinsics[0, 0] == 4
    assert [f.seconds for f in first] == pytest.approx([i / 8 for i in range(6)])


def test_street_stops_making_frames_when_its_time_is_over(monkeypatch):
    world = CountingWorld(seconds=3.0)
    monkeypatch.setattr("densemtl_ros.street_source.time.monotonic", world.now)
    source = StreetSource(world, frames=100, budget=10.0)
    source.prepare()
    assert len(source.made) == world.made == 4


def test_street_that_is_cancelled_ends_with_the_frame_in_work():
    source = StreetSource(CountingWorld(), frames=100)
    sequence = source.world.sequence

    def cancelling(*arguments):
        for number, sample in enumerate(sequence(*arguments)):
            if number == 2:
                source.cancel()
            yield sample

    source.world.sequence = cancelling
    source.prepare()
    assert len(source.made) == 3


def test_street_makes_two_frames_whatever_the_budget(monkeypatch):
    world = CountingWorld(seconds=50.0)
    monkeypatch.setattr("densemtl_ros.street_source.time.monotonic", world.now)
    source = StreetSource(world, frames=100, budget=1.0)
    source.prepare()
    assert len(source.made) == 2


def test_the_real_street_has_a_calibrated_camera():
    source = open_source("street", width=64, frames=2)
    frames = list(source)
    assert [f.rgb.shape for f in frames] == [(36, 64, 3)] * 2
    assert frames[0].rgb.std() > 5, "a street is not one colour"
    assert (frames[0].rgb != frames[1].rgb).any(), "the car moves"
    fx, cx = frames[0].intrinsics[0, 0], frames[0].intrinsics[0, 2]
    assert 10 < fx < 300
    assert 20 < cx < 44


def test_street_without_torch_is_one_line():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from densemtl_core.errors import InputError\n"
        "from densemtl_ros.frame_sources import open_source\n"
        "try:\n    open_source('street')\n"
        "except InputError as error:\n    print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "street" in out
    assert "install densemtl-core[eager]" in out
    assert out.count("\n") == 1
