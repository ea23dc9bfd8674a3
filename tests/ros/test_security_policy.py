"""The example policy for SROS2 allows exactly what the running node does."""

from __future__ import annotations

import contextlib
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

POLICY = Path(__file__).parents[2] / "ros2_ws/src/densemtl/config/sros2_policy.xml"
RULES = {"topics": {"subscribe", "publish"}, "services": {"request", "reply"}, "actions": {"call", "execute"}}


def profile() -> ElementTree.Element:
    (found,) = ElementTree.parse(POLICY).getroot().iterfind("enclaves/enclave/profiles/profile")
    return found


def allowed(namespace: str) -> dict[str, set[str]]:
    """Full names by rule, as `ros2 security create_permission` expands them for a node in a namespace."""
    node = f"{namespace}/{profile().get('node')}"
    names: dict[str, set[str]] = {}
    for group in profile():
        for rule in group.attrib:
            for expression in group:
                name = expression.text
                full = node + name[1:] if name[0] == "~" else name if name[0] == "/" else f"{namespace}/{name}"
                names.setdefault(rule, set()).add(full)
    return names


def used(rig) -> dict[str, set[str]]:
    """Full names of what the node has, by the rule that it needs."""
    kinds = {"publish": "publisher", "subscribe": "subscriber", "reply": "service", "request": "client"}
    namespace, _, node = rig.name.rpartition("/")
    found = {}
    for rule, kind in kinds.items():
        names = {n for n, _ in getattr(rig.tester, f"get_{kind}_names_and_types_by_node")(node, namespace)}
        if names:
            found[rule] = names
    return found


@pytest.mark.parametrize(
    ("parameters", "unused"),
    [
        ({}, {"/robot/image/compressed", "/clock"}),
        ({"image_transport": "compressed"}, {"/robot/image", "/clock"}),
        ({"use_sim_time": True}, {"/robot/image/compressed"}),
    ],
    ids=["defaults", "compressed", "simulated time"],
)
def test_the_running_node_does_what_is_allowed_and_nothing_else(start_rig, parameters, unused):
    compare(start_rig(**parameters), {rule: names - unused for rule, names in allowed("/robot").items()})


def test_with_named_cameras_the_name_goes_where_the_document_says(start_rig):
    wanted = allowed("/robot")
    inputs = {name for name in wanted["subscribe"] if name.endswith(("/image", "/camera_info"))}
    outputs = {name for name in wanted["publish"] if name.startswith("/robot/perception/")}
    outputs.discard("/robot/perception/transition_event")
    wanted["subscribe"] = {name.replace("/robot/", "/robot/front/") for name in inputs}
    wanted["publish"] -= outputs
    wanted["publish"] |= {name.replace("/perception/", "/perception/front/") for name in outputs}
    compare(start_rig(cameras=["front"]), wanted)


def compare(rig, wanted: dict[str, set[str]]) -> None:
    """Assert that an active node has what is wanted and nothing else."""
    assert rig.transition("configure")
    assert rig.transition("activate")
    with contextlib.suppress(AssertionError):  # discovery takes a moment; the comparison below tells more
        rig.until(lambda: used(rig) == wanted, "the node's graph", 5.0)
    found = used(rig)
    differences = {name for rule in wanted | found for name in wanted.get(rule, set()) ^ found.get(rule, set())}
    assert differences == set(), f"{POLICY.name} and the running node differ"


def test_the_policy_has_the_form_that_sros2_reads():
    root = ElementTree.parse(POLICY).getroot()
    assert (root.tag, root.attrib) == ("policy", {"version": "0.2.0"})
    assert [child.tag for child in root] == ["enclaves"]
    for enclave in root[0]:
        assert enclave.tag == "enclave"
        assert re.fullmatch(r"(/[A-Za-z_]\w*)+", enclave.get("path"))
        assert [child.tag for child in enclave] == ["profiles"]
        for one in enclave[0]:
            assert (one.tag, set(one.attrib)) == ("profile", {"ns", "node"})
            assert one.get("ns").startswith("/")
            for group in one:
                assert group.attrib
                assert set(group.attrib) <= RULES[group.tag]
                assert set(group.attrib.values()) <= {"ALLOW", "DENY"}
                for expression in group:
                    assert expression.tag == group.tag.removesuffix("s")
                    assert re.fullmatch(r"~?/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", expression.text)


@pytest.mark.parametrize("namespace", ["", "/front"])
def test_names_expand_as_sros2_expands_them(namespace):
    names = allowed(namespace)
    assert f"{namespace}/image" in names["subscribe"]
    assert f"{namespace}/perception/depth/image" in names["publish"]
    assert "/diagnostics" in names["publish"]


def test_without_keys_enforcing_starts_nothing(start_node, tmp_path, monkeypatch):
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    monkeypatch.setenv("ROS_SECURITY_STRATEGY", "Enforce")
    monkeypatch.setenv("ROS_SECURITY_KEYSTORE", str(tmp_path))
    process = start_node("-m", "densemtl_ros.perception_node", "--ros-args", "--enclave", "/perception")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    assert output.startswith("error: ")
    assert "SECURITY ERROR" in output
