"""KITTI drives: tiny ones, and the real ones where they lie beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from native_layouts import write_kitti

from densemtl_core.data.kitti import Kitti
from densemtl_core.errors import InputError

SHARED = Path(__file__).resolve().parents[3] / "../shared/data"


@pytest.fixture
def root(tmp_path):
    return write_kitti(tmp_path)


def test_exact_values(root):
    sample = Kitti(root=root)[2]
    assert sample.image[0, 0, 0].item() == pytest.approx(2 / 255)
    depth = sample.labels["depth"]
    assert depth[0, 3, 4].item() == 12.25
    assert int(depth.isfinite().sum()) == 1
    assert sample.intrinsics.tolist() == [[7, 0, 4], [0, 7.5, 3], [0, 0, 1]]


def test_the_split_cuts_the_drive_once(root):
    train, val = Kitti(root=root, split="train", frames=(-1, 1)), Kitti(root=root, split="val", frames=(1,))
    assert train.items == [1, 2, 3, 4, 5, 6]
    assert val.items == [8]


def test_poses_map_points_between_frames(root):
    # camera to world, driving 1.5 m a frame along z
    (root / "poses.txt").write_text("\n".join(f"1 0 0 0 0 1 0 0 0 0 1 {1.5 * n}" for n in range(10)))
    sample = Kitti(root=root, frames=(-1, 1))[3]
    torch.testing.assert_close(sample.labels["pose+1"] @ torch.tensor([0, 0, 10.0, 1]), torch.tensor([0, 0, 8.5, 1]))
    assert sample.labels["pose-1"][2, 3] == 1.5
    assert sample.labels["image-1"][0, 0, 0].item() == pytest.approx(3 / 255)
    (root / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(InputError, match="has 1 poses for 10 images"):
        Kitti(root=root)
    (root / "poses.txt").write_text("1 0 0 x\n")
    with pytest.raises(InputError, match=r"poses\.txt: expected 12 numbers"):
        Kitti(root=root)


@pytest.mark.parametrize(
    "text", ["P0: 7 0 4 0 0 7.5 3 0 0 0 1 0", "7 0 4 0 0 7.5 3 0 0 0 1 0\n9 0 4 0 0 9 3 0 0 0 1 0"]
)
def test_calibrations_of_the_odometry_benchmark(root, text):
    (root / "calib.txt").write_text(text)
    assert Kitti(root=root)[0].intrinsics.tolist() == [[7, 0, 4], [0, 7.5, 3], [0, 0, 1]]


def test_errors(root):
    (root / "calib.txt").write_text("nothing: here\n")
    with pytest.raises(InputError, match=r"calib\.txt: no row K"):
        Kitti(root=root)
    (root / "calib.txt").unlink()
    with pytest.raises(InputError, match=r"1 of 1 calibration files are missing, first .*calib\.txt"):
        Kitti(root=root)
    with pytest.raises(InputError, match="looked for image_02/data"):
        Kitti(root=root / "nowhere")
    with pytest.raises(InputError, match="split 'test'"):
        Kitti(root=root, split="test")
    (root / "calib.txt").write_text("K: 7 0 4 0 7.5 3 0 0 1")
    with pytest.raises(InputError, match="with all of its neighbours"):
        Kitti(root=root, frames=(20,))
    (root / "sparse_depth/0000000004.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"0000000004\.png: not a readable image \(the PNG ends early\)"):
        Kitti(root=root)[4]
    (root / "sparse_depth/0000000004.png").unlink()
    with pytest.raises(InputError, match="1 of 10 depth files are missing"):
        Kitti(root=root)
    assert Kitti(root=root, labels=())[4].labels == {}


@pytest.mark.skipif(not (SHARED / "kitti_highway_seq").is_dir(), reason="the KITTI drive in ../shared/data is absent")
def test_the_real_colour_drive():
    data = Kitti(root=SHARED / "kitti_highway_seq", frames=(1,))
    assert len(data) == 77
    sample = data[10]
    assert sample.image.shape == (3, 375, 1242)
    depth = sample.labels["depth"]
    known = depth[depth.isfinite()]
    assert 0.005 < len(known) / depth.numel() < 0.2
    assert known.min() > 1
    assert known.max() < 120
    # LiDAR stands 1.7 m above the road: where it hits close in front, the point is about that far below the camera
    rows, columns = depth[0, 340:, 500:700].isfinite().nonzero(as_tuple=True)
    below = depth[0, 340:, 500:700][rows, columns] * (rows + 340 - sample.intrinsics[1, 2]) / sample.intrinsics[1, 1]
    assert below.median().item() == pytest.approx(1.65, abs=0.15)


@pytest.mark.skipif(not (SHARED / "kitti_odom_grey_1").is_dir(), reason="the grey drive in ../shared/data is absent")
def test_the_real_grey_drive_has_poses():
    data = Kitti(root=SHARED / "kitti_odom_grey_1", labels=(), frames=(-1, 1))
    assert len(data) == 49
    forward = torch.stack([data[k].labels["pose+1"][:3, 3] for k in (0, 24, 48)])
    assert (forward[:, 2] < -0.3).all(), "driving forward, points come nearer"
    assert data[0].intrinsics[0, 0].item() == pytest.approx(707.0912)
