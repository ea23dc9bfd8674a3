"""The layouts for rviz and Foxglove show what the node publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from densemtl_ros.frame_statistics import FrameStatistics, Limits
from densemtl_ros.outputs import OUTPUTS

PACKAGE = Path(__file__).parents[3] / "ros2_ws" / "src" / "densemtl"
RVIZ = PACKAGE / "rviz" / "perception.rviz"
FOXGLOVE = PACKAGE / "config" / "foxglove.json"
NODE = "/perception"

IMAGES = {f"{NODE}/{output.topic}": output.encoding for output in OUTPUTS}
PUBLISHED = {
    *IMAGES,
    *(f"{NODE}/{topic}" for topic in ("camera_info", "semantic/label_info", "points")),
    "/diagnostics",
}


def texts(value: Any) -> Iterator[str]:
    """Every text in a nested structure, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(key)
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def foxglove() -> dict[str, Any]:
    return json.loads(FOXGLOVE.read_text())


def displays() -> list[dict[str, Any]]:
    return yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Displays"]


@pytest.mark.parametrize("content", [yaml.safe_load(RVIZ.read_text()), foxglove()], ids=["rviz", "foxglove"])
def test_every_topic_in_a_layout_is_one_that_the_node_publishes(content):
    topics = {re.match(r"[\w/]+", text)[0] for text in texts(content) if text.startswith("/")}
    assert topics <= PUBLISHED
    assert f"{NODE}/points" in topics


def test_foxglove_shows_each_panel_once():
    content = foxglove()

    def panels(place: Any) -> list[str]:
        if isinstance(place, str):
            return [place]
        assert place["direction"] in ("row", "column")
        assert 0 < place["splitPercentage"] < 100
        return panels(place["first"]) + panels(place["second"])

    assert sorted(panels(content["layout"])) == sorted(content["configById"])


def test_foxglove_image_panels_show_images_that_it_can_decode():
    """It knows no 32FC3: normals are shown as their picture."""
    shown = {name: config for name, config in foxglove()["configById"].items() if name.startswith("Image!")}
    assert len(shown) == 5
    for config in shown.values():
        mode = config["imageMode"]
        assert IMAGES[mode["imageTopic"]] in ("rgb8", "mono8", "32FC1")
        assert mode["calibrationTopic"] == f"{NODE}/camera_info"
        assert ("colorMap" in mode) is (IMAGES[mode["imageTopic"]] == "32FC1")


def test_foxglove_plots_figures_that_the_diagnostics_have():
    statistics = FrameStatistics()
    stages = ("decode", "infer", "encode", "publish", "age_at_input", "age_at_publish")
    statistics.processed(dict.fromkeys(stages, 0.001), 0.004, 100.0)
    figures = dict(statistics.report(Limits(100.0, 10, 1.0)).values)
    plotted = [path["value"] for name, c in foxglove()["configById"].items() if "Plot!" in name for path in c["paths"]]
    keys = [re.fullmatch(r'/diagnostics\.status\[:\]\.values\[:\]\{key=="(\w+)"\}\.value', path)[1] for path in plotted]
    assert len(set(keys)) == len(keys) > 5
    for key in keys:
        float(figures[key])


def test_rviz_asks_for_no_more_than_the_node_offers():
    for display in displays():
        assert display["Topic"]["Reliability Policy"] == "Reliable"
        assert "Durability Policy" not in display["Topic"], "the default, volatile, is what images have"


def test_rviz_shows_the_cloud_only_when_asked():
    """The node computes a cloud once somebody subscribes, and not at all by default."""
    enabled = {display["Class"].rpartition("/")[2]: display["Enabled"] for display in displays()}
    assert enabled == {"Image": True, "PointCloud2": False}


def test_rviz_can_turn_the_view():
    """Rviz starts with the tools of the file and no others."""
    tools = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Tools"]
    assert {"Class": "rviz_default_plugins/MoveCamera"} in tools
