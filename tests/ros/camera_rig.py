"""A camera and a listener on the other side of DDS from a perception node."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from densemtl_ros.image_codec import fill_image
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
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
TIMEOUT = 30.0


def picture(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """``(H, W, 3)`` uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_array(message: Image) -> np.ndarray:
    """The pixels of an output message."""
    dtype, channels = {"mono8": ("u1", 1), "rgb8": ("u1", 3), "32FC1": ("f4", 1), "32FC3": ("f4", 3)}[message.encoding]
    shape = (message.height, message.width) + ((channels,) if channels > 1 else ())
    return np.frombuffer(message.data, dtype).reshape(shape)


class CameraRig:
    """A test node that plays the camera of a perception node and listens to it.

    Args:
        name: full name of the perception node, in this process or another.
        camera_qos: of the camera.
    """

    def __init__(self, name: str, *, camera_qos: QoSProfile = RELIABLE) -> None:
        self.name = name
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.tester = rclpy.create_node("tester", context=self.context, namespace=name.rpartition("/")[0])
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.tester)
        self.camera = self.tester.create_publisher(Image, "image", camera_qos)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.statuses: list[DiagnosticStatus] = []
        self.tester.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses.extend(s for s in message.status if s.name.startswith(self.name.lstrip("/")))

    def close(self) -> None:
        """Destroy the test node."""
        self._executor.shutdown(timeout_sec=1.0)
        self.tester.destroy_node()
        rclpy.try_shutdown(context=self.context)

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
                self.received[topic].append(message)

            self.tester.create_subscription(kind, f"{self.name}/{topic}", keep, qos)

    def input_settled(self) -> bool:
        """Whether the node subscribes to the camera with the camera's own reliability."""
        publishers = self.tester.get_publishers_info_by_topic(self.camera.topic_name)
        subscribers = self.tester.get_subscriptions_info_by_topic(self.camera.topic_name)
        offered = {info.qos_profile.reliability for info in publishers}
        return bool(subscribers) and offered == {info.qos_profile.reliability for info in subscribers}

    def message(self, image: np.ndarray, encoding: str = "rgb8", stamp: int | None = None) -> Image:
        """A camera message; ``stamp`` in nanoseconds, now by default."""
        message = Image()
        stamp = self.tester.get_clock().now().nanoseconds if stamp is None else stamp
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        message.header.frame_id = "camera_optical"
        fill_image(message, image, encoding)
        return message


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read a process's output up to the line that holds a text."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"the process ended without {text!r}:\n{''.join(lines)}")
