"""SYNTHIA from a tiny tree in its native layout."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from native_layouts import SYNTHIA_COUNT, write_image, write_synthia

from densemtl_core.data.synthia import Synthia, in_val
from densemtl_core.errors import InputError

H, W = 76, 128  # a tenth of the native size


@pytest.fixture
def root(tmp_path):
    return write_synthia(tmp_path, H, W)


def test_exact_values(root):
    data = Synthia(root=root, split="all")
    assert len(data) == SYNTHIA_COUNT
    sample = data[4]
    assert sample.image[:, 0, 0].tolist() == pytest.approx([200 / 255, 4 / 255, 0])
    semantic = sample.labels["semantic"]
    assert [semantic[y, x].item() for y, x in ((50, 50), (2, 2), (5, 7), (6, 8))] == [0, 9, 11, 255]
    assert sample.labels["depth"][0, 50, 50].item() == 4.5
    assert sample.labels["depth"][0, 2, 2] == torch.inf


def test_intrinsics_are_scaled_to_the_files(root):
    K = Synthia(root=root, split="all")[0].intrinsics
    assert K[0, 0].item() == pytest.approx(53.2740352)
    assert [K[0, 2].item(), K[1, 2].item()] == pytest.approx([640.5 / 10 - 0.5, 380.5 / 10 - 0.5])


def test_the_split_is_disjoint_complete_and_fixed(root):
    train, val = Synthia(root=root, split="train"), Synthia(root=root, split="val")
    assert not set(train.items) & set(val.items)
    assert len(train) + len(val) == SYNTHIA_COUNT
    share = sum(in_val(f"{n:07d}.png") for n in range(9400)) / 9400
    assert 0.18 < share < 0.22
    (root / "RGB" / "0000001.png").unlink()
    assert set(Synthia(root=root, split="val").items) == set(val.items) - {"0000001.png"}


def test_single_channel_labels_and_the_flat_depth_folder(root):
    label = np.full((H, W), 10, np.uint8)
    for file in (root / "GT/LABELS").iterdir():
        write_image(file, label)
    shutil.move(root / "Depth/Depth", root / "Flat")
    shutil.rmtree(root / "Depth")
    shutil.move(root / "Flat", root / "Depth")
    sample = Synthia(root=root, split="all", class_list="cityscapes13")[0]
    assert sample.labels["semantic"].unique().tolist() == [7]
    assert sample.labels["depth"][0, 50, 50] == 4.5


@pytest.mark.parametrize(
    ("gone", "told"), [("GT", "12 of 12 semantic"), ("Depth", "12 of 12 depth"), ("RGB", "looked for the folder .*RGB")]
)
def test_a_half_unpacked_tree_says_what_is_missing(root, gone, told):
    shutil.rmtree(root / gone)
    with pytest.raises(InputError, match=told):
        Synthia(root=root, split="all")


def test_a_wrong_id_and_a_corrupt_depth_name_themselves(root):
    write_image(root / "GT/LABELS/0000000.png", np.full((H, W), 23, np.uint16))
    with pytest.raises(InputError, match=r"0000000\.png: class id 23 at pixel x=0, y=0 is no class of SYNTHIA"):
        Synthia(root=root, split="all")[0]
    file = root / "Depth/Depth/0000001.png"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"0000001\.png: not a readable image"):
        Synthia(root=root, split="all")[1]


def test_an_empty_side_and_an_unknown_one(root):
    for file in (root / "RGB").iterdir():
        if in_val(file.name):
            file.unlink()
    with pytest.raises(InputError, match="is in val"):
        Synthia(root=root, split="val")
    with pytest.raises(InputError, match="split 'test'"):
        Synthia(root=root, split="test")
