"""What a path on the command line is."""

from __future__ import annotations

import cv2
import native_layouts
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from densemtl_core.errors import InputError
from training.datasets import DATASETS, make_dataset
from training.settings import DataSettings
from training.targets import sniff

NATIVE = ("camvid", "cityscapes", "nyudv2", "synthia", "vkitti2")


def put_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((32, 32, 3), 80, np.uint8))
    return path


def put_bag(path, storage):
    types = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(path, version=9, storage_plugin=storage) as writer:
        connection = writer.add_connection("/text", "std_msgs/msg/String", typestore=types)
        message = types.types["std_msgs/msg/String"](data="hello")
        writer.write(connection, 1, types.serialize_cdr(message, "std_msgs/msg/String"))
    return path


def refused(path):
    with pytest.raises(InputError) as error:
        sniff(str(path))
    told = str(error.value)
    assert "\n" not in told
    assert told.startswith("target")
    return told


@pytest.mark.parametrize("name", NATIVE)
def test_every_native_layout_is_known(tmp_path, name):
    root = getattr(native_layouts, f"write_{name}")(tmp_path)
    dataset, found = sniff(str(root))
    assert (dataset, found) == (name, str(root))
    data = DataSettings(dataset=dataset, root=found, size=[32, 48])
    assert len(make_dataset(data, ["semantic"], DATASETS[name].classes, "val")) > 0


@pytest.mark.parametrize("images", ["image_02/data", "image_2", "image_l", "image_0"])
def test_a_kitti_drive(tmp_path, images):
    put_image(tmp_path / images / "000000.png")
    (tmp_path / "calib.txt").write_text("P0: 1 0 0 0 0 1 0 0 0 0 1 0")
    assert sniff(str(tmp_path))[0] == "kitti"
    assert len(DATASETS["kitti"].make(root=tmp_path, labels=())) == 1


def test_a_folder_of_images(tmp_path):
    put_image(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("")
    assert sniff(str(tmp_path)) == ("folder", str(tmp_path))
    assert sniff(f"{tmp_path}/") == ("folder", str(tmp_path))


def test_a_video_whatever_its_name(tmp_path):
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (32, 16))
    writer.write(np.zeros((16, 32, 3), np.uint8))
    writer.release()
    assert sniff(str(path)) == ("video", str(path))
    other = path.rename(tmp_path / "film.recording")
    assert sniff(str(other))[0] == "video"


@pytest.mark.parametrize("storage", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_a_bag_and_its_bare_file(tmp_path, storage):
    root = put_bag(tmp_path / "bag", storage)
    assert sniff(str(root)) == ("rosbag", str(root))
    (file,) = (p for p in root.iterdir() if p.name != "metadata.yaml")
    assert sniff(str(file)) == ("rosbag", str(file))
    assert f"give the bag's folder {root}" in refused(root / "metadata.yaml")
    (root / "metadata.yaml").unlink()
    assert f"has no images, but {file.name}; give that file: {file}" in refused(root)


def test_another_metadata_file_makes_no_bag(tmp_path):
    put_image(tmp_path / "a.jpg")
    (tmp_path / "metadata.yaml").write_text("camera: left")
    assert sniff(str(tmp_path))[0] == "folder"


def test_a_name_before_the_path_decides(tmp_path):
    put_image(tmp_path / "camvid:1" / "a.png")
    assert sniff(f"camvid:{tmp_path}") == ("camvid", str(tmp_path))
    assert sniff(f"kitti:{tmp_path / 'camvid:1'}") == ("kitti", str(tmp_path / "camvid:1"))
    assert sniff(str(tmp_path / "camvid:1"))[0] == "folder", "only a name of a data set is taken off"
    assert "looked for the file or folder /nowhere, it is not there; check" in refused("camvid:/nowhere")
    assert f"did you mean camvid:{tmp_path}? check" in refused(f"camvd:{tmp_path}")
    assert "without a path" in refused("camvid:")
    assert "without a path" in refused("")
    assert "the street world is made" in refused(f"street:{tmp_path}")


def test_what_is_not_there(tmp_path):
    assert f"looked for the file or folder {tmp_path / 'gone'}, it is not there" in refused(tmp_path / "gone")


def test_folders_without_images(tmp_path):
    assert f"{tmp_path} is an empty folder" in refused(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    assert "has no images, and is no data set in a known layout (cityscapes, vkitti2," in refused(tmp_path)
    put_image(tmp_path / "deep" / "er" / "a.png")
    assert f"its sub-folder {tmp_path / 'deep/er'} has" in refused(tmp_path)
    for name in ("right", "left"):
        put_image(tmp_path / name / "a.png")
    assert f"no images itself, but its sub-folder {tmp_path / 'left'} has; give that one" in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("notes.txt", r"neither a video that OpenCV can play nor a bag (.mcap or .db3)"),
        ("film.mp4", "neither a video"),
        ("old.bag", "a bag of ROS 1; convert it first: rosbags-convert"),
    ],
)
def test_files_of_another_kind(tmp_path, name, expected):
    (tmp_path / name).write_text("text")
    assert expected in refused(tmp_path / name)


def test_one_image_is_no_target(tmp_path):
    file = put_image(tmp_path / "a.png")
    assert f"is one image; give the folder of all of them: {tmp_path}" in refused(file)
