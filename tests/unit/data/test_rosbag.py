"""A camera topic of a ROS 2 bag: bags written here, message by message."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from bag_writing import (
    COUNT,
    HEIGHT,
    MCAP,
    PLAIN,
    RAW,
    SQLITE,
    TYPES,
    WIDTH,
    camera_info,
    compressed,
    image,
    make,
    write,
)
from rosbags.rosbag2 import CompressionMode, Writer

from densemtl_core.data import rosbag
from densemtl_core.data.rosbag import Rosbag
from densemtl_core.data.sample import collate
from densemtl_core.errors import InputError
from training.datasets import make_dataset
from training.settings import DataSettings


def picture(n, size=(HEIGHT, WIDTH)):
    """Every frame and pixel different."""
    return np.random.default_rng(n).integers(0, 256, (*size, 3), np.uint8)


def shown(sample_image):
    return (sample_image * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.fixture(scope="module", params=[SQLITE, MCAP], ids=["sqlite3", "mcap"])
def bag(tmp_path_factory, request):
    """A camera raw, compressed and with its camera_info, beside something else."""
    text = [make("std_msgs/msg/String", data="hello")] * 3
    topics = {
        "/chatter": text,
        PLAIN: [image(picture(n)) for n in range(COUNT)],
        "/camera/camera_info": [camera_info()] * COUNT,
        f"{PLAIN}/compressed": [compressed(picture(50 + n)) for n in range(COUNT)],
    }
    return write(tmp_path_factory.mktemp("bags") / "drive", topics, request.param)


def test_raw_images_in_order_and_at_random(bag):
    data = Rosbag(root=bag, topic=PLAIN)
    assert len(data) == COUNT
    for n in [*range(COUNT), 8, 0, 5, 6, 2, 7]:
        assert np.array_equal(shown(data[n].image), picture(n)), n
    sample = data[3]
    assert sample.name == f"{bag}:{PLAIN}#3"
    assert sample.labels == {}
    assert sample.intrinsics.tolist() == [[40, 0, 3.5], [0, 41, 2.5], [0, 0, 1]]
    sample.intrinsics.zero_()
    assert data[3].intrinsics[0, 0] == 40, "each sample has its own"


def test_compressed_images_find_the_camera_info_of_their_camera(bag):
    data = Rosbag(root=bag, topic=f"{PLAIN}/compressed")
    assert np.array_equal(shown(data[4].image), picture(54))
    assert data[4].intrinsics[1, 1] == 41
    given = Rosbag(root=bag, topic=PLAIN, intrinsics=(500, 510, 4, 3))
    assert given[0].intrinsics[0, 0] == 500, "what is given goes before what is recorded"


def test_stride_and_neighbours(bag):
    data = Rosbag(root=bag, topic=PLAIN, stride=3, frames=(-1, 1))
    assert len(data) == 1
    sample = data[0]
    found = [sample.labels["image-1"], sample.image, sample.labels["image+1"]]
    assert all(np.array_equal(shown(x), picture(n)) for x, n in zip(found, (0, 3, 6), strict=True))
    assert sample.name.endswith("#3")
    assert len(Rosbag(root=bag, topic=PLAIN, stride=2)) == 5
    with pytest.raises(InputError, match=r"has 9 messages at stride 1, too few for \(9,\)"):
        Rosbag(root=bag, topic=PLAIN, frames=(9,))
    with pytest.raises(InputError, match="stride 0"):
        Rosbag(root=bag, topic=PLAIN, stride=0)


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_in_loader_processes(bag, start):
    data = Rosbag(root=bag, topic=PLAIN, frames=(1,))
    data[5]  # the parent stands in the middle of the bag
    context = multiprocessing.get_context(start)
    loader = torch.utils.data.DataLoader(
        data, batch_size=2, num_workers=2, collate_fn=collate, multiprocessing_context=context
    )
    found = [shown(x) for batch in loader for x in batch.image]
    assert all(np.array_equal(x, picture(n)) for n, x in enumerate(found))
    assert len(found) == COUNT - 1
    assert np.array_equal(shown(data[6].image), picture(6)), "and reads on"
    assert np.array_equal(shown(deepcopy(data)[2].image), picture(2))


def test_a_forked_process_leaves_the_parents_reader_alone(bag, monkeypatch):
    data = Rosbag(root=bag, topic=PLAIN)
    data[3]
    parents = data._reader
    monkeypatch.setattr(rosbag.os, "getpid", lambda: -1)
    assert np.array_equal(shown(data[4].image), picture(4))
    assert data._reader is not parents
    assert parents.is_open


@pytest.mark.parametrize("storage", [SQLITE, MCAP])
def test_a_bare_file(tmp_path, storage):
    folder = write(tmp_path / "bag", {PLAIN: [image(picture(n)) for n in range(3)]}, storage)
    (file,) = [p for p in folder.iterdir() if p.suffix in rosbag.BAG_SUFFIXES]
    assert np.array_equal(shown(Rosbag(root=file)[2].image), picture(2))
    (folder / "metadata.yaml").unlink()
    with pytest.raises(InputError, match=rf"looked for metadata\.yaml in .*give the file .*{file.name}"):
        Rosbag(root=folder)


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_a_compressed_bag(tmp_path, mode):
    root = write(tmp_path / "bag", {PLAIN: [image(picture(n)) for n in range(4)]}, compression=mode)
    assert np.array_equal(shown(Rosbag(root=root)[3].image), picture(3))


@pytest.mark.parametrize("storage", [SQLITE, MCAP])
def test_messages_of_one_time_keep_apart(tmp_path, storage):
    times = [5, 7, 7, 7, 9]
    root = write(tmp_path / "bag", {PLAIN: [image(picture(n)) for n in range(5)]}, storage, times=times)
    data = Rosbag(root=root)
    for n in (3, 1, 2, 4, 0, 2):
        assert np.array_equal(shown(data[n].image), picture(n))


def test_files_of_a_split_bag_that_overlap_come_in_order_of_time(tmp_path):
    """The second file begins before the first one ends: messages are put in order, ties by file."""
    first = write(tmp_path / "a", {PLAIN: [image(picture(n)) for n in (0, 1, 3)]}, times=[10, 20, 40])
    second = write(tmp_path / "b", {PLAIN: [image(picture(n)) for n in (2, 4, 5)]}, times=[30, 40, 50])
    (second / "b.db3").rename(first / "b.db3")
    text = (first / "metadata.yaml").read_text()
    (first / "metadata.yaml").write_text(text.replace("- a.db3", "- a.db3\n  - b.db3", 1))
    data = Rosbag(root=first)
    for n in (*range(6), 2, 4, 3):
        assert np.array_equal(shown(data[n].image), picture(n)), n


def test_one_broken_message_names_itself_and_the_rest_is_read(tmp_path):
    messages = [compressed(picture(n, (32, 32)), ".jpg" if n == 3 else ".png") for n in range(7)]
    messages[1].data = messages[1].data[:-40]  # cut
    messages[2].data = np.frombuffer(b"no picture", np.uint8)
    messages[3].data = messages[3].data[:-40]
    messages[4].data = messages[4].data[:0]
    messages[5].data = messages[5].data.copy()
    messages[5].data[60] ^= 255
    data = Rosbag(root=write(tmp_path / "bag", {"/c": messages}))
    for n, expected in {1: "ends early", 2: "10 bytes", 3: "ends early", 4: "0 bytes", 5: "no readable"}.items():
        with pytest.raises(InputError, match=rf"bag:/c#{n}: .*{expected}") as error:
            data[n]
        assert "\n" not in str(error.value)
    for n in (0, 6):
        assert np.array_equal(shown(data[n].image), picture(n, (32, 32)))


def test_an_image_that_cannot_be_used_names_itself(tmp_path):
    depth = image(np.zeros((6, 8, 2)), "16UC1")
    data = Rosbag(root=write(tmp_path / "bag", {PLAIN: [image(picture(0)), depth]}))
    with pytest.raises(InputError, match=r"bag:/camera/image_raw#1: encoding '16UC1' is not known; record a topic in"):
        data[1]


def test_bytes_that_are_no_message_name_it(tmp_path):
    with Writer(tmp_path / "bag", version=9) as writer:
        connection = writer.add_connection(PLAIN, RAW, typestore=TYPES)
        good = bytes(TYPES.serialize_cdr(image(picture(0)), RAW))
        for n, raw in enumerate((good, b"\0\1\0\0abc", b"", good[:40], good)):
            writer.write(connection, n, raw)
    data = Rosbag(root=tmp_path / "bag")
    for n in (1, 2, 3):
        with pytest.raises(InputError, match=rf"#{n} cannot be read \("):
            data[n]
    assert np.array_equal(shown(data[4].image), picture(0))


def test_the_choice_of_a_topic(bag, tmp_path):
    with pytest.raises(InputError) as error:
        Rosbag(root=bag)
    for told in ("several image topics", f"{PLAIN} (9 messages)", f"{PLAIN}/compressed (9 messages)", "give topic="):
        assert told in str(error.value)
    with pytest.raises(InputError, match=r"topic camera/image_raw is not there; did you mean '/camera/image_raw'\?"):
        Rosbag(root=bag, topic="camera/image_raw")
    with pytest.raises(InputError, match=r"topic /chatter is of std_msgs/msg/String, no image; .*image topics: /cam"):
        Rosbag(root=bag, topic="/chatter")
    text = write(tmp_path / "text", {"/chatter": [make("std_msgs/msg/String", data="hello")]})
    with pytest.raises(InputError, match=r"has no topic of sensor_msgs/Image .*only /chatter \(std_msgs/msg/String\)"):
        Rosbag(root=text)
    silent = write(tmp_path / "silent", {"/a": RAW, "/b": [image(picture(0))]})
    assert Rosbag(root=silent).topic == "/b", "a topic without messages is no choice"
    with pytest.raises(InputError, match=r"topic /a has no messages; there are /a \(0 messages\), /b \(1 messages\)"):
        Rosbag(root=silent, topic="/a")


def test_what_is_no_bag(tmp_path):
    with pytest.raises(InputError, match=r"looked for the bag .*gone, it is not there"):
        Rosbag(root=tmp_path / "gone")
    with pytest.raises(InputError, match=r"looked for metadata\.yaml in .*; give the folder of a rosbag2"):
        Rosbag(root=tmp_path)
    (tmp_path / "old.bag").write_text("#ROSBAG V2.0")
    with pytest.raises(InputError, match=r"old\.bag is no \.mcap or \.db3 file"):
        Rosbag(root=tmp_path / "old.bag")
    for name, content in (("a.mcap", b""), ("b.mcap", b"x" * 99), ("c.db3", b"x" * 99), ("d.db3", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name} cannot be read \(.+\); mend the bag") as error:
            Rosbag(root=tmp_path / name)
        assert "\n" not in str(error.value)
    for text in ("", "a: [", "a: 1", "rosbag2_bagfile_information: 3"):
        (tmp_path / "metadata.yaml").write_text(text)
        with pytest.raises(InputError, match="cannot be read"):
            Rosbag(root=tmp_path)


def test_a_recording_that_was_cut_off(tmp_path):
    folder = write(tmp_path / "bag", {PLAIN: [image(picture(n)) for n in range(20)]}, MCAP)
    file = folder / "bag.mcap"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"bag cannot be read \(.*mend the bag"):
        Rosbag(root=folder)


def test_without_the_library(monkeypatch, bag):
    rosbag._library.cache_clear()
    monkeypatch.setitem(sys.modules, "rosbags", None)
    with pytest.raises(InputError, match="not installed; pip install rosbags"):
        Rosbag(root=bag, topic=PLAIN)


def info_of(tmp_path, *, topic=PLAIN, place="/camera/camera_info", **fields):
    root = write(tmp_path / "bag", {topic: [image(picture(0))], place: [camera_info(**fields)]})
    return Rosbag(root=root)[0].intrinsics


def test_distortion_is_told_once(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert info_of(tmp_path, d=(0.1, -0.2, 0, 0, 0))[0, 0] == 40
    assert [r.getMessage() for r in caplog.records if "distortion" in r.getMessage()] == [
        f"{tmp_path / 'bag'}: /camera/camera_info has distortion, which K does not tell: rectify the images "
        "(image_proc) for exact geometry"
    ]


def test_no_warning_without_distortion(tmp_path, caplog):
    assert info_of(tmp_path, d=(0, 0, 0, 0, 0))[0, 0] == 40
    assert not caplog.records


def test_a_rectified_image_has_the_rectified_camera(tmp_path, caplog):
    p = (30, 0, 3, -9, 0, 31, 2, 0, 0, 0, 1, 0)
    found = info_of(tmp_path, topic="/camera/image_rect_color", p=p, d=(0.1, 0, 0, 0, 0))
    assert found.tolist() == [[30, 0, 3], [0, 31, 2], [0, 0, 1]]
    assert not caplog.records


def test_cameras_that_are_not_known(tmp_path, caplog):
    assert info_of(tmp_path / "uncalibrated", k=[0.0] * 9) is None
    assert info_of(tmp_path / "another", place="/back/camera_info") is None
    assert info_of(tmp_path / "top", topic="/image", place="/camera_info")[0, 0] == 40
    assert not caplog.records
    assert info_of(tmp_path / "other size", size=(480, 640)) is None
    assert ["(480, 640)" in r.getMessage() for r in caplog.records] == [True]
    with pytest.raises(InputError, match=r"skewed/bag:/camera/camera_info: intrinsics \[40"):
        info_of(tmp_path / "skewed", k=[40.0, 7, 3.5, 0, 41, 2.5, 0, 0, 1])


def test_as_a_data_set_of_settings(bag):
    def made(**options):
        settings = DataSettings(dataset="rosbag", root=str(bag), size=[32, 48], frames=[-1, 1], options=options)
        return make_dataset(settings, ["depth"], "cityscapes19", "train")

    sample = made(topic=PLAIN, stride=2)[0]
    assert set(sample.labels) == {"image-1", "image+1"}
    assert sample.image.shape == (3, 32, 48)
    assert len(made(topic=PLAIN, stride=2)) == 3
    with pytest.raises(InputError, match=r"data\.options\.topik is no option of rosbag; did you mean 'topic'\?"):
        made(topik=PLAIN)


def test_sizes_that_change_within_a_topic_are_told_by_the_batch(tmp_path):
    pictures = [image(picture(0)), image(picture(1, (4, 4)), size=(4, 4))]
    root = write(tmp_path / "bag", {PLAIN: pictures, "/camera/camera_info": [camera_info()] * 2})
    data = Rosbag(root=root)
    assert data[1].image.shape == (3, 4, 4)
    assert [data[n].intrinsics is None for n in (1, 0)] == [True, False], "camera_info is of the larger one"
    with pytest.raises(InputError, match=r"image_raw#1 is 4x4, .*image_raw#0 8x6: images of one batch"):
        collate([data[0], data[1]])


def record(kind, *parts):
    body = b"".join(parts)
    return bytes([kind]) + len(body).to_bytes(8, "little") + body


def text(value):
    return len(value).to_bytes(4, "little") + value.encode()


def number(value, size):
    return value.to_bytes(size, "little")


def write_fast(path, messages):
    """An .mcap as its profile ``fastwrite`` leaves it: no chunks and no index."""
    definition, _ = TYPES.generate_msgdef(RAW, ros_version=2)
    records = [
        record(1, text("ros2"), text("")),
        record(3, number(1, 2), text(RAW), text("ros2msg"), text(definition)),
        record(4, number(1, 2), number(1, 2), text(PLAIN), text("cdr"), number(0, 4)),
    ]
    for n, message in enumerate(messages):
        time, raw = number(1000 + n, 8), bytes(TYPES.serialize_cdr(message, RAW))
        records.append(record(5, number(1, 2), number(n, 4), time, time, raw))
    records += [record(15, number(0, 4)), record(2, bytes(20))]
    path.write_bytes(b"\x89MCAP0\r\n" + b"".join(records) + b"\x89MCAP0\r\n")
    return path


def test_an_mcap_without_chunks(tmp_path):
    data = Rosbag(root=write_fast(tmp_path / "fast.mcap", [image(picture(n)) for n in range(8)]))
    for n in (*range(8), 5, 0, 7, 2):
        assert np.array_equal(shown(data[n].image), picture(n)), n
