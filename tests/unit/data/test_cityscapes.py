"""Cityscapes from a tiny tree in its native layout, and from real crops where they lie beside the repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from native_layouts import cityscapes_camera, write_cityscapes, write_image

from densemtl_core.data.cityscapes import Cityscapes
from densemtl_core.data.derived_labels import EdgeRule
from densemtl_core.errors import InputError

H, W = 16, 32
CROPS = Path(__file__).resolve().parents[3] / "../shared/data/mmseg_fixtures/pseudo_cityscapes_dataset"


@pytest.fixture
def root(tmp_path):
    return write_cityscapes(tmp_path, H, W)


def test_exact_values(root):
    sample = Cityscapes(root=root, labels=("semantic", "depth", "normals", "edges"))[0]
    assert sample.name == "Cityscapes/train/aachen_000003_000019"
    semantic, depth = sample.labels["semantic"], sample.labels["depth"]
    assert [semantic[y, x].item() for y, x in ((8, 8), (0, 0), (5, 6), (15, 0))] == [0, 10, 13, 255]
    assert depth[0, 8, 8].item() == pytest.approx(0.25 * 40 / 2)
    assert depth[0, :2].isnan().all()
    assert sample.intrinsics.tolist() == [[40, 0, 15], [0, 41, 8], [0, 0, 1]]
    torch.testing.assert_close(sample.labels["normals"][:, 8, 8], torch.tensor([0.0, 0.0, -1.0]), atol=1e-4, rtol=0)
    assert sample.labels["edges"][0, 3, 20] == 1
    assert sample.labels["edges"][0, 15].isnan().all()


def test_official_splits(root):
    assert [len(Cityscapes(root=root, split=s)) for s in ("train", "val")] == [2, 1]
    with pytest.raises(InputError, match=r"looked for the folder .*leftImg8bit/test"):
        Cityscapes(root=root, split="test")
    with pytest.raises(InputError, match="split 'dev'"):
        Cityscapes(root=root, split="dev")


def test_neighbours_come_from_the_sequence(root):
    sample = Cityscapes(root=root, labels=(), frames=(-1, 1))[0]
    pictures = (sample.labels["image-1"], sample.image, sample.labels["image+1"])
    assert [round(x[0, 0, 0].item() * 255) for x in pictures] == [18, 19, 20]
    with pytest.raises(InputError, match=r"2 of 2 sequence files are missing, first .*aachen_000003_000021_left"):
        Cityscapes(root=root, labels=(), frames=(2,))


def test_edges_from_stereo_only_if_asked(root):
    shutil.rmtree(root / "disparity")
    assert "edges" in Cityscapes(root=root, labels=("edges",))[0].labels
    with pytest.raises(InputError, match="disparity"):
        Cityscapes(root=root, labels=("edges",), edges=EdgeRule())


def test_without_intrinsics_no_camera_file_is_needed(root):
    shutil.rmtree(root / "camera")
    sample = Cityscapes(root=root, labels=("semantic",), intrinsics=False, class_list="cityscapes16")[0]
    assert sample.intrinsics is None
    assert sample.labels["semantic"][5, 6] == 12
    with pytest.raises(InputError, match=r"2 of 2 camera files are missing, first .*aachen_000003_000019_camera\.json"):
        Cityscapes(root=root, labels=("semantic",))


def test_resized_files_with_the_original_camera(root):
    for file in (root / "camera/train").rglob("*.json"):
        file.write_text(cityscapes_camera(fx=2262.52, fy=2265.30, u0=1096.98, v0=513.137))
    with pytest.raises(InputError, match=r"centre \(1097, 513\) lies outside the 32x16 image; give camera_size"):
        Cityscapes(root=root)[0]
    sample = Cityscapes(root=root, camera_size=(1024, 2048))[0]
    assert sample.intrinsics[0, 0].item() == pytest.approx(2262.52 / 64)
    assert sample.intrinsics[0, 2].item() == pytest.approx((1096.98 + 0.5) / 64 - 0.5)
    # disparity stays in pixels of the original, so its depth uses the original focal length
    assert sample.labels["depth"][0, 8, 8].item() == pytest.approx(0.25 * 2262.52 / 2)


@pytest.mark.parametrize("text", ["{", "{}", '{"intrinsic": {"fx": 1}, "extrinsic": {}}', "[]"])
def test_a_broken_camera_file_names_itself(root, text):
    (root / "camera/train/aachen/aachen_000003_000019_camera.json").write_text(text)
    with pytest.raises(InputError, match=r"aachen_000003_000019_camera\.json: not a Cityscapes camera file") as error:
        Cityscapes(root=root)[0]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("gone", "told"),
    [("gtFine", "2 of 2 semantic"), ("disparity", "2 of 2 depth"), ("leftImg8bit", "looked for the folder")],
)
def test_a_half_unpacked_tree_says_what_is_missing(root, gone, told):
    shutil.rmtree(root / gone)
    with pytest.raises(InputError, match=told):
        Cityscapes(root=root)


def test_bad_label_files_name_themselves(root):
    file = root / "gtFine/train/aachen/aachen_000003_000019_gtFine_labelIds.png"
    write_image(file, np.full((H, W), 255, np.uint8))
    with pytest.raises(InputError, match=r"labelIds\.png: class id 255"):
        Cityscapes(root=root)[0]
    write_image(file, np.full((H, W, 3), 7, np.uint8))
    with pytest.raises(InputError, match=r"labelIds\.png: expected one channel"):
        Cityscapes(root=root)[0]
    write_image(file, np.full((H, W - 1), 7, np.uint8))
    with pytest.raises(InputError, match="semantic is 31x16 pixels but the image 32x16"):
        Cityscapes(root=root)[0]
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"labelIds\.png: not a readable image \(the file is empty"):
        Cityscapes(root=root)[0]


@pytest.mark.skipif(not CROPS.is_dir(), reason="the real Cityscapes crops in ../shared/data are absent")
def test_real_crops():
    data = Cityscapes(root=CROPS, split="val", labels=("semantic",), intrinsics=False)
    sample = data[0]
    train_ids = cv2.imread(str(next(CROPS.rglob("*labelTrainIds.png"))), cv2.IMREAD_UNCHANGED)
    # the crops' two label files were resampled apart from each other, so a few boundary pixels differ
    assert (sample.labels["semantic"].numpy() == train_ids).mean() > 0.995
