"""The bridge as a process: frames go in over DDS, and a file comes out that rerun reads back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rerun.chunk")

from camera_rig import RELIABLE, picture, read_until
from fake_predictor import CLASS_NAMES, PALETTE, expected
from rclpy.duration import Duration
from sensor_msgs.msg import CameraInfo

sys.path.append(str(Path(__file__).parents[1] / "unit" / "ros"))
from rerun_reading import rows

STREAMS = ("semantic/image", "semantic/color", "overlay/image", "depth/image", "edges/image")
STAMP = 1_700_000_000_000_000_001


def intrinsics() -> CameraInfo:
    return CameraInfo(height=48, width=64, k=[60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0])


def send(rig, image, stamp):
    """One frame with its intrinsics; wait until every listener has what the node makes of it."""
    done = rig.count("processed")
    rig.infos.publish(intrinsics())
    rig.camera.publish(rig.message(image, stamp=stamp))
    rig.until(lambda: rig.count("processed") > done, "the frame is processed")
    outputs = [publisher for publisher in rig.node.publishers if publisher.get_subscription_count()]
    assert all(publisher.wait_for_all_acked(Duration(seconds=5)) for publisher in outputs)


def bridge(rig, start_node, *arguments, topics=STREAMS):
    """Start the bridge, and wait until all that it wants is connected both ways."""
    process = start_node("-m", "densemtl_ros.rerun_bridge", "--nodes", rig.name, *arguments)
    read_until(process, "every topic has a publisher")
    rig.connect(*topics, "camera_info")
    return process


def stopped(process):
    process.send_signal(signal.SIGINT)
    told = process.stdout.read()
    assert process.wait(20) == 0, told
    return told


@pytest.fixture
def rig(start_rig):
    rig = start_rig()
    assert rig.transition("configure")
    assert rig.transition("activate")
    rig.infos = rig.tester.create_publisher(CameraInfo, "camera_info", RELIABLE)
    rig.until(rig.infos.get_subscription_count, "the node subscribes to camera_info")
    return rig


def test_what_the_node_sees_is_in_the_file(rig, start_node, tmp_path):
    path = tmp_path / "drive.rrd"
    process = bridge(rig, start_node, "--save", str(path), "--rate", "0")
    images = [picture(seed=seed) for seed in range(3)]
    for number, image in enumerate(images):
        send(rig, image, STAMP + number)
    assert "15 images logged" in stopped(process)

    found = rows(path)
    root = f"{rig.name}/camera"
    for entity, name, dtype in (("classes", "semantic", "u1"), ("depth", "depth", "f4")):
        logged = found[f"{root}/{entity}"]
        assert [row["stamp"] for row in logged] == [STAMP, STAMP + 1, STAMP + 2]
        for row, image in zip(logged, images, strict=True):
            got = np.frombuffer(bytes(row["buffer"]), dtype).reshape(48, 64)
            np.testing.assert_array_equal(got, expected(image)[name])
    assert len(found[f"{root}/overlay"]) == len(found[f"{root}/edges"]) == 3
    assert found[root][-1]["resolution"] == [64.0, 48.0]
    context = [row["context"] for row in found[rig.name] if "context" in row][-1]
    infos = {entry["class_id"]: entry["class_description"]["info"] for entry in context}
    for number, (name, colour) in enumerate(zip(CLASS_NAMES, PALETTE, strict=True)):
        assert infos[number]["label"] == name
        assert infos[number]["color"].to_bytes(4, "big") == bytes((*colour, 255))


def test_only_the_chosen_streams_are_subscribed_to_and_all_leave_out_the_same_frames(rig, start_node, tmp_path):
    path = tmp_path / "drive.rrd"
    chosen = ("--streams", "depth", "edges", "--rate", "10")
    process = bridge(rig, start_node, "--save", str(path), *chosen, topics=("depth/image", "edges/image"))
    for number in range(5):
        send(rig, picture(seed=number), 1_000_000_000 + 40_000_000 * number)
    assert "4 images logged" in stopped(process)
    assert set(rig.predictor.asked) == {("depth", "edges")}
    found = rows(path)
    for stream in ("depth", "edges"):
        stamps = [row["stamp"] for row in found[f"{rig.name}/camera/{stream}"]]
        assert stamps == [1_000_000_000, 1_120_000_000]


def test_the_cameras_own_images_are_heard_as_the_camera_offers_them(rig, start_node, tmp_path):
    """Best effort would lose large images, and a best-effort camera would not be heard reliably."""
    path = tmp_path / "drive.rrd"
    chosen = ("--streams", "edges", "--image", rig.camera.topic_name, "--quality", "0")
    process = start_node("-m", "densemtl_ros.rerun_bridge", "--nodes", rig.name, "--save", str(path), *chosen)
    rig.connect("edges/image")

    def reliabilities():
        listeners = rig.tester.get_subscriptions_info_by_topic(rig.camera.topic_name)
        return {i.node_name: i.qos_profile.reliability for i in listeners}

    rig.until(lambda: reliabilities().get("rerun_bridge") == RELIABLE.reliability, "the bridge follows the camera")
    rig.until(lambda: rig.camera.get_subscription_count() == 2, "the node and the bridge listen")
    image = picture()
    send(rig, image, STAMP)
    assert rig.camera.wait_for_all_acked(Duration(seconds=5))
    assert "2 images logged" in stopped(process)
    (row,) = rows(path)[f"{rig.name}/camera/image"]
    np.testing.assert_array_equal(np.frombuffer(bytes(row["buffer"]), "u1").reshape(48, 64, 3), image)
    assert row["stamp"] == STAMP


@pytest.mark.slow
def test_a_viewer_that_is_open_gets_the_frames(rig, start_node, tmp_path):
    """The SDK sends to the address it is given; a server that stores what it gets stands for the viewer."""
    rerun = Path(sys.executable).parent / "rerun"
    if not rerun.exists():
        pytest.skip("rerun's program is not beside this Python")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"rerun+http://127.0.0.1:{port}/proxy"
    path = tmp_path / "received.rrd"
    command = [str(rerun), "--bind", "127.0.0.1", "--port", str(port), "--save", str(path)]
    viewer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=quiet(tmp_path))
    try:
        rig.until(lambda: listening(port), "rerun listens")
        process = bridge(rig, start_node, "--connect", url, "--rate", "0")
        send(rig, picture(), STAMP)
        assert "5 images logged" in stopped(process)
    finally:
        viewer.send_signal(signal.SIGINT)
        viewer.communicate(timeout=20)
    assert f"{rig.name}/camera/depth" in rows(path)


def quiet(folder):
    """An environment in which rerun's program reports nothing."""
    environment = os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    rerun = str(Path(sys.executable).parent / "rerun")
    subprocess.run([rerun, "analytics", "disable"], env=environment, check=True, capture_output=True)
    return environment


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def test_a_mistyped_name_is_told(start_rig, start_node, tmp_path):
    start_rig()
    process = start_node(
        *("-m", "densemtl_ros.rerun_bridge", "--save", str(tmp_path / "x.rrd"), "--nodes", "/robot/per")
    )
    assert "/robot/per/depth/image, " in read_until(process, "nobody publishes")
    assert "0 images logged" in stopped(process)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--save", "{tmp}/there.rrd"], "there.rrd exists; choose another name"),
        (["--save", "{tmp}/no/x.rrd"], "there is no folder"),
        (["--connect", "rerun+http://127.0.0.1:1/proxy"], "no viewer listens at 127.0.0.1 port 1"),
        (["--connect", "127.0.0.1"], "'127.0.0.1' is not an address like rerun+http://127.0.0.1:9876/proxy"),
        (["--save", "{tmp}/x.rrd", "--nodes", "perception"], "'perception' is not a full name; write /perception, say"),
        (["--save", "{tmp}/x.rrd", "--streams", "image"], "image needs the camera's topic; add --image"),
        (["--save", "{tmp}/x.rrd", "--quality", "101"], "101 is not between 0 and 100"),
        (["--save", "{tmp}/x.rrd", "--rate", "-1"], "-1 is not between 0 and 1000"),
        (["--save", "{tmp}/x.rrd", "--ros-args", "-p", "nonsense"], "nonsense"),
    ],
)
def test_what_cannot_be_used_ends_it_with_one_line(arguments, text, tmp_path, capsys):
    from densemtl_ros.rerun_bridge import main

    (tmp_path / "there.rrd").touch()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    error = capsys.readouterr().err
    assert text in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "x.rrd").exists()
