"""Reading a camera topic of a bag as it was recorded."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from bag_of_frames import DELAY, STEP, drive, picture, stamp, stamped, write_bag
from bag_writing import TYPES, camera_info, image, make
from densemtl_ros.bag_topic import BagTopic, is_bag
from densemtl_ros.bag_types import library
from densemtl_ros.cdr_stamp import read_stamp, with_stamp
from densemtl_ros.frame_sources import open_source
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from densemtl_core.errors import InputError

INFO, IMAGE = "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/Image"


@pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda s: s.name)
@pytest.mark.parametrize("bare", [False, True], ids=["folder", "file"])
def test_messages_come_as_recorded_each_with_its_camera_info(tmp_path, storage, bare):
    path = drive(tmp_path / "bag", storage=storage)
    source = BagTopic(next(path.glob("bag.*")) if bare else path)
    assert (source.topic, source.camera_topic, source.count) == ("/front/image_raw", "/front/camera_info", 4)
    assert not source.compressed
    assert source.rate == pytest.approx(10, rel=0.01)
    for _ in range(2):  # a second pass is like the first
        messages = list(source)
        assert [m.time for m in messages] == [stamp(n) + DELAY for n in range(4)]
        assert [m.seconds for m in messages] == pytest.approx([0, 0.1, 0.2, 0.3])
        for number, message in enumerate(messages):
            assert read_stamp(message.image) == read_stamp(message.info) == stamp(number)
            pixels = TYPES.deserialize_cdr(message.image, IMAGE).data
            assert (pixels == picture(number).ravel()).all()


@pytest.mark.parametrize(
    ("mode", "storage"),
    [
        (CompressionMode.MESSAGE, StoragePlugin.SQLITE3),
        (CompressionMode.FILE, StoragePlugin.SQLITE3),
        (CompressionMode.STORAGE, StoragePlugin.MCAP),
    ],
    ids=lambda v: v.name,
)
def test_a_compressed_bag(tmp_path, mode, storage):
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/c/image", IMAGE, typestore=TYPES)
        for number in range(3):
            message = stamped(image(picture(number)), stamp(number))
            writer.write(connection, stamp(number), TYPES.serialize_cdr(message, IMAGE))
    assert [read_stamp(m.image) for m in BagTopic(tmp_path / "bag")] == [stamp(n) for n in range(3)]


def test_camera_info_without_the_images_stamp(tmp_path):
    """The newest at the image's time, and before there is one the first."""

    def info(width, at):
        return ("/c/camera_info", at, stamped(camera_info(size=(6, width)), at - 7))

    def frame(number, at):
        return ("/c/image", at, stamped(image(picture(number)), at))

    path = write_bag(tmp_path / "bag", [frame(0, 10), info(100, 20), frame(1, 30), info(200, 40), frame(2, 50)])
    widths = [TYPES.deserialize_cdr(m.info, INFO).width for m in BagTopic(path)]
    assert widths == [100, 100, 200]


def test_a_bag_without_camera_info(tmp_path):
    path = write_bag(tmp_path / "bag", [("/c/image", 5, stamped(image(picture(0)), 5))])
    (message,) = BagTopic(path)
    assert message.info is None
    assert BagTopic(path).rate == 10, "one frame has no rate of its own"


def test_a_choice_of_topics_is_told(tmp_path):
    messages = [(t, 5 + n, stamped(image(picture(0)), 5)) for t in ("/left/image", "/right/image") for n in range(2)]
    path = write_bag(tmp_path / "bag", messages)
    with pytest.raises(InputError, match=r"several image topics: /left/image \(2 messages\), /right/image") as error:
        BagTopic(path)
    assert "\n" not in str(error.value)
    assert BagTopic(path, "/right/image").topic == "/right/image"
    with pytest.raises(InputError, match=r"did you mean '/right/image'\?"):
        BagTopic(path, "/rigth/image")


