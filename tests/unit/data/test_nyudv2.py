"""NYUDv2 from a tiny room in its native layout, at the native size since that decides the camera."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from native_layouts import KINECT, room_normals, write_image, write_nyudv2

from densemtl_core.data.nyudv2 import Nyudv2
from densemtl_core.errors import InputError

H, W = 480, 640


@pytest.fixture(scope="module")
def normals():
    return room_normals()


@pytest.fixture
def root(tmp_path):
    return write_nyudv2(tmp_path)


def test_exact_values(root):
    sample = Nyudv2(root=root)[1]
    assert sample.name == "NYUDv2/train/0002"
    semantic, depth, edges = (sample.labels[n] for n in ("semantic", "depth", "edges"))
    assert [semantic[y, x].item() for y, x in ((100, 100), (450, 100), (5, 5), (0, 9))] == [0, 1, 39, 255]
    assert depth[0, 7, 7].isnan()
    assert depth[0, 260, 100].item() == pytest.approx(4.0)
    assert (edges[0, 400] == 1).all()
    assert edges.sum() == W
    torch.testing.assert_close(sample.intrinsics, KINECT)


def test_normals_come_out_in_the_optical_frame(root, normals):
    data = Nyudv2(root=root)
    assert data.normal_axes == ("+x", "-z", "+y")
    found = data[0].labels["normals"]
    both = found.isfinite() & normals.isfinite()
    assert both.float().mean() > 0.98
    torch.testing.assert_close(found[both], normals[both], rtol=0, atol=0.01)
    length = found.norm(dim=0)
    torch.testing.assert_close(length[length.isfinite()], torch.ones_like(length[length.isfinite()]))


def test_given_axes_need_no_depth(root):
    for file in (root / "depth").iterdir():
        file.unlink()
    sample = Nyudv2(root=root, labels=("normals",), normal_axes=("+x", "-z", "+y"))[0]
    assert sample.labels["normals"][2, 260, 100] == pytest.approx(-1, abs=0.01)
    with pytest.raises(InputError, match="2 of 2 depth files are missing"):
        Nyudv2(root=root, labels=("normals",))
    with pytest.raises(InputError, match="normal_axes"):
        Nyudv2(root=root, labels=("normals",), normal_axes=("+x", "-x", "+y"))


def test_normals_of_other_images_are_refused(root):
    noise = np.random.default_rng(0).normal(size=(H, W, 3))
    noise /= np.linalg.norm(noise, axis=-1, keepdims=True)
    for file in (root / "normals").iterdir():
        write_image(file, np.round((noise + 1) / 2 * 255).astype(np.uint8))
    with pytest.raises(InputError, match="disagree with the depth"):
        Nyudv2(root=root)


def test_splits_and_sizes(root):
    assert [len(Nyudv2(root=root, split=s, labels=("semantic",))) for s in ("train", "val")] == [2, 1]
    small = np.zeros((425, 560, 3), np.uint8)
    write_image(root / "images/0003.png", small)
    cut = Nyudv2(root=root, split="val", labels=())[0].intrinsics
    assert cut[:2, 2].tolist() == pytest.approx([325.582449 - 40, 253.736166 - 45])
    write_image(root / "images/0003.png", small[:100])
    assert Nyudv2(root=root, split="val", labels=())[0].intrinsics is None
    with pytest.raises(InputError, match="its camera is unknown"):
        Nyudv2(root=root, split="val")


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("gt_sets/train.txt", r"looked for the split list .*gt_sets/train\.txt"),
        ("segmentation/0002.png", "1 of 2 semantic files are missing"),
        ("images/0001.png", "1 of 2 image files are missing"),
        ("edge/0001.png", "1 of 2 edges files are missing"),
    ],
)
def test_a_half_unpacked_tree_says_what_is_missing(root, gone, told):
    (root / gone).unlink()
    with pytest.raises(InputError, match=told):
        Nyudv2(root=root)


def test_missing_root_and_unknown_split(tmp_path):
    with pytest.raises(InputError, match=r"looked for the folder .*nowhere"):
        Nyudv2(root=tmp_path / "nowhere")
    with pytest.raises(InputError, match="split 'test'"):
        Nyudv2(root=tmp_path, split="test")


def test_bad_files_name_themselves(root):
    write_image(root / "segmentation/0001.png", np.full((H, W), 41, np.uint8))
    with pytest.raises(InputError, match=r"0001\.png: class id 41"):
        Nyudv2(root=root, labels=("semantic",))[0]
    (root / "depth/0001.npy").write_bytes(b"\x93NUMPY garbage")
    with pytest.raises(InputError, match=r"0001\.npy: not a readable array") as error:
        Nyudv2(root=root, labels=("depth",))[0]
    assert "\n" not in str(error.value)
    np.save(root / "depth/0001.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"0001\.npy: not a readable array"):
        Nyudv2(root=root, labels=("depth",))[0]
    np.save(root / "depth/0001.npy", np.zeros((2, 3, 4)))
    with pytest.raises(InputError, match=r"0001\.npy: expected depth"):
        Nyudv2(root=root, labels=("depth",))[0]
