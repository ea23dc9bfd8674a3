"""The launch file's wiring, recorded; and the same file under the real `launch` wherever that is installed."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import recorded_launch as recorded

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "launch" / "perception.launch.py"
PACKAGE = ROOT / "ros2_ws" / "src" / "densemtl"
ISSUED = {
    "bundle", "bundle_public_key", "image_topic", "camera_info_topic", "namespace", "params_file", "use_sim_time",
    "log_level", "autostart", "viewer", "source", "source_path", "source_topic", "cameras",
}  # fmt: skip


def load():
    spec = importlib.util.spec_from_file_location("perception_launch", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Launched:
    """What the launch file builds for some argument values."""

    def __init__(self, **given):
        entities = load().generate_launch_description().entities
        self.arguments = {e.name: e for e in entities if isinstance(e, recorded.DeclareLaunchArgument)}
        context = {n: recorded.text(a.default_value, {}) for n, a in self.arguments.items()}
        assert set(given) <= set(context), "an argument that is not declared"
        for name, value in given.items():
            choices = self.arguments[name].choices
            assert choices is None or value in choices
        self.context = {**context, **given}
        (setup,) = [e for e in entities if isinstance(e, recorded.OpaqueFunction)]
        self.actions = setup.function(self.context)
        self.nodes = [a for a in self.actions if isinstance(a, recorded.Node)]

    def node(self, executable):
        (node,) = [n for n in self.nodes if n.executable == executable]
        return node

    @property
    def perception(self):
        return self.node("perception_node")


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    recorded.install(monkeypatch)


def parameters(node):
    """Name to value, in the order in which later ones win; files under the key ``file``."""
    merged = {}
    for entry in node.parameters:
        merged |= entry if isinstance(entry, dict) else {"file": entry}
    return {n: v.value if isinstance(v, recorded.ParameterValue) else v for n, v in merged.items()}


def test_smoke():
    assert [n.executable for n in Launched().nodes] == ["perception_node"]


def test_every_promised_argument_is_declared_with_a_description():
    arguments = Launched().arguments
    assert set(arguments) == ISSUED
    assert all(a.description for a in arguments.values())


def everything(launched):
    """All that was built, as text with the values resolved."""
    return repr(launched.actions)


@pytest.mark.parametrize(
    ("argument", "value", "others"),
    [
        ("bundle", "/marker/bundle", {}),
        ("bundle_public_key", "/marker/public.pem", {}),
        ("image_topic", "/marker/image", {}),
        ("camera_info_topic", "/marker/info", {}),
        ("namespace", "marker", {}),
        ("cameras", "front,rear", {}),
        ("params_file", "/marker/params.yaml", {}),
        ("use_sim_time", "true", {}),
        ("log_level", "debug", {}),
        ("autostart", "false", {}),
        ("viewer", "browser", {}),
        ("viewer", "rviz", {}),
        ("viewer", "foxglove", {}),
        ("source", "street", {}),
        ("source_path", "/marker/drive.mp4", {"source": "video"}),
        ("source_path", "/marker/folder", {"source": "folder"}),
        ("source_path", "/marker/bag", {"source": "bag"}),
        ("source_topic", "/marker/image", {"source": "bag", "source_path": "/marker/bag"}),
    ],
)
def test_every_argument_changes_what_is_started(argument, value, others):
    changed = everything(Launched(**{argument: value}, **others))
    if argument == "source_path":
        assert value in changed
    else:
        assert changed != everything(Launched())
        assert "/" not in value or value in changed


def test_arguments_reach_the_perception_node():
    node = Launched(
        bundle="/b", bundle_public_key="/k.pem", image_topic="/i", camera_info_topic="/c", namespace="front",
        params_file="/p.yaml", use_sim_time="true", log_level="warn",
    ).perception  # fmt: skip
    assert isinstance(node, recorded.LifecycleNode)
    assert (node.package, node.name, node.namespace) == ("densemtl", "perception", "front")
    assert parameters(node) == {
        "file": "/p.yaml", "bundle": "/b", "bundle_public_key": "/k.pem", "use_sim_time": True, "autostart": True,
    }  # fmt: skip
    assert dict(node.remappings) == {"image": "/i", "camera_info": "/c"}
    assert node.arguments == ["--ros-args", "--log-level", "warn"]
    assert node.respawn is True


def test_the_parameter_file_does_not_overrule_the_arguments():
    files = [isinstance(p, str) for p in Launched(bundle="/b").perception.parameters]
    assert files == [True, False]


@pytest.mark.parametrize("name", ["bundle", "bundle_public_key"])
def test_paths_stay_texts_whatever_they_look_like(name):
    (settings,) = [p for p in Launched(**{name: "12"}).perception.parameters if isinstance(p, dict)]
    assert settings[name] == recorded.ParameterValue("12", str)


@pytest.mark.parametrize("name", ["bundle", "bundle_public_key"])
def test_without_a_path_the_parameter_file_decides(name):
    assert name not in parameters(Launched().perception)


def test_the_default_parameter_file_is_the_packages_own():
    path = parameters(Launched().perception)["file"]
    assert path == "<share of densemtl>/config/perception.yaml"
    assert (PACKAGE / "config" / "perception.yaml").is_file()


def test_executables_are_entry_points_of_the_package():
    names = {n.executable for n in Launched(source="street", viewer="browser").nodes}
    assert len(names) == 3
    entries = dict(re.findall(r'"(\w+) = ([\w.]+:\w+)"', (PACKAGE / "setup.py").read_text()))
    assert names <= set(entries)
    for name in names:
        module, function = entries[name].split(":")
        tree = ast.parse((PACKAGE / Path(*module.split(".")).with_suffix(".py")).read_text())
        assert function in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def test_remapped_names_are_those_that_the_replay_node_publishes():
    source = (PACKAGE / "densemtl_ros" / "replay_node.py").read_text()
    for name, _ in Launched(source="street").node("replay").remappings:
        assert f'"{name}", ' in source


@pytest.mark.parametrize(("source", "path"), [("video", "/d/drive.mp4"), ("folder", "/d/frames"), ("street", "")])
def test_stand_in_for_the_camera_plays_on_the_cameras_topics(source, path):
    launched = Launched(source=source, source_path=path, image_topic="/i", camera_info_topic="/c", namespace="front")
    replay = launched.node("replay")
    assert parameters(replay) == {"source": path or "street", "loop": True, "use_sim_time": False}
    assert replay.remappings == launched.perception.remappings
    assert replay.namespace == launched.perception.namespace
    assert not replay.respawn


def test_without_names_there_is_one_camera_called_camera():
    perception = Launched().perception
    assert dict(perception.remappings) == {"image": "/camera/image_raw", "camera_info": "/camera/camera_info"}
    assert "cameras" not in parameters(perception), "the parameter file decides"


@pytest.mark.parametrize("names", ["front,rear", "front rear", " front, rear,"])
def test_several_cameras_of_one_node(names):
    launched = Launched(cameras=names, image_topic="/{camera}/color", namespace="robot")
    (node,) = launched.nodes
    assert parameters(node)["cameras"] == ["front", "rear"]
    assert dict(node.remappings) == {
        "front/image": "/front/color", "front/camera_info": "/front/camera_info",
        "rear/image": "/rear/color", "rear/camera_info": "/rear/camera_info",
    }  # fmt: skip


def test_a_named_camera_may_have_any_topic():
    node = Launched(cameras="front", image_topic="/i", camera_info_topic="/{camera}/info").perception
    assert dict(node.remappings) == {"front/image": "/i", "front/camera_info": "/front/info"}


@pytest.mark.parametrize("argument", ["image_topic", "camera_info_topic"])
def test_one_topic_for_several_cameras_is_refused_in_one_line(argument):
    with pytest.raises(RuntimeError) as error:
        Launched(cameras="front,rear", **{argument: "/camera/it"})
    assert str(error.value) == f"{argument}:=/camera/it is one topic for 2 cameras; write {{camera}} into it"


@pytest.mark.parametrize(("namespace", "places"), [("", ["front", "rear"]), ("robot", ["robot/front", "robot/rear"])])
def test_each_of_several_cameras_has_its_own_stand_in(namespace, places):
    launched = Launched(cameras="front,rear", source="street", namespace=namespace)
    replays = [n for n in launched.nodes if n.executable == "replay"]
    assert [n.namespace for n in replays] == places
    heard = dict(launched.perception.remappings)
    for camera, node in zip(("front", "rear"), replays, strict=True):
        played = dict(node.remappings)
        assert {f"{camera}/{name}": topic for name, topic in played.items()}.items() <= heard.items()
        assert parameters(node)["source"] == "street"
    assert launched.perception.namespace == namespace


@pytest.mark.parametrize("simulated", ["true", "false"])
def test_a_bag_is_the_clock_of_simulated_time(simulated):
    launched = Launched(source="bag", source_path="/d/bag", source_topic="/c/image", use_sim_time=simulated)
    bag = {key: value for key, value in parameters(launched.node("replay")).items() if key not in ("source", "loop")}
    own = simulated == "true"
    assert bag == {"topic": "/c/image", "keep_stamps": own, "clock": own, "use_sim_time": own}


@pytest.mark.parametrize("source", ["video", "folder", "bag"])
def test_source_without_a_path_is_refused(source):
    with pytest.raises(RuntimeError, match=f"source:={source} needs source_path"):
        Launched(source=source)


def test_every_process_of_ours_gets_the_transport(monkeypatch):
    monkeypatch.setattr("densemtl_ros.transport._shared_memory_free", lambda: 2**40)
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS"):
        monkeypatch.delenv(name, raising=False)
    for node in Launched(source="street", viewer="browser").nodes:
        profiles = [v for k, v in node.additional_env.items() if k.endswith("DEFAULT_PROFILES_FILE")]
        assert [Path(p).name for p in profiles] == ["fastdds.xml"]


@pytest.mark.parametrize("value", ["true", "false"])
def test_the_node_starts_itself_so_that_it_also_does_after_a_crash(value):
    launched = Launched(autostart=value)
    assert parameters(launched.perception)["autostart"] is (value == "true")
    assert launched.perception.respawn
    assert launched.actions == [launched.perception]


def test_viewers():
    assert len(Launched(viewer="none").nodes) == 1
    browser = Launched(viewer="browser", namespace="front", use_sim_time="true").node("viewer")
    assert (browser.package, browser.output) == ("densemtl", "screen")
    assert parameters(browser) == {"use_sim_time": True}, "where it listens stays its own default: this computer only"
    assert browser.namespace is None, "it shows all cameras"
    rviz = Launched(viewer="rviz").node("rviz2")
    layout = recorded.text(rviz.arguments[1], {})
    assert layout == "<share of densemtl>/rviz/perception.rviz"
    assert (PACKAGE / "rviz" / "perception.rviz").is_file()
    bridge = Launched(viewer="foxglove").node("foxglove_bridge")
    assert parameters(bridge)["address"] == "127.0.0.1"


def test_the_installed_launch_file_is_this_one():
    assert (PACKAGE / "launch").resolve() == FILE.parent
    assert 'glob("launch/*.launch.py")' in (PACKAGE / "setup.py").read_text()


def test_under_the_real_launch(monkeypatch):
    """Every argument is shown and the nodes are built by the real classes."""
    monkeypatch.undo()
    pytest.importorskip("launch_ros")
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch_ros.actions import LifecycleNode, Node

    from launch import LaunchContext

    description = load().generate_launch_description()
    assert {a.name for a in description.entities if isinstance(a, DeclareLaunchArgument)} == ISSUED
    context = LaunchContext()
    for argument in (a for a in description.entities if isinstance(a, DeclareLaunchArgument)):
        context.launch_configurations[argument.name] = {"source": "street", "params_file": "/p.yaml"}.get(
            argument.name, "true" if argument.name == "autostart" else "false"
        )
    (setup,) = [e for e in description.entities if isinstance(e, OpaqueFunction)]
    actions = setup.execute(context)
    assert sum(isinstance(a, LifecycleNode) for a in actions) == 1
    assert sum(isinstance(a, Node) for a in actions) == 2
