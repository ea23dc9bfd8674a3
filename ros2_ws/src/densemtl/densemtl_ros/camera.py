"""One camera of the node: what it subscribes to, what it publishes, and what is counted of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.lifecycle import LifecycleNode

from densemtl_ros.camera_input import CameraInput, Frame
from densemtl_ros.camera_outputs import CameraOutputs
from densemtl_ros.frame_statistics import FrameStatistics

__all__ = ["Camera"]


class Camera:
    """Holds together what belongs to one camera; nothing of it is shared with another.

    Args:
        node: the owner.
        name: of the camera, which begins its topics (``NAME/image``, ``~/NAME/depth/image``); empty for the only camera
            of a node, whose topics are without one (``image``, ``~/depth/image``).

    Attributes:
        name: as given.
        statistics: counts its frames, as long as the node lives.
        input: its subscriptions, while the node is active; else None.
        outputs: its publishers, while the node is configured; else None.
    """

    def __init__(self, node: LifecycleNode, name: str = "") -> None:
        self._node = node
        self.name = name
        self._prefix = f"{name}/" if name else ""
        self.statistics = FrameStatistics()
        self.input: CameraInput | None = None
        self.outputs: CameraOutputs | None = None

    @property
    def status_name(self) -> str:
        """What its diagnostic status is called, after the node's name."""
        return self.name or "frames"

    def advertise(self, tasks: Sequence[str], reliability: str) -> None:
        """Make the publishers for a bundle's tasks."""
        self.outputs = CameraOutputs(self._node, tasks, self._prefix, reliability)

    def subscribe(self, settings: Mapping[str, Any], accept: Callable[[Camera, Frame], bool]) -> None:
        """Subscribe to the images.

        Args:
            settings: value by parameter name.
            accept: called with this camera and each usable frame, in the executor's thread; returns whether an older
                frame was overtaken.
        """

        def hand_over(frame: Frame) -> None:
            if accept(self, frame):
                self.statistics.dropped()

        self.input = CameraInput(
            self._node,
            prefix=self._prefix,
            transport=settings["image_transport"],
            reliability=settings["input_reliability"],
            max_pixels=settings["max_pixels"],
            statistics=self.statistics,
            accept=hand_over,
        )

    def unsubscribe(self) -> None:
        """End the subscriptions, if there are any."""
        source, self.input = self.input, None
        if source is not None:
            source.close()

    def withdraw(self) -> None:
        """Destroy the publishers, if there are any."""
        outputs, self.outputs = self.outputs, None
        if outputs is not None:
            outputs.close()
