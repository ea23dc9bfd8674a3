"""CamVid from a tiny tree, and the real one where it lies beside the repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from native_layouts import write_camvid

from densemtl_core.data.camvid import CamVid
from densemtl_core.errors import InputError

REAL = Path(__file__).resolve().parents[3] / "../shared/data/camvid"


@pytest.fixture
def root(tmp_path):
    return write_camvid(tmp_path)


def test_exact_values(root):
    sample = CamVid(root=root, labels=("semantic", "edges"))[1]
    assert sample.name == "CamVid/train/a_02"
    assert sample.intrinsics is None
    semantic = sample.labels["semantic"]
    assert [semantic[y, 5].item() for y in (2, 0, 4, 7)] == [3, 0, 10, 255]
    assert sample.labels["edges"][0, 0, 3] == 1
    assert CamVid(root=root, class_list="cityscapes19")[0].labels["semantic"][2, 5] == 0


def test_official_lists_decide(root):
    assert [len(CamVid(root=root, split=s)) for s in ("train", "val")] == [2, 1]
    (root / "train.txt").write_text("/SegNet/CamVid/train/a_02.png /SegNet/CamVid/trainannot/a_02.png\n")
    assert CamVid(root=root)[0].name == "CamVid/train/a_02"


def test_errors(root):
    with pytest.raises(InputError, match=r"looked for the split list .*test\.txt"):
        CamVid(root=root, split="test")
    with pytest.raises(InputError, match="split 'dev'"):
        CamVid(root=root, split="dev")
    with pytest.raises(InputError, match="looked for the folder"):
        CamVid(root=root / "nowhere")
    with pytest.raises(InputError, match="CamVid: has no label 'depth'"):
        CamVid(root=root, labels=("depth",))
    cv2.imwrite(str(root / "trainannot/a_01.png"), np.full((8, 10), 12, np.uint8))
    with pytest.raises(InputError, match=r"a_01\.png: class id 12 at pixel x=0, y=0 is no class of CamVid"):
        CamVid(root=root)[0]
    (root / "train/a_02.jpg").write_bytes(b"\xff\xd8\xff broken")
    with pytest.raises(InputError, match=r"a_02\.jpg: not a readable image"):
        CamVid(root=root)[1]


def test_half_unpacked(root):
    shutil.rmtree(root / "trainannot")
    with pytest.raises(InputError, match=r"2 of 2 label files are missing, first .*trainannot/a_01\.png"):
        CamVid(root=root)
    assert CamVid(root=root, labels=())[0].labels == {}
    (root / "train/a_01.jpg").unlink()
    with pytest.raises(InputError, match="1 of 2 image files are missing"):
        CamVid(root=root)
    (root / "val.txt").write_text("\n")
    with pytest.raises(InputError, match=r"val\.txt is empty"):
        CamVid(root=root, split="val")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real CamVid in ../shared/data is absent")
def test_the_real_files():
    train, val = CamVid(root=REAL), CamVid(root=REAL, split="val")
    assert (len(train), len(val)) == (367, 101)
    assert not {p.stem for p, _ in train.items} & {p.stem for p, _ in val.items}
    sample = train[100]
    assert sample.image.shape == (3, 360, 480)
    # the lower middle of a driving picture is road, whatever the drive
    assert (sample.labels["semantic"][330:350, 220:260] == 3).float().mean() > 0.9
