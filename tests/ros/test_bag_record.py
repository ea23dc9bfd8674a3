"""Recording the running node to a bag, and the same frames computed without ROS."""

from __future__ import annotations

import errno
import json
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bag_of_frames import FRAME_ID, drive, picture, read_bag, stamp_of
from camera_rig import CameraRig, read_until
from densemtl_ros import record
from densemtl_ros.bag import main as offline
from densemtl_ros.bag_types import library
from densemtl_ros.bag_writer import BagWriter
from densemtl_ros.mcap_end import main as mend
from densemtl_ros.message_types import describe_to_bags
from densemtl_ros.outputs import OUTPUTS
from densemtl_ros.record import Recorder
from densemtl_ros.replay_node import ReplayNode
from diagnostic_msgs.msg import DiagnosticArray
from fake_predictor import FakePredictor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Image
from std_msgs.msg import String

from densemtl_core.errors import InputError

COUNT = 6
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=3, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Recording:
    """A recorder in the rig's own executor."""

    def __init__(self, rig: CameraRig, path: Any, *topics: str, storage: str = "mcap") -> None:
        self.rig = rig
        self.writer = BagWriter(path, storage)
        self.node = Recorder(self.writer, topics, context=rig.context)
        rig._executor.add_node(self.node)

    def until(self, count: int) -> None:
        """Wait for so many messages of each topic."""
        self.rig.until(lambda: min(self.node.counts.values()) >= count, f"{count} messages: {self.node.counts}")

    def finish(self) -> None:
        """End it."""
        self.rig._executor.remove_node(self.node)
        self.node.destroy_node()
        self.writer.finish()


@pytest.fixture
def rig(start_camera: Callable[..., CameraRig]) -> CameraRig:
    return start_camera("/robot/perception")


@pytest.mark.parametrize("packed", [False, True], ids=["raw", "png"])
def test_replayed_through_the_node_and_recorded_equals_the_bag_computed_offline(start_rig, tmp_path, packed):
    source = drive(tmp_path / "in", COUNT, packed=packed)
    fake = FakePredictor()
    assert offline([str(source), str(tmp_path / "offline"), "--outputs", "all"], lambda *_, **__: fake) == 0
    expected = read_bag(tmp_path / "offline")

    topics = [output.topic for output in OUTPUTS]
    rig = start_rig(image_transport="compressed" if packed else "raw")
    names = [f"/robot/perception/{topic}" for topic in [*topics, "camera_info", "semantic/label_info"]]
    recording = Recording(rig, tmp_path / "out", *names)
    assert rig.transition("configure")
    assert rig.transition("activate")
    rig.until(lambda: not recording.node.waiting_for, "all topics have a publisher")
    rig.until(
        lambda: {p.topic_name for p in list(rig.node.publishers) if p.get_subscription_count()} >= set(names),
        "the node sees the recorder",
    )
    values = {"source": str(source), "keep_stamps": True, "rate": 5.0}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    replay = ReplayNode(context=rig.context, namespace="/robot", parameter_overrides=overrides)
    rig._executor.add_node(replay)
    try:
        counts = recording.node.counts
        rig.until(lambda: replay.finished and counts["/robot/perception/depth/image"] >= COUNT - 1, "the frames")
        rig.until(lambda: len({counts[f"/robot/perception/{t}"] for t in topics}) == 1, "every output of the last")
    finally:
        rig._executor.remove_node(replay)
        replay.destroy_node()
    recording.finish()

    found = read_bag(tmp_path / "out")
    for output in OUTPUTS:
        wanted = {stamp_of(m): m for _, m in expected[f"/perception/{output.topic}"]}
        assert len(wanted) == COUNT
        messages = [m for _, m in found[f"/robot/perception/{output.topic}"]]
        assert len(messages) >= COUNT - 1, "one may be overtaken on a busy computer"
        for message in messages:
            alike = wanted.pop(stamp_of(message))
            assert message.header.frame_id == alike.header.frame_id == FRAME_ID
            for field in ("height", "width", "encoding", "step", "is_bigendian"):
                assert getattr(message, field) == getattr(alike, field), (output.topic, field)
            assert message.data.tobytes() == alike.data.tobytes(), output.topic
    wanted = {stamp_of(m): m for _, m in expected["/perception/camera_info"]}
    for _, info in found["/robot/perception/camera_info"]:
        alike = wanted[stamp_of(info)]
        assert (info.k == alike.k).all()
        assert (info.p == alike.p).all()
        assert (info.height, info.width, info.header.frame_id) == (alike.height, alike.width, FRAME_ID)
    ((_, labels),) = found["/robot/perception/semantic/label_info"]
    assert json.loads(labels.data) == json.loads(expected["/perception/semantic/label_info"][0][1].data)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_messages_are_recorded_byte_for_byte_as_their_publisher_offers(rig, tmp_path, storage):
    best = rig.tester.create_publisher(Image, "/best", BEST_EFFORT)
    sure = rig.tester.create_publisher(Image, "/sure", 10)
    recording = Recording(rig, tmp_path / "out", "/best", "/sure", storage=storage)
    rig.until(lambda: best.get_subscription_count() and sure.get_subscription_count(), "the recorder")
    for number in range(3):
        for publisher in (best, sure):
            publisher.publish(rig.message(picture(number), stamp=100 + number))
        recording.until(number + 1)
    recording.finish()
    found = read_bag(tmp_path / "out")
    for topic in ("/best", "/sure"):
        times = [time for time, _ in found[topic]]
        assert times == sorted(times)
        assert abs(times[0] - rig.tester.get_clock().now().nanoseconds) < 60e9
        for number, (_, message) in enumerate(found[topic]):
            assert stamp_of(message) == 100 + number
            assert (message.data.reshape(6, 8, 3) == picture(number)).all()
    with Reader(tmp_path / "out") as reader:
        offers = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}
    assert offers["/best"].reliability is QosReliability.BEST_EFFORT
    assert offers["/sure"].reliability is QosReliability.RELIABLE
    assert offers["/sure"].durability is QosDurability.VOLATILE


