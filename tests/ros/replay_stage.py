"""Replay nodes and an audience in one context, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from densemtl_ros.replay_node import ReplayNode
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions


class Stage:
    """Where replay nodes play to one listening node, ``audience``.

    Args:
        timeout: seconds that `until` waits at most.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.audience = rclpy.create_node("audience", context=self.context, namespace="/stage")
        self.nodes = [self.audience]
        self.executor.add_node(self.audience)

    def play(self, **parameters: Any) -> ReplayNode:
        """Start a replay node with parameters."""
        overrides = [Parameter(k, value=v) for k, v in parameters.items()]
        node = ReplayNode(context=self.context, namespace="/stage", parameter_overrides=overrides)
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Serve every node until something holds."""
        end = time.monotonic() + self._timeout
        while not condition():
            assert time.monotonic() < end, f"waited {self._timeout} s for: {what}"
            self.executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        """End them all."""
        self.executor.shutdown(timeout_sec=1.0)
        for node in self.nodes:
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)
