"""VKITTI2 from a tiny tree in its native layout."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from native_layouts import VKITTI2_COLOURS, VKITTI2_SCENES, write_image, write_vkitti2

from densemtl_core.data.vkitti2 import Vkitti2
from densemtl_core.errors import InputError

H, W = 12, 20


@pytest.fixture
def root(tmp_path):
    return write_vkitti2(tmp_path, H, W)


def test_exact_values(root):
    sample = Vkitti2(root=root, labels=("semantic", "depth", "normals", "edges"))[1]
    assert sample.name == "Scene01/15-deg-left/Camera_0/00001"
    semantic, depth = sample.labels["semantic"], sample.labels["depth"]
    assert semantic.dtype == torch.int64
    assert [semantic[8, 8].item(), semantic[2, 3].item(), semantic[6, 5].item(), semantic[0, 0].item()] == [
        0,
        1,
        12,
        255,
    ]
    assert depth.shape == (1, H, W)
    assert depth[0, 5, 5].item() == pytest.approx(12.35)
    assert depth[0, 0, 0] == torch.inf
    assert depth[0, 11, 19].isnan()
    assert sample.intrinsics[0].tolist() == pytest.approx([725.0087, 0, 9.5])
    assert sample.intrinsics[1].tolist() == pytest.approx([0, 725.0087, 5.5])
    assert sample.image[0, 0, 0].item() == pytest.approx(1 / 255, abs=2 / 255)
    torch.testing.assert_close(sample.labels["normals"][:, 8, 9], torch.tensor([0.0, 0.0, -1.0]), atol=1e-4, rtol=0)
    assert sample.labels["edges"][0, 4, 10] == 1
    assert sample.labels["edges"][0, 3, 10] == 0


def test_scenes_never_cross_the_split(root):
    scenes = {
        s: {d[i].name[:7] for i in range(len(d))} for s in ("train", "val") for d in [Vkitti2(root=root, split=s)]
    }
    assert scenes == {"train": {"Scene01", "Scene06", "Scene20"}, "val": {"Scene02", "Scene18"}}
    assert len(Vkitti2(root=root, split="all")) == 15


def test_only_wanted_labels_are_read(root):
    shutil.rmtree(root / "Scene01/15-deg-left/frames/depth")
    assert set(Vkitti2(root=root, labels=("semantic",))[0].labels) == {"semantic"}


def test_neighbours_and_poses(root):
    data = Vkitti2(root=root, labels=(), frames=(-1, 1))
    assert len(data) == 3  # the middle frame of three scenes
    sample = data[1]
    assert sample.image[0, 0, 0].item() == pytest.approx(41 / 255, abs=2 / 255)
    assert sample.labels["image+1"][0, 0, 0].item() == pytest.approx(42 / 255, abs=2 / 255)
    # the car drives 2 m forward, so what was at z is at z - 2
    assert sample.labels["pose+1"][2].tolist() == [0, 0, 1, -2]
    assert sample.labels["pose-1"][2].tolist() == [0, 0, 1, 2]


def test_other_class_lists(root):
    assert Vkitti2(root=root, class_list="vkitti8")[0].labels["semantic"][6, 5] == 7
    assert Vkitti2(root=root, class_list="vkitti8")[0].labels["semantic"][8, 8] == 255
    assert Vkitti2(root=root, class_list="cityscapes19")[0].labels["semantic"][6, 5] == 13


def test_the_right_camera_has_its_own_intrinsics(root):
    for what, folder in [("rgb", "rgb"), ("depth", "depth"), ("classSegmentation", "classSegmentation")]:
        frames = root / "Scene01/15-deg-left/frames" / what
        shutil.copytree(frames / "Camera_0", root / "Scene01/15-deg-left/frames" / folder / "Camera_1")
    for scene in VKITTI2_SCENES[1:]:
        shutil.rmtree(root / scene)
    sample = Vkitti2(root=root, camera="Camera_1")[0]
    assert sample.intrinsics[0, 0].item() == pytest.approx(726.0087)


def drop(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("Scene01/15-deg-left/frames/depth", r"3 of 9 depth files are missing, first .*Scene01.*depth_00000\.png"),
        ("Scene06/15-deg-left/frames/classSegmentation/Camera_0/classgt_00002.png", r"1 of 9 semantic files"),
        ("Scene01/15-deg-left/intrinsic.txt", r"intrinsic\.txt"),
        ("Scene01/15-deg-left/frames/rgb", r"looked for the folder .*rgb/Camera_0"),
        ("Scene01/15-deg-left", r"looked for the folder .*Scene01/15-deg-left/frames/rgb"),
    ],
)
def test_a_half_unpacked_tree_says_what_is_missing(root, gone, told):
    drop(root / gone)
    with pytest.raises(InputError, match=told) as error:
        Vkitti2(root=root)
    assert "\n" not in str(error.value)


def test_a_missing_variation_names_those_that_are_there(root):
    for scene in VKITTI2_SCENES:
        (root / scene / "15-deg-left").rename(root / scene / "fog")
        shutil.copytree(root / scene / "fog", root / scene / "clone")
    assert len(Vkitti2(root=root, variation="clone")) == 9
    with pytest.raises(InputError) as error:
        Vkitti2(root=root)
    told = str(error.value)
    assert "Scene01 has no variation 15-deg-left, it has clone, fog; give data.options.variation=clone " in told
    assert "--option variation=clone" in told
    assert "\n" not in told
    for scene in VKITTI2_SCENES:
        shutil.rmtree(root / scene / "clone")
    with pytest.raises(InputError, match=r"it has fog; give data\.options\.variation=fog"):
        Vkitti2(root=root, variation=("fog", "rain"))


@pytest.mark.parametrize("option", ["variation", "val_scenes"])
@pytest.mark.parametrize("given", [5, None, [], [1, 2]])
def test_names_that_are_none(root, option, given):
    with pytest.raises(InputError, match=f"VKITTI2: {option} is .*; give the name of a folder"):
        Vkitti2(root=root, **{option: given})


def test_missing_roots(tmp_path):
    with pytest.raises(InputError, match=r"VKITTI2: looked for the folder .*nowhere"):
        Vkitti2(root=tmp_path / "nowhere")
    with pytest.raises(InputError, match="looked for Scene01"):
        Vkitti2(root=tmp_path)
    with pytest.raises(InputError, match="split 'test'"):
        Vkitti2(root=tmp_path, split="test")


def test_a_tree_with_no_val_scene_says_so(root):
    with pytest.raises(InputError, match=r"no scene of .* is in val .*change val_scenes"):
        Vkitti2(root=root, split="val", val_scenes=("Scene99",))


def test_a_broken_row_and_a_missing_row(root):
    table = root / "Scene01/15-deg-left/intrinsic.txt"
    whole = table.read_text()
    table.write_text(whole.replace("9.5 5.5", "9.5", 1))
    with pytest.raises(InputError, match=r"intrinsic\.txt:2: expected 6 numbers"):
        Vkitti2(root=root)
    table.write_text("\n".join(whole.splitlines()[:-2]))
    with pytest.raises(InputError, match="no row for frame 2 of Camera_0"):
        Vkitti2(root=root)


def test_a_wrong_colour_and_a_corrupt_file_name_themselves(root):
    file = root / "Scene01/15-deg-left/frames/classSegmentation/Camera_0/classgt_00000.png"
    label = np.full((H, W, 3), VKITTI2_COLOURS["sky"], np.uint8)
    label[2, 3] = (1, 2, 3)
    write_image(file, label)
    with pytest.raises(InputError, match=r"classgt_00000\.png: class id 66051 \(colour 1 2 3\) at pixel x=3, y=2"):
        Vkitti2(root=root)[0]
    assert Vkitti2(root=root, strict=False)[0].labels["semantic"][2, 3] == 255
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError, match=r"classgt_00000\.png: not a readable image"):
        Vkitti2(root=root)[0]


def test_an_index_outside_ends_iteration(root):
    assert len(list(Vkitti2(root=root))) == 9