def test_latched_messages_from_before_are_recorded(rig, tmp_path):
    publisher = rig.tester.create_publisher(String, "/labels", LATCHED)
    for text in ("one", "two", "three"):
        publisher.publish(String(data=text))
    recording = Recording(rig, tmp_path / "out", "/labels")
    recording.until(3)
    recording.finish()
    assert [m.data for _, m in read_bag(tmp_path / "out")["/labels"]] == ["one", "two", "three"]
    with Reader(tmp_path / "out") as reader:
        (connection,) = reader.connections
    assert connection.ext.offered_qos_profiles[0].durability is QosDurability.TRANSIENT_LOCAL


def test_a_publisher_that_comes_later_and_offers_less_is_heard_too(rig, tmp_path):
    sure = rig.tester.create_publisher(String, "/news", LATCHED)
    recording = Recording(rig, tmp_path / "out", "/news")
    sure.publish(String(data="sure"))
    recording.until(1)
    best = rig.tester.create_publisher(String, "/news", BEST_EFFORT)
    rig.until(best.get_subscription_count, "the recorder hears the second")
    best.publish(String(data="best"))
    recording.until(2)
    recording.finish()
    assert [m.data for _, m in read_bag(tmp_path / "out")["/news"]] == ["sure", "best"]


def test_two_types_on_one_topic_are_refused(rig, start_camera, tmp_path):
    rig.tester.create_publisher(String, "/mixed", 1)
    other = start_camera("/robot/other")  # one process's publishers are refused a second type
    other.tester.create_publisher(Image, "/mixed", 1)
    rig.until(lambda: rig.tester.count_publishers("/mixed") == 2, "both are known")
    refused = pytest.raises(InputError, match="publishers of sensor_msgs/msg/Image, std_msgs/msg/String")
    with BagWriter(tmp_path / "out") as writer, refused:
        Recorder(writer, ["/mixed"], context=rig.context)


def test_a_type_that_the_library_does_not_know_is_described_from_its_class(monkeypatch):
    """As those of vision_msgs are, which no index has."""
    name = "rcl_interfaces/msg/ParameterDescriptor"
    types = library()[1]
    known = types.hash_rihs01(name)
    monkeypatch.setattr(types, "fielddefs", dict(types.fielddefs))
    for kind in ("ParameterDescriptor", "FloatingPointRange", "IntegerRange"):
        del types.fielddefs[f"rcl_interfaces/msg/{kind}"]
    describe_to_bags(name)
    assert types.hash_rihs01(name) == known
    describe_to_bags("diagnostic_msgs/msg/DiagnosticArray")
    assert DiagnosticArray.get_fields_and_field_types().keys() == {
        f for f, _ in types.fielddefs["diagnostic_msgs/msg/DiagnosticArray"][1]
    }
    with pytest.raises(InputError, match="install the package nowhere_msgs"):
        describe_to_bags("nowhere_msgs/msg/Nothing")


# The program ---------------------------------------------------------------------------------------------------------


