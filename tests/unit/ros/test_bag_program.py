"""A bundle over every frame of a bag, without ROS: what is written, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from bag_of_frames import DELAY, FRAME_ID, drive, picture, read_bag, stamp, stamp_of, stamped, write_bag
from bag_writing import TYPES, K, camera_info, image
from densemtl_ros.bag import main
from densemtl_ros.bag_messages import label_message
from densemtl_ros.bag_types import LABEL_INFO, library
from densemtl_ros.bag_writer import BagWriter, offered_qos
from densemtl_ros.outputs import OUTPUTS
from ros.fake_predictor import CLASS_NAMES, FakePredictor, expected
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader, StoragePlugin
from ruamel.yaml import YAML

from densemtl_core.errors import InputError

DTYPES = {"mono8": ("u1", 1), "rgb8": ("u1", 3), "32FC1": ("f4", 1), "32FC3": ("f4", 3)}


def run(source, target, *options, predictor=None):
    fake = predictor or FakePredictor()
    made = []
    code = main([str(source), str(target), *options], lambda bundle, **_: made.append(fake) or fake)
    assert fake.closed == bool(made)
    return code


def as_array(message):
    dtype, channels = DTYPES[message.encoding]
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width, *[channels][: channels > 1])


def same(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


@pytest.mark.parametrize("packed", [False, True], ids=["raw", "png"])
def test_every_frame_becomes_what_the_node_publishes(tmp_path, capsys, packed):
    source = drive(tmp_path / "in", packed=packed)
    assert run(source, tmp_path / "out") == 0
    bag = read_bag(tmp_path / "out")
    assert set(bag) == {
        "/perception/camera_info",
        "/perception/semantic/label_info",
        *(f"/perception/{name}/image" for name in ("semantic", "depth", "normals", "edges")),
    }
    for number in range(4):
        wanted = expected(picture(number))
        wanted["edges"] = np.round(wanted["edges"] * 255).astype(np.uint8)
        for name, encoding in (("semantic", "mono8"), ("depth", "32FC1"), ("normals", "32FC3"), ("edges", "mono8")):
            time, message = bag[f"/perception/{name}/image"][number]
            assert time == stamp(number) + DELAY
            assert (stamp_of(message), message.header.frame_id) == (stamp(number), FRAME_ID)
            assert message.encoding == encoding
            assert same(as_array(message), wanted[name]), name
        _, info = bag["/perception/camera_info"][number]
        assert (stamp_of(info), info.header.frame_id) == (stamp(number), FRAME_ID)
        assert info.k.tolist() == K
    ((_, labels),) = bag["/perception/semantic/label_info"]
    names = [entry["class_name"] for entry in json.loads(labels.data)["class_map"]]
    assert names == list(CLASS_NAMES)
    table = capsys.readouterr().out
    assert "processed    4" in table
    assert "rejected     0" in table
    assert "ms a frame   p50" in table


def test_all_outputs_at_half_size_with_scaled_intrinsics(tmp_path):
    source = drive(tmp_path / "in", 1)
    assert run(source, tmp_path / "out", "--outputs", "all", "--scale", "0.5", "--storage", "sqlite3") == 0
    bag = read_bag(tmp_path / "out")
    assert {f"/perception/{output.topic}" for output in OUTPUTS} <= set(bag)
    for output in OUTPUTS:
        message = bag[f"/perception/{output.topic}"][0][1]
        assert (message.height, message.width, message.encoding) == (3, 4, output.encoding)
    info = bag["/perception/camera_info"][0][1]
    assert (info.height, info.width) == (3, 4)
    assert info.k.tolist() == pytest.approx([20, 0, (3.5 + 0.5) / 2 - 0.5, 0, 20.5, (2.5 + 0.5) / 2 - 0.5, 0, 0, 1])
    assert (tmp_path / "out" / "out.db3").is_file()


def test_only_what_is_asked_for_is_computed(tmp_path):
    predictor = FakePredictor()
    source = drive(tmp_path / "in", 3)
    assert run(source, tmp_path / "out", "--outputs", "depth", "--limit", "2", predictor=predictor) == 0
    assert predictor.asked == [("depth",), ("depth",)]
    assert {t: len(m) for t, m in read_bag(tmp_path / "out").items()} == {
        "/perception/depth/image": 2,
        "/perception/camera_info": 2,
        "/perception/semantic/label_info": 1,
    }


def test_unsure_pixels_are_unlabelled(tmp_path):
    assert run(drive(tmp_path / "in", 1), tmp_path / "out", "--confidence-threshold", "0.5") == 0
    mask = as_array(read_bag(tmp_path / "out")["/perception/semantic/image"][0][1])
    wanted = expected(picture(0))
    unsure = wanted["semantic_confidence"] < 0.5
    assert 0 < unsure.sum() < unsure.size
    assert (mask == np.where(unsure, 255, wanted["semantic"])).all()


def test_the_camera_reaches_a_task_that_needs_it(tmp_path):
    predictor = FakePredictor()
    predictor.manifest.tasks["depth"].camera = {"focal": 500.0}
    assert run(drive(tmp_path / "in", 1), tmp_path / "out", predictor=predictor) == 0
    assert predictor.cameras == [K]


def test_camera_info_of_another_size_is_told_and_not_used(tmp_path, capsys):
    predictor = FakePredictor()
    predictor.manifest.tasks["depth"].camera = {"focal": 500.0}
    wrong = stamped(camera_info(size=(60, 80)), 5)
    source = write_bag(tmp_path / "in", [("/c/image", 5, stamped(image(picture(0)), 5)), ("/c/camera_info", 6, wrong)])
    assert run(source, tmp_path / "out", predictor=predictor) == 0
    assert predictor.cameras == [None]
    assert "camera_info_size 1 frames" in capsys.readouterr().out
    assert "/perception/camera_info" not in read_bag(tmp_path / "out")


def test_unusable_frames_are_counted_and_the_others_written(tmp_path, capsys):
    short = stamped(image(picture(1)), 20)
    short.data = short.data[:-1]
    depth = stamped(image(np.zeros((6, 8, 2)), "16UC1"), 30)
    messages = [stamped(image(picture(0)), 10), short, depth, (b"\0\1\0\0junk", "sensor_msgs/msg/Image")]
    messages.append(stamped(image(picture(4)), 50))
    source = write_bag(tmp_path / "in", [("/c/image", 10 * n, m) for n, m in enumerate(messages, 1)])
    assert run(source, tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "rejected     data_short 1, encoding 1, message 1" in said.out
    assert "processed    2" in said.out
    assert "frame 1 is skipped, data_short: 143 bytes of data, 144 needed" in said.err
    assert [stamp_of(m) for _, m in read_bag(tmp_path / "out")["/perception/depth/image"]] == [10, 50]


def test_no_usable_frame_is_1_and_leaves_nothing(tmp_path, capsys):
    source = write_bag(tmp_path / "in", [("/c/image", 5, (b"\0\1\0\0junk", "sensor_msgs/msg/Image"))])
    assert run(source, tmp_path / "out") == 1
    assert os.listdir(tmp_path) == ["in"]
    assert "could be used (message 1)" in capsys.readouterr().err


def test_copied_input_is_the_same_bytes(tmp_path):
    source = drive(tmp_path / "in", packed=True)
    assert run(source, tmp_path / "out", "--copy-input", "--outputs", "edges") == 0

    def raw(path, topic):
        with Reader(path) as reader:
            wanted = [c for c in reader.connections if c.topic == topic]
            return [(time, bytes(data)) for _, time, data in reader.messages(wanted)]

    assert raw(tmp_path / "out", "/front/image_raw/compressed") == raw(source, "/front/image_raw/compressed")
    copied = [data for _, data in raw(tmp_path / "out", "/front/camera_info")]
    assert copied == [data for _, data in raw(source, "/front/camera_info")]


def test_metadata_is_of_a_version_that_humble_reads_with_the_nodes_offers(tmp_path):
    assert run(drive(tmp_path / "in", 1), tmp_path / "out") == 0
    told = YAML(typ="safe").load((tmp_path / "out" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert told["version"] == 8
    assert told["custom_data"]["densemtl_bundle"] == "fake"
    for topic in told["topics_with_message_count"]:
        # A text, in which policies are numbers: Humble reads nothing else.
        (offer,) = YAML(typ="safe").load(topic["topic_metadata"]["offered_qos_profiles"])
        latched = topic["topic_metadata"]["name"].endswith("label_info")
        assert (offer["history"], offer["depth"], offer["reliability"]) == (1, 1, 1)
        assert offer["durability"] == (1 if latched else 2)
    with Reader(tmp_path / "out") as reader:
        offers = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}
    assert offers["/perception/semantic/label_info"].durability is QosDurability.TRANSIENT_LOCAL
    assert offers["/perception/depth/image"].reliability is QosReliability.RELIABLE


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--outputs", "dept"], "no output 'dept'; did you mean 'depth'"),
        (["--limit", "-1"], "--limit is -1"),
        (["--threads", "-2"], "--threads is -2"),
        (["--confidence-threshold", "nan"], "--confidence-threshold is nan"),
        (["--topic", "/nothing"], "topic /nothing is not there"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_bad_argument_is_one_line_and_2(tmp_path, capsys, options, text):
    assert run(drive(tmp_path / "in", 1), tmp_path / "out", *options) == 2
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == ["in"]


def test_an_output_that_the_bundle_cannot_make(tmp_path, capsys):
    predictor = FakePredictor()
    del predictor.manifest.tasks["normals"]
    source = drive(tmp_path / "in", 1)
    assert run(source, tmp_path / "out", "--outputs", "normals", predictor=predictor) == 2
    assert "--outputs normals needs the task normals; the bundle has: semantic, depth, edges" in capsys.readouterr().err
    assert run(source, tmp_path / "out", predictor=predictor) == 0
    assert "/perception/normals/image" not in read_bag(tmp_path / "out")


def test_what_exists_is_never_overwritten(tmp_path, capsys):
    source = drive(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    predictor = FakePredictor()
    assert run(source, tmp_path / "out", predictor=predictor) == 2
    assert "out exists; give the name of a new bag" in capsys.readouterr().err
    assert not predictor.asked
    assert run(source, tmp_path / "no" / "out", predictor=predictor) == 2
    assert "cannot be written (No such file or directory)" in capsys.readouterr().err


def test_failing_inference_is_1_and_leaves_nothing(tmp_path, capsys):
    def broken(image):
        raise RuntimeError("broken engine")

    source = drive(tmp_path / "in", 2)
    assert run(source, tmp_path / "out", predictor=FakePredictor(before=broken)) == 1
    assert "RuntimeError: broken engine; nothing was written" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_is_130_and_leaves_nothing(tmp_path, capsys, number):
    predictor = FakePredictor(before=lambda image: signal.raise_signal(number))
    handler = signal.getsignal(number)
    assert run(drive(tmp_path / "in", 3), tmp_path / "out", predictor=predictor) == 130
    assert len(predictor.asked) == 1
    assert "interrupted; nothing was written" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]
    assert signal.getsignal(number) is handler


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_that_appears_meanwhile_is_not_overwritten(tmp_path, storage):
    with BagWriter(tmp_path / "out", storage) as writer:
        writer.add_topic("/hello", "std_msgs/msg/String", [offered_qos()])
        kind = TYPES.types["std_msgs/msg/String"]
        writer.write("/hello", 5, bytes(TYPES.serialize_cdr(kind(data="x"), "std_msgs/msg/String")))
        (tmp_path / "out").mkdir()
        with pytest.raises(InputError, match="exists"):
            writer.finish()
    assert os.listdir(tmp_path) == ["out"]
    assert not os.listdir(tmp_path / "out")


def test_both_storages_are_offered_by_the_library():
    assert {s.name.lower() for s in StoragePlugin} == {"mcap", "sqlite3"}


def test_it_needs_no_ros():
    code = (
        "import sys, densemtl_ros.bag, densemtl_ros.mcap_end, densemtl_ros.pacing, densemtl_ros.frame_sources\n"
        "print([m for m in ('rclpy', 'sensor_msgs', 'std_msgs', 'torch', 'rosbags') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_label_info_where_vision_msgs_is_installed():
    header = TYPES.types["std_msgs/msg/Header"](
        stamp=TYPES.types["builtin_interfaces/msg/Time"](sec=7, nanosec=8), frame_id="front"
    )
    raw = label_message(["road", "car"], 0.25, header, LABEL_INFO)
    message = library()[1].deserialize_cdr(raw, LABEL_INFO)
    assert [(c.class_id, c.class_name) for c in message.class_map] == [(0, "road"), (1, "car")]
    assert message.threshold == 0.25
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (7, 8)
