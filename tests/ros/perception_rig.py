"""The node under test in an executor thread of its own, and a camera and listener on the other side of DDS."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from densemtl_ros.image_codec import fill_image
from densemtl_ros.perception_node import PerceptionNode
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fake_predictor import FakePredictor
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
TIMEOUT = 15.0


def picture(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """``(H, W, 3)`` uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_array(message: Image) -> np.ndarray:
    """The pixels of an output message."""
    dtype, channels = {"mono8": ("u1", 1), "rgb8": ("u1", 3), "32FC1": ("f4", 1), "32FC3": ("f4", 3)}[message.encoding]
    shape = (message.height, message.width) + ((channels,) if channels > 1 else ())
    return np.frombuffer(message.data, dtype).reshape(shape)


class PerceptionRig:
    """Node, executor thread, and a test node to talk to it.

    Args:
        predictor: what the node computes with.
        namespace: of the node under test.
        factory: replaces the factory that returns `predictor`.
        camera_qos: of the test camera.
        **parameters: of the node; ``__`` in a name stands for a dot.
    """

    def __init__(
        self,
        predictor: FakePredictor | None = None,
        *,
        namespace: str = "/robot",
        factory: Callable[..., Any] | None = None,
        camera_qos: QoSProfile = RELIABLE,
        **parameters: Any,
    ) -> None:
        self.predictor = predictor or FakePredictor()
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()]
        self.node = PerceptionNode(
            factory or (lambda bundle, **options: self.predictor),
            context=self.context,
            namespace=namespace,
            parameter_overrides=overrides,
        )
        self._node_executor = SingleThreadedExecutor(context=self.context)
        self._node_executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin_node, daemon=True)
        self._thread.start()

        self.name = self.node.get_fully_qualified_name()
        self.tester = rclpy.create_node("tester", context=self.context, namespace=namespace)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.tester)
        self.camera = self.tester.create_publisher(Image, "image", camera_qos)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.arrived: dict[str, list[float]] = defaultdict(list)
        self.statuses: list[DiagnosticStatus] = []
        self.tester.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _spin_node(self) -> None:
        while not self._stop.is_set():
            self._node_executor.spin_once(timeout_sec=0.05)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses.extend(s for s in message.status if s.name.startswith(self.name.lstrip("/")))

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self.node.close()
        for executor in (self._executor, self._node_executor):
            executor.shutdown(timeout_sec=1.0)
        self.tester.destroy_node()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    # What a test does with it ----------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> Any:
        """Serve the test node's callbacks until something holds; its value."""
        deadline = time.monotonic() + timeout
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, f"waited {timeout} s for: {what}"
            self._executor.spin_once(timeout_sec=0.02)

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """Call one of the node's services and wait for the answer."""
        client = self.tester.create_client(kind, f"{self.name}/{service}")
        self.until(client.service_is_ready, f"service {service}")
        future = client.call_async(request)
        self.until(future.done, f"answer of {service}")
        self.tester.destroy_client(client)
        return future.result()

    def transition(self, label: str) -> bool:
        """Ask for a lifecycle transition; whether it succeeded."""
        request = ChangeState.Request(transition=Transition(label=label))
        return self.call(ChangeState, "change_state", request).success

    def state(self) -> str:
        """The node's lifecycle state."""
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def set_parameters(self, **parameters: Any) -> list[str]:
        """Set parameters through the node's service; a reason each, empty where it was accepted."""
        changes = [Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()]
        request = SetParameters.Request(parameters=[change.to_parameter_msg() for change in changes])
        results = self.call(SetParameters, "set_parameters", request).results
        assert all(result.successful != bool(result.reason) for result in results)
        return [result.reason for result in results]

    def listen(self, *topics: str, kind: Any = Image, qos: QoSProfile = RELIABLE) -> None:
        """Subscribe to outputs, named below the node."""
        for topic in topics:

            def keep(message: Any, topic: str = topic) -> None:
                self.arrived[topic].append(time.monotonic())
                self.received[topic].append(message)

            self.tester.create_subscription(kind, f"{self.name}/{topic}", keep, qos)

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
        # `auto` may subscribe anew, which would lose a frame that is sent meanwhile.
        self.until(self._input_settled, "the subscription has the camera's reliability")

    def _input_settled(self) -> bool:
        infos = self.tester.get_publishers_info_by_topic(self.camera.topic_name)
        subscribers = self.tester.get_subscriptions_info_by_topic(self.camera.topic_name)
        offered = {info.qos_profile.reliability for info in infos}
        requested = {info.qos_profile.reliability for info in subscribers}
        wish = self.node.settings["input_reliability"]
        return bool(subscribers) and (wish != "auto" or offered == requested)

    def message(self, image: np.ndarray, encoding: str = "rgb8", stamp: int | None = None) -> Image:
        """A camera message; ``stamp`` in nanoseconds, now by default."""
        message = Image()
        stamp = self.tester.get_clock().now().nanoseconds if stamp is None else stamp
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        message.header.frame_id = "camera_optical"
        fill_image(message, image, encoding)
        return message

    def values(self) -> dict[str, str]:
        """The node's diagnostic values at this moment, without waiting for its timer."""
        return dict(self.node.diagnose().values)

    def count(self, key: str) -> int:
        """One diagnostic count; 0 while it is not listed."""
        return int(self.values().get(key, "0"))