def publish_until(rig: CameraRig, publisher: Any, done: Callable[[], bool]) -> None:
    """Send images, one a turn of the executor, until something holds."""
    black = np.zeros((400, 400, 3), np.uint8)
    numbers = iter(range(10**6))

    def another() -> bool:
        publisher.publish(rig.message(black, stamp=next(numbers)))
        return done()

    rig.until(another, "enough images")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_finishes_the_bag(rig, start_node, tmp_path, number):
    publisher = rig.tester.create_publisher(String, "/labels", LATCHED)
    publisher.publish(String(data="kept"))
    process = start_node("-m", "densemtl_ros.record", str(tmp_path / "out"), "/labels", "/nobody")
    rig.until(publisher.get_subscription_count, "the recorder")
    publisher.publish(String(data="new"))
    assert publisher.wait_for_all_acked()
    read_until(process, "recording to")
    process.send_signal(number)
    process.send_signal(number)  # an impatient second one must not cut the bag short
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0, out
    assert "2 /labels" in out
    assert [m.data for _, m in read_bag(tmp_path / "out")["/labels"]] == ["kept", "new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_it_ends_by_itself_and_what_exists_is_refused(rig, start_node, tmp_path):
    publisher = rig.tester.create_publisher(String, "/labels", LATCHED)
    publisher.publish(String(data="kept"))
    arguments = ["-m", "densemtl_ros.record", str(tmp_path / "out"), "/labels", "--messages", "1"]
    assert start_node(*arguments).wait(20) == 0
    again = start_node(*arguments)
    out, _ = again.communicate(timeout=20)
    assert again.returncode == 2
    assert out.startswith("record: ")
    assert "exists" in out
    assert out.count("\n") == 1


def test_a_killed_recording_can_be_mended(rig, start_node, tmp_path):
    publisher = rig.tester.create_publisher(Image, "/image", 10)
    process = start_node("-m", "densemtl_ros.record", str(tmp_path / "out"), "/image")
    said = read_until(process, "stays unfinished in")
    (folder,) = tmp_path.iterdir()
    assert str(folder) in said
    file = folder / "out" / "out.mcap"
    publish_until(rig, publisher, lambda: file.stat().st_size > 3e6)
    process.kill()
    process.wait()
    assert not (tmp_path / "out").exists()
    assert mend([str(file), str(tmp_path / "mended.mcap")]) == 0
    stamps = [stamp_of(m) for _, m in read_bag(tmp_path / "mended.mcap")["/image"]]
    assert len(stamps) >= 4
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_what_came_before_the_disk_was_full_is_kept(start_camera, tmp_path, monkeypatch, capfd, storage):
    rig = start_camera("/robot/perception")
    publisher = rig.tester.create_publisher(Image, "noise", QoSProfile(depth=10))
    rng = np.random.default_rng(0)
    write, written = BagWriter.write, []

    def full_later(writer, topic, time, message):
        if len(written) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(writer, topic, time, message)
        written.append(bytes(message))

    monkeypatch.setattr(BagWriter, "write", full_later)
    status: list[int] = []
    arguments = [str(tmp_path / "out"), "/robot/noise", "--storage", storage, "--seconds", "20"]
    # Signals belong to the main thread; the recorder's own handlers are not what is tested here.
    monkeypatch.setattr(record.signal, "signal", lambda *_: None)
    thread = threading.Thread(target=lambda: status.append(record.main(arguments)))
    thread.start()
    rig.until(publisher.get_subscription_count, "the recorder subscribes")
    while not status:
        publisher.publish(rig.message(rng.integers(0, 256, (400, 400, 3), np.uint8)))
        rig.until(lambda: True, "callbacks")
        thread.join(0.05)
    thread.join()
    assert status == [1]
    error = capfd.readouterr().err
    assert "No space left on device after 2.4 MB" in error
    assert "make room and record again" in error
    saved = tmp_path / "out.cut.mcap"
    assert saved.exists() is (storage == "mcap") is (str(saved) in error)
    assert [path.name for path in tmp_path.iterdir()] == (["out.cut.mcap"] if storage == "mcap" else [])
    if storage == "mcap":
        with Reader(saved) as reader:
            kept = [bytes(data) for _, _, data in reader.messages()]
        assert 1 <= len(kept) <= 5
        assert kept == written[: len(kept)]


def test_seconds_end_a_recording_to_which_nobody_sends(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(record, "_PATIENCE", 0.2)
    monkeypatch.setattr(record.signal, "signal", lambda *_: None)
    assert record.main([str(tmp_path / "out"), "/silent", "--seconds", "0.1"]) == 1
    assert "no message arrived on /silent: no bag" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
