"""The node's states, parameters and exit codes."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest
from camera_rig import CameraRig, picture, read_until
from densemtl_ros import perception_node
from densemtl_ros.parameters import PARAMETERS
from fake_predictor import FakePredictor
from rcl_interfaces.srv import DescribeParameters, GetParameters
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import CameraInfo

from densemtl_core.errors import InputError

HERE = Path(__file__).parent


def test_walk_through_the_states(start_rig):
    rig = start_rig()
    rig.listen("depth/image")
    assert rig.state() == "unconfigured"
    assert rig.node.diagnose().message == "unconfigured: not processing"
    assert rig.transition("configure")
    assert rig.predictor.warm
    assert rig.state() == "inactive"
    assert rig.camera.get_subscription_count() == 0
    for _ in range(2):
        assert rig.transition("activate")
        assert rig.state() == "active"
        rig.connect("depth/image")
        before = len(rig.received["depth/image"])
        rig.camera.publish(rig.message(picture()))
        rig.until(lambda before=before: len(rig.received["depth/image"]) == before + 1, "a result while active")
        assert rig.transition("deactivate")
        rig.until(lambda: not rig.camera.get_subscription_count(), "the node unsubscribes")
    assert not rig.predictor.closed
    assert rig.transition("cleanup")
    assert rig.predictor.closed
    assert rig.state() == "unconfigured"
    assert rig.transition("configure")
    assert rig.transition("activate")
    assert rig.transition("shutdown")
    assert rig.state() == "finalized"
    rig.until(lambda: not rig.camera.get_subscription_count(), "the node unsubscribes")


def test_a_bundle_that_cannot_be_used_fails_configure_in_one_line_and_can_be_mended(start_rig, capfd):
    bundles = []

    def factory(bundle, **options):
        bundles.append((bundle, options))
        if len(bundles) == 1:
            raise InputError("bundle '/nowhere' does not exist; give a folder that holds manifest.json")
        return FakePredictor()

    rig = start_rig(factory=factory, bundle="/nowhere", backend="eager", threads=2, bundle_public_key="/k.pem")
    assert not rig.transition("configure")
    assert rig.state() == "unconfigured"
    assert rig.node.exit_code is None
    text = "configure failed: bundle '/nowhere' does not exist; give a folder that holds manifest.json"
    err = capfd.readouterr().err
    assert sum(text in line for line in err.splitlines()) == 1
    assert "Traceback" not in err
    report = rig.node.diagnose()
    assert (report.level, report.message) == (2, text)
    assert bundles == [("/nowhere", {"backend": "eager", "threads": 2, "public_key": "/k.pem"})]
    assert rig.transition("configure"), "the reason may be gone the next time"
    assert rig.node.diagnose().level == 0


def test_the_runtime_itself_refuses_a_missing_bundle(start_rig, tmp_path, capfd):
    from densemtl_ros.runtime_predictor import runtime_predictor

    rig = start_rig(factory=runtime_predictor, bundle=str(tmp_path / "no.bundle"))
    assert not rig.transition("configure")
    assert rig.state() == "unconfigured"
    err = capfd.readouterr().err
    assert "configure failed: " in err
    assert "no.bundle" in err
    assert "Traceback" not in err


def test_with_a_public_key_the_shipped_bundle_is_refused_for_it_is_not_signed(start_rig, tmp_path, capfd):
    pytest.importorskip("cryptography")
    from densemtl_ros.runtime_predictor import runtime_predictor

    rig = start_rig(factory=runtime_predictor, bundle_public_key=str(tmp_path / "public.pem"))
    assert not rig.transition("configure")
    assert rig.state() == "unconfigured"
    err = capfd.readouterr().err
    assert "edge_s_street.bundle is not signed (it has no manifest.sig)" in err
    assert "Traceback" not in err


def test_a_programming_error_while_configuring_shows_its_traceback(start_rig, capfd):
    def factory(bundle, **options):
        raise AttributeError("no such thing")

    rig = start_rig(factory=factory)
    assert not rig.transition("configure")
    assert rig.state() == "unconfigured"
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert "configure failed: AttributeError: no such thing" in err


def test_every_parameter_is_declared_with_its_descriptor(start_rig):
    rig = start_rig()
    request = DescribeParameters.Request(names=[declaration.name for declaration in PARAMETERS])
    descriptors = rig.call(DescribeParameters, "describe_parameters", request).descriptors
    for declaration, descriptor in zip(PARAMETERS, descriptors, strict=True):
        assert descriptor.name == declaration.name
        assert descriptor.description == declaration.text
        assert descriptor.read_only == declaration.read_only
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert [(r.from_value, r.to_value) for r in ranges] == (
            [] if declaration.low is None else [(declaration.low, declaration.high)]
        )
    values = rig.call(GetParameters, "get_parameters", GetParameters.Request(names=request.names)).values
    assert [parameter_value_to_python(value) for value in values] == [d.default for d in PARAMETERS]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"confidence_threshold": 1.5}, ("confidence_threshold", "1.5", "0.0", "1.0")),
        ({"max_rate": float("nan")}, ("max_rate", "nan")),
        ({"max_overruns": 0}, ("max_overruns", "0", "1")),
        ({"publish__depth": "no"}, ("publish.depth", "'no'", "must be a bool")),
        ({"max_rate": None}, ("max_rate", "None", "must be a float")),
        ({"bundle": "/other"}, ("bundle", "read-only")),
        ({"bundle_public_key": "/other.pem"}, ("bundle_public_key", "read-only")),
        ({"output_scale": 0.5}, ("output_scale", "read-only")),
    ],
)
def test_a_wrong_value_is_refused_at_run_time_with_the_reason(start_rig, change, words):
    rig = start_rig()
    before = dict(rig.node.settings)
    (reason,) = rig.set_parameters(**change)
    for word in words:
        assert word.lower() in reason.lower()
    assert rig.node.settings == before


def test_a_whole_number_is_taken_for_a_floating_point_parameter(start_rig):
    rig = start_rig(max_rate=15)
    assert rig.node.settings["max_rate"] == 15.0
    assert rig.set_parameters(max_rate=20) == [""]
    assert rig.node.settings["max_rate"] == 20.0


def test_a_wrong_value_at_start_is_refused_with_the_reason(start_rig):
    with pytest.raises(
        InputError, match=r"parameter output_scale: 0\.3 is not allowed, must be one of 1\.0, 0\.5, 0\.25"
    ):
        start_rig(output_scale=0.3)


def test_an_error_while_activating_shows_its_traceback_and_leaves(start_rig, monkeypatch, capfd):
    def broken(*args, **options):
        raise OSError("no such network")

    monkeypatch.setattr("densemtl_ros.camera.CameraInput", broken)
    rig = start_rig()
    assert rig.transition("configure")
    assert not rig.transition("activate")
    assert rig.state() == "finalized"
    assert rig.node.exit_code == 1
    assert rig.predictor.closed
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert "activate failed: OSError: no such network; leaving" in err


def test_a_frame_that_never_ends_is_reported_and_deactivation_leaves(start_rig, monkeypatch):
    monkeypatch.setattr("densemtl_ros.perception_node._STOP_SECONDS", 0.2)
    release = threading.Event()
    predictor = FakePredictor(before=lambda image: release.wait(30))
    rig = start_rig(predictor, input_timeout=0.3)
    rig.activate("depth/image")
    rig.camera.publish(rig.message(picture()))
    rig.until(predictor.in_progress.is_set, "the frame is in work")
    # From the timer, while the worker is stuck.
    rig.until(lambda: any("in work for" in s.message and s.level == b"\2" for s in rig.statuses), "the error status")
    assert not rig.transition("deactivate")
    assert rig.state() == "finalized"
    assert rig.node.exit_code == 1
    release.set()
    assert rig.received["depth/image"] == []


# As processes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_active_node_process_with_exit_code_zero(start_node, number):
    process = start_node(str(HERE / "fake_node.py"), "--ros-args", "-p", "autostart:=true")
    read_until(process, "active: subscribed to /image")
    process.send_signal(number)
    process.send_signal(number)  # an impatient second one
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    assert "Traceback" not in output


def test_a_broken_engine_ends_the_process_with_exit_code_one(start_node, start_camera):
    rig: CameraRig = start_camera("/perception")
    rig.listen("depth/image")
    process = start_node(
        str(HERE / "fake_node.py"),
        "--failing",
        "--ros-args",
        "-p",
        "autostart:=true",
        "-p",
        "max_inference_failures:=2",
    )
    read_until(process, "active: subscribed to /image")
    # Sent again and again: two of them reach the engine once publisher and subscriber know each other.
    rig.tester.create_timer(0.05, lambda: rig.camera.publish(rig.message(picture())))
    rig.until(lambda: process.poll() is not None, "the process ends")
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert "leaving, so that a respawn can start afresh" in output
    rig.until(lambda: any(s.level == b"\2" and "broken engine" in s.message for s in rig.statuses), "the last status")


def test_without_autostart_the_module_waits_and_ends_cleanly(start_node):
    process = start_node("-m", "densemtl_ros.perception_node", "--ros-args", "-r", "__ns:=/waiting")
    read_until(process, "unconfigured: waiting for a configure transition")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output


def test_autostart_with_a_missing_bundle_ends_with_one_line_and_exit_code_one(start_node, tmp_path):
    process = start_node(
        "-m",
        "densemtl_ros.perception_node",
        "--ros-args",
        "-p",
        "autostart:=true",
        "-p",
        f"bundle:={tmp_path}/no.bundle",
    )
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1, output
    errors = [line for line in output.splitlines() if "ERROR" in line or "FATAL" in line]
    assert len(errors) == 1, output
    assert "no.bundle" in errors[0]
    assert "Traceback" not in output


def test_a_wrong_parameter_on_the_command_line_ends_with_one_line_and_exit_code_two(start_node):
    process = start_node("-m", "densemtl_ros.perception_node", "--ros-args", "-p", "max_rate:=-1.0")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    assert output == "error: parameter max_rate: -1.0 is not allowed, must be 0.0 to 1000.0\n"


@pytest.mark.parametrize(
    "arguments", [["--ros-args", "-p", "max_rate"], ["--ros-args", "--params-file", "/no/such.yaml"]]
)
def test_arguments_that_ros_does_not_take_end_with_one_line_of_ours_and_exit_code_two(start_node, arguments):
    process = start_node("-m", "densemtl_ros.perception_node", *arguments)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    assert "Traceback" not in output
    last = output.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith("; see --help")


def test_help_needs_no_ros_and_names_several_cameras(start_node):
    process = start_node("-m", "densemtl_ros.perception_node", "--help")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert 'cameras:="[front, rear]"' in output


def test_a_second_node_of_the_same_name_is_told_once(start_rig, capfd, monkeypatch):
    """Not at once: for a while a node that was killed is still discovered."""
    rig = start_rig()
    rig.activate("depth/image")
    twin = rig.tester.create_publisher(CameraInfo, "perception/camera_info", 1)
    rig.until(lambda: rig.node.cameras[0].outputs.rivals == 1, "the twin is discovered")
    rig.node._look_for_rivals()
    assert "another node publishes" not in capfd.readouterr().err
    monkeypatch.setattr(perception_node, "_RIVAL_SECONDS", 0.0)
    rig.node._look_for_rivals()
    rig.node._look_for_rivals()
    assert capfd.readouterr().err.count("another node publishes /robot/perception/camera_info too") == 1
    rig.tester.destroy_publisher(twin)
