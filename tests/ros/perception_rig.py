"""The node under test in this process, in an executor thread of its own, with a camera and a listener for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from camera_rig import RELIABLE, CameraRig
from densemtl_ros.perception_node import PerceptionNode
from fake_predictor import FakePredictor
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile


class PerceptionRig(CameraRig):
    """A perception node that computes with a fake, and what is needed to talk to it over DDS.

    Args:
        predictor: what the node computes with.
        factory: replaces the factory that returns `predictor`.
        camera_qos: of the test camera.
        **parameters: of the node; ``__`` in a name stands for a dot.
    """

    def __init__(
        self,
        predictor: FakePredictor | None = None,
        *,
        factory: Callable[..., Any] | None = None,
        camera_qos: QoSProfile = RELIABLE,
        **parameters: Any,
    ) -> None:
        super().__init__("/robot/perception", camera_qos=camera_qos)
        self.predictor = predictor or FakePredictor()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._node_executor = SingleThreadedExecutor(context=self.context)
        try:
            self.node = PerceptionNode(
                factory or (lambda bundle, **options: self.predictor),
                context=self.context,
                namespace="/robot",
                parameter_overrides=[Parameter(name.replace("__", "."), value=v) for name, v in parameters.items()],
            )
        except BaseException:
            super().close()
            raise
        self._node_executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin_node, daemon=True)
        self._thread.start()

    def _spin_node(self) -> None:
        while not self._stop.is_set():
            self._node_executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        """Stop and destroy both nodes."""
        self._stop.set()
        self._thread.join(10)
        self.node.close()
        self._node_executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        super().close()

    def activate(self, *topics: str) -> None:
        """Configure, activate, listen, and wait until camera and outputs are connected both ways."""
        self.listen(*topics)
        assert self.transition("configure")
        assert self.transition("activate")
        self.connect(*topics)

    def connect(self, *topics: str) -> None:
        """Wait until the node hears the camera, and its publishers know their listeners."""
        self.until(self.camera.get_subscription_count, "the node subscribes to the camera")
        wanted = {f"{self.name}/{topic}" for topic in topics}
        self.until(
            lambda: wanted <= {p.topic_name for p in list(self.node.publishers) if p.get_subscription_count()},
            f"listeners of {topics}",
        )
        if self.node.settings["input_reliability"] == "auto":
            # It may subscribe anew, which would lose a frame that is sent meanwhile.
            self.until(self.input_settled, "the subscription has the camera's reliability")

    def state_without_asking(self) -> str:
        """The node's state, read while its services cannot answer."""
        return self.values()["lifecycle_state"]

    def values(self, camera: str = "") -> dict[str, str]:
        """The diagnostic values of a camera at this moment, without waiting for the node's timer."""
        (own,) = [c for c in self.node.cameras if c.name == camera]
        return dict(self.node.diagnose(own).values)

    def count(self, key: str, camera: str = "") -> int:
        """One diagnostic count of a camera; 0 while it is not listed."""
        return int(self.values(camera).get(key, "0"))