def test_no_image_topic(tmp_path):
    text = make("std_msgs/msg/String", data="hello")
    path = write_bag(tmp_path / "bag", [("/chatter", 5, text)])
    with pytest.raises(InputError, match=r"no topic of sensor_msgs/Image.*/chatter \(std_msgs/msg/String\)"):
        BagTopic(path)
    with pytest.raises(InputError, match="no topic of"):
        BagTopic(path, "/chatter")


@pytest.mark.parametrize(
    ("make_path", "text"),
    [
        (lambda p: p / "nothing", "does not exist"),
        (lambda p: p, r"has no metadata.yaml; give the folder"),
        (lambda p: _file(p / "bag.txt", b""), "is no .mcap or .db3 file"),
        (lambda p: _file(p / "bag.mcap", b"broken"), "cannot be read"),
        (lambda p: _file(p / "bag.db3", b"broken" * 100), "cannot be read"),
        (lambda p: _file(p / "metadata.yaml", b"a: [").parent, "cannot be read"),
        (lambda p: _file(p / "lone.mcap", b"").parent, r"no metadata.yaml; give the file .*lone.mcap"),
    ],
)
def test_no_bag_is_one_line(tmp_path, make_path, text):
    with pytest.raises(InputError, match=text) as error:
        BagTopic(make_path(tmp_path))
    assert "\n" not in str(error.value)


def _file(path, data):
    path.write_bytes(data)
    return path


def test_a_truncated_bag_is_one_line(tmp_path):
    path = drive(tmp_path / "bag")
    file = path / "bag.mcap"
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(InputError, match="cannot be read"):
        list(BagTopic(path))


def test_a_bag_is_a_source_to_replay(tmp_path):
    path = drive(tmp_path / "bag", 2)
    source = open_source(str(path), topic="/front/image_raw")
    assert isinstance(source, BagTopic)
    assert source.title.endswith("(2 messages of /front/image_raw, 10 a second)")
    assert isinstance(open_source(str(path / "bag.mcap")), BagTopic)
    with pytest.raises(InputError, match="a bag is played as it was recorded; leave width at 0"):
        open_source(str(path), width=64)
    with pytest.raises(InputError, match="is no bag; leave topic empty"):
        open_source("street", topic="/front/image_raw")
    (path / "metadata.yaml").unlink()
    with pytest.raises(InputError, match=r"no metadata.yaml; give the file .*bag.mcap"):
        open_source(str(path))


def test_without_the_library_the_line_says_how_to_get_it(tmp_path, monkeypatch):
    path = drive(tmp_path / "bag", 1)
    library.cache_clear()
    monkeypatch.setitem(sys.modules, "rosbags", None)
    with pytest.raises(InputError, match="pip install rosbags"):
        BagTopic(path)
    monkeypatch.undo()
    assert BagTopic(path).count == 1


def test_is_bag(tmp_path):
    path = drive(tmp_path / "bag", 1)
    assert is_bag(path)
    assert is_bag(path / "bag.mcap")
    assert not is_bag(tmp_path)
    assert not is_bag(tmp_path / "street")


@pytest.mark.parametrize("order", ["little", "big"])
def test_stamps_are_read_and_replaced_in_either_byte_order(order):
    message = stamped(image(picture(0)), stamp(1))
    raw = bytes(TYPES.serialize_cdr(message, IMAGE, little_endian=order == "little"))
    assert read_stamp(raw) == stamp(1)
    changed = with_stamp(raw, stamp(5))
    assert read_stamp(changed) == stamp(1) + 4 * STEP
    message = stamped(message, stamp(5))
    assert changed == bytes(TYPES.serialize_cdr(message, IMAGE, little_endian=order == "little"))
    assert np.array_equal(TYPES.deserialize_cdr(changed, IMAGE).data, message.data)


def test_a_message_too_short_for_a_stamp():
    with pytest.raises(ValueError, match="5 bytes"):
        read_stamp(b"\0\1\0\0\0")
