"""The labels' message where vision_msgs is installed; test_perception_node.py sends them for real, in either form."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from builtin_interfaces.msg import Time
from densemtl_ros import label_info


@dataclass
class VisionClass:
    """Fields of vision_msgs/VisionClass."""

    class_id: int = 0
    class_name: str = ""


@dataclass
class LabelInfo:
    """Fields of vision_msgs/LabelInfo."""

    header: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(stamp=None, frame_id=""))
    class_map: list = field(default_factory=list)
    threshold: float = 0.0


def test_label_info_is_filled(monkeypatch):
    monkeypatch.setattr(label_info, "LabelInfo", LabelInfo)
    monkeypatch.setattr(label_info, "VisionClass", VisionClass)
    message = label_info.label_message(("road", "car"), 0.25, Time(sec=7))
    assert label_info.label_type() is LabelInfo
    assert message.class_map == [VisionClass(0, "road"), VisionClass(1, "car")]
    assert message.threshold == pytest.approx(0.25)
    assert message.header.stamp == Time(sec=7)


def test_the_fields_are_those_of_vision_msgs():
    real = pytest.importorskip("vision_msgs.msg")
    assert set(real.LabelInfo.get_fields_and_field_types()) == {"header", "class_map", "threshold"}
    assert set(real.VisionClass.get_fields_and_field_types()) == {"class_id", "class_name"}
