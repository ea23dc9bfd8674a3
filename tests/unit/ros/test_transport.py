"""The environment for big images: the right variable, the user's own settings, the file itself."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from densemtl_ros import transport
from densemtl_ros.transport import config_file, ros_distribution, transport_environment

PLENTY = 2**34
OLD, NEW = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"


def added(**environ):
    return transport_environment(environ, shared_memory_free=PLENTY)


@pytest.mark.parametrize(
    ("distribution", "variable"),
    [("humble", OLD), ("jazzy", OLD), ("kilted", NEW), ("rolling", NEW), ("Jazzy", OLD)],
)
def test_each_distribution_gets_its_variable_and_only_that(distribution, variable):
    found = added(ROS_DISTRO=distribution)
    assert {name for name in found if "PROFILES" in name} == {variable}
    assert Path(found[variable]).is_file()


def test_malloc_keeps_buffers_up_to_the_segment_size():
    found = added(ROS_DISTRO="kilted")
    assert int(found["MALLOC_MMAP_THRESHOLD_"]) >= 2**26
    assert int(found["MALLOC_TRIM_THRESHOLD_"]) >= int(found["MALLOC_MMAP_THRESHOLD_"])


@pytest.mark.parametrize(
    "own",
    [
        {OLD: "/my.xml"},
        {NEW: "/my.xml"},
        {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"},
        {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"},
        {"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"},
    ],
)
def test_the_users_own_transport_is_left_alone(own):
    assert not {OLD, NEW} & set(added(ROS_DISTRO="kilted", **own))


def test_the_users_own_malloc_is_left_alone():
    found = added(ROS_DISTRO="kilted", MALLOC_MMAP_THRESHOLD_="1")
    assert "MALLOC_MMAP_THRESHOLD_" not in found
    assert "MALLOC_TRIM_THRESHOLD_" in found


def test_fast_dds_named_by_hand_is_served():
    assert NEW in added(ROS_DISTRO="kilted", RMW_IMPLEMENTATION="rmw_fastrtps_cpp")


def test_no_profile_where_shared_memory_is_too_small():
    found = transport_environment({"ROS_DISTRO": "kilted"}, shared_memory_free=64 * 2**20)
    assert not {OLD, NEW} & set(found)


def test_nothing_is_added_twice():
    first = added(ROS_DISTRO="jazzy")
    assert added(ROS_DISTRO="jazzy", **first) == {}


@pytest.mark.parametrize(("version", "name"), [("9.1.2", "kilted"), ("7.1.6", "jazzy"), ("3.3.15", "humble")])
def test_distribution_is_known_from_rclpy(monkeypatch, version, name):
    monkeypatch.setattr(transport.metadata, "version", lambda package: version)
    assert ros_distribution({}) == name


def test_unknown_rclpy_gets_the_new_name(monkeypatch):
    monkeypatch.setattr(transport.metadata, "version", lambda package: "42.0")
    assert ros_distribution({}) == ""
    assert NEW in added()


def test_profile_fits_a_camera_frame_and_is_the_default():
    root = ElementTree.parse(config_file("fastdds.xml")).getroot()
    space = {"d": "http://www.eprosima.com"}
    shared = next(t for t in root.iterfind(".//d:transport_descriptor", space) if t.find("d:type", space).text == "SHM")
    assert int(shared.find("d:segment_size", space).text) >= 8 * 1920 * 1080 * 3
    assert int(shared.find("d:maxMessageSize", space).text) >= 1920 * 1080 * 3
    participant = root.find(".//d:participant", space)
    assert participant.get("is_default_profile") == "true"
    known = {t.find("d:transport_id", space).text for t in root.iterfind(".//d:transport_descriptor", space)}
    used = {t.text for t in participant.iterfind(".//d:userTransports/d:transport_id", space)}
    assert used == known


def test_config_is_found_where_the_package_is_installed(tmp_path):
    module = tmp_path / "lib/python3.12/site-packages/densemtl_ros/transport.py"
    share = tmp_path / "share/densemtl/config"
    module.parent.mkdir(parents=True)
    share.mkdir(parents=True)
    (share / "fastdds.xml").write_text("<dds/>")
    assert config_file("fastdds.xml", module) == share / "fastdds.xml"


def test_config_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lost\.yaml"):
        config_file("lost.yaml", tmp_path / "a/b/c.py")
