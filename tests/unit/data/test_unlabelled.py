"""A folder of images and a video file: a robot's own footage."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from densemtl_core.data.folder import ImageFolder
from densemtl_core.data.sample import collate
from densemtl_core.data.video import Video
from densemtl_core.errors import InputError

REAL = Path(__file__).resolve().parents[3] / "../shared/data/highway_video/solidWhiteRight.mp4"
K = (500.0, 0, 16, 0, 510, 8, 0, 0, 1)
FRAMES = 60


@pytest.fixture
def images(tmp_path):
    for n in range(5):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.full((8, 10, 3), 10 * n, np.uint8))
    (tmp_path / "readme.txt").write_text("not an image")
    return tmp_path


def value(image: torch.Tensor) -> int:
    return round(image[0].mean().item() * 255)


def test_folder_in_the_order_of_names(images):
    data = ImageFolder(root=images, intrinsics=K)
    assert [value(data[k].image) for k in range(len(data))] == [0, 10, 20, 30, 40]
    assert data[1].name.endswith("1.png")
    assert data[1].labels == {}
    assert data[0].intrinsics.tolist() == [[500, 0, 16], [0, 510, 8], [0, 0, 1]]
    assert ImageFolder(root=images)[0].intrinsics is None


@pytest.mark.parametrize("given", [(500, 510, 16, 8), list(K), [[500, 0, 16], [0, 510, 8], [0, 0, 1]]])
def test_three_ways_to_write_a_camera_down(images, given):
    assert ImageFolder(root=images, intrinsics=given)[0].intrinsics.tolist() == [[500, 0, 16], [0, 510, 8], [0, 0, 1]]


@pytest.mark.parametrize(
    "given",
    [
        (1, 2, 3),
        (),
        5,
        {"fx": 500},
        "500,510,16,8",
        ["500", "510", "16", "8"],
        (0, 510, 16, 8),
        (500, -1, 16, 8),
        (500, 510, float("nan"), 8),
        (float("inf"), 510, 16, 8),
        (500, "wide", 16, 8),
        (500, 510, None, 8),
        (500, 3, 16, 0, 510, 8, 0, 0, 1),
        (500, 0, 16, 0, 510, 8, 0, 0, 2),
        [[500, 0, 16], [0, 510, 8]],
        [[500, 0, 16], [0, 510], [0, 0, 1]],
        [[500, 510], [16, 8]],
        [[500, 0, 16], 510, [0, 0, 1]],
    ],
)
def test_what_is_no_camera_is_refused_in_a_line(images, given):
    with pytest.raises(InputError) as error:
        ImageFolder(root=images, intrinsics=given)
    told = str(error.value)
    assert told.startswith(f"intrinsics {given!r} are no pinhole camera; give fx,fy,cx,cy or ")
    assert "\n" not in told


def test_folder_with_neighbours(images):
    data = ImageFolder(root=images, frames=(-1, 2))
    assert len(data) == 2
    assert [value(data[0].labels["image-1"]), value(data[0].image), value(data[0].labels["image+2"])] == [0, 10, 30]


def test_folder_errors(images, tmp_path):
    with pytest.raises(InputError, match="image folder: looked for the folder"):
        ImageFolder(root=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there are none"):
        ImageFolder(root=tmp_path / "empty")
    with pytest.raises(InputError, match="too few"):
        ImageFolder(root=images, frames=(9,))
    with pytest.raises(InputError, match="camera_info"):
        ImageFolder(root=images, intrinsics=(1, 2, 3))
    (images / "3.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"3\.png: not a readable image"):
        ImageFolder(root=images)[3]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Frame n is grey of brightness 4 n."""
    path = tmp_path_factory.mktemp("film") / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (32, 16))
    assert writer.isOpened()
    for n in range(FRAMES):
        writer.write(np.full((16, 32, 3), 4 * n, np.uint8))
    writer.release()
    return path


def test_video_in_order_and_at_random(film):
    data = Video(root=film, intrinsics=K)
    assert len(data) == FRAMES
    for k in [*range(5), 40, 3, 59, 0, 20, 21, 19, 58]:
        assert value(data[k].image) == pytest.approx(4 * k, abs=2)
    assert data[7].name.endswith("film.avi#7")
    assert data[0].intrinsics[0, 0] == 500


def test_video_stride_and_neighbours(film):
    data = Video(root=film, stride=10, frames=(-1, 1))
    assert len(data) == 4
    sample = data[1]
    assert value(sample.image) == pytest.approx(80, abs=2)
    assert value(sample.labels["image-1"]) == pytest.approx(40, abs=2)
    assert value(sample.labels["image+1"]) == pytest.approx(120, abs=2)


def test_video_in_loader_processes(film):
    data = Video(root=film)
    data[5]  # the parent's decoder is open before the processes start
    loader = torch.utils.data.DataLoader(data, batch_size=8, num_workers=2, collate_fn=collate)
    found = [round(x) for batch in loader for x in (batch.image[:, 0].mean((1, 2)) * 255).tolist()]
    assert found == pytest.approx([4 * k for k in range(FRAMES)], abs=2)
    assert value(deepcopy(data)[9].image) == pytest.approx(36, abs=2)


def test_video_errors(film, tmp_path):
    with pytest.raises(InputError, match="video: looked for the file"):
        Video(root=tmp_path / "gone.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"text\.mp4 has no readable frames"):
        Video(root=tmp_path / "text.mp4")
    with pytest.raises(InputError, match="stride 0"):
        Video(root=film, stride=0)
    with pytest.raises(InputError, match="too few"):
        Video(root=film, frames=(FRAMES,))


@pytest.mark.skipif(not REAL.is_file(), reason="the dash-cam video in ../shared/data is absent")
def test_jumps_in_a_real_video_land_on_the_right_frame():
    """H.264 with key frames far apart: a jump must show what reading in order shows."""
    data, capture = Video(root=REAL), cv2.VideoCapture(str(REAL))
    assert len(data) == 221
    in_order = []
    while True:
        good, frame = capture.read()
        if not good:
            break
        in_order.append(frame[::8, ::8, ::-1].copy())
    for k in (220, 3, 117, 118, 60):
        shown = (data[k].image[:, ::8, ::8] * 255).round().byte().permute(1, 2, 0).numpy()
        assert np.array_equal(shown, in_order[k])
