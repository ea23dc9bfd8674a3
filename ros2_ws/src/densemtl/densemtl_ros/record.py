"""Record topics to a ROS 2 bag without ros2bag: ``python -m densemtl_ros.record OUT TOPIC...``.

Messages are written as they arrive, byte for byte. The bag appears as OUT when the recording ends, by Ctrl-C, SIGTERM,
--seconds or --messages. Exit status: 0; 1 when nothing arrived or writing failed; 2 for bad arguments.
"""

from __future__ import annotations

import argparse
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from densemtl_core.errors import InputError
from densemtl_ros.bag_writer import STORAGES, BagWriter, offered_qos
from densemtl_ros.error_text import one_line
from densemtl_ros.message_types import describe_to_bags, message_class
from densemtl_ros.node_process import close_ros, end_after

__all__ = ["Recorder", "main"]

_LOOK_SECONDS = 0.2
"""Between two looks for topics and publishers that have appeared."""
_PATIENCE = 10.0
"""Seconds that the first message may take longer than --seconds."""
_DEPTH = 100
"""Messages that wait while the disk is slow."""
_LATCHED_DEPTH = 1000
"""Of latched topics all that the publisher keeps: it has one history for everybody."""


class Recorder(Node):
    """Subscribes to topics as soon as they have a publisher, as that one offers.

    Args:
        writer: where messages go.
        topics: their names.
        **options: further arguments of `rclpy.node.Node`.

    Attributes:
        counts: messages of each topic so far.

    Raises:
        InputError: a name that is no topic's, or one whose publishers cannot be recorded.
    """

    def __init__(self, writer: BagWriter, topics: Sequence[str], **options: Any) -> None:
        super().__init__("recorder", **options)
        self._writer = writer
        try:
            self.counts = {self.resolve_topic_name(topic): 0 for topic in topics}
        except Exception as error:  # rclpy's, for a name with a blank say
            raise InputError(f"no topic's name: {one_line(error)}") from None
        self._subscriptions_by_topic: dict[str, tuple[Any, QoSProfile]] = {}
        self._refused: set[str] = set()
        for topic in self.counts:
            self._look_at(topic)
        # Not the node's clock: simulated time may stand still.
        self.create_timer(_LOOK_SECONDS, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def waiting_for(self) -> list[str]:
        """Topics that are not recorded, because they have no publisher yet."""
        return [topic for topic in self.counts if topic not in self._subscriptions_by_topic]

    def _look(self) -> None:
        for topic in self.counts:
            if topic in self._refused:
                continue
            try:
                self._look_at(topic)
            except InputError as error:  # what the other topics have given must not be lost
                self._refused.add(topic)
                self.get_logger().error(f"not recorded: {error}")

    def _look_at(self, topic: str) -> None:
        publishers = self.get_publishers_info_by_topic(topic)
        if not publishers:
            return
        qos = _matching([info.qos_profile for info in publishers])
        if topic not in self._subscriptions_by_topic:
            self._begin(topic, publishers, qos)
            return
        subscription, present = self._subscriptions_by_topic[topic]
        if _demands_less(qos, present):  # a publisher has come that offers less: it would not be heard
            self.destroy_subscription(subscription)
            self._subscribe(topic, publishers[0].topic_type, qos)

    def _begin(self, topic: str, publishers: Sequence[Any], qos: QoSProfile) -> None:
        kinds = sorted({info.topic_type for info in publishers})
        if len(kinds) > 1:
            raise InputError(f"topic {topic} has publishers of {', '.join(kinds)}; record one that has one type")
        describe_to_bags(kinds[0])
        self._writer.add_topic(topic, kinds[0], [_offer(info.qos_profile) for info in publishers])
        self._subscribe(topic, kinds[0], qos)

    def _subscribe(self, topic: str, kind: str, qos: QoSProfile) -> None:
        subscription = self.create_subscription(message_class(kind), topic, partial(self._on, topic), qos, raw=True)
        self._subscriptions_by_topic[topic] = (subscription, qos)
        latched = ", latched" if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL else ""
        self.get_logger().info(f"recording {topic} ({kind}, {qos.reliability.name.lower()}{latched})")

    def _on(self, topic: str, message: bytes) -> None:
        self._writer.write(topic, time.time_ns(), message)
        self.counts[topic] += 1


def _matching(offered: Sequence[QoSProfile]) -> QoSProfile:
    """The most that every publisher offers: more would not be heard, less would lose messages."""
    reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
    latched = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        depth=_LATCHED_DEPTH if latched else _DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _demands_less(qos: QoSProfile, than: QoSProfile) -> bool:
    return (than.reliability == ReliabilityPolicy.RELIABLE and qos.reliability == ReliabilityPolicy.BEST_EFFORT) or (
        than.durability == DurabilityPolicy.TRANSIENT_LOCAL and qos.durability == DurabilityPolicy.VOLATILE
    )


def _offer(qos: QoSProfile) -> Any:
    # The middleware does not tell the depth of another process's publisher: then 0.
    latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return offered_qos(reliable=qos.reliability == ReliabilityPolicy.RELIABLE, latched=latched, depth=qos.depth or 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: command line; None = that of the process. What follows ``--ros-args`` is for ROS.

    Returns:
        Exit status.
    """
    code = _record(list(sys.argv[1:] if arguments is None else arguments))
    if arguments is None:
        end_after(code)
    return code


def _record(given: list[str]) -> int:
    ours = given[: given.index("--ros-args")] if "--ros-args" in given else given
    options = _parser().parse_args(ours)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        return _run(options, given[len(ours) :], stop)
    except InputError as error:
        print(f"record: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if not isinstance(error, (OSError, sqlite3.Error)):  # not a full disk: show where it is
            traceback.print_exc()
        print(f"record: {one_line(error)}; the bag is lost", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m densemtl_ros.record", description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, metavar="OUT", help="folder of the new bag; must not exist")
    parser.add_argument("topics", nargs="+", metavar="TOPIC", help="what to record")
    parser.add_argument("--storage", choices=STORAGES, default="mcap", help="kind of the new bag (default: mcap)")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="end so many after the first message; if none comes, 10 later"
    )
    parser.add_argument("--messages", type=int, default=0, help="end when every topic has so many")
    return parser


def _run(options: argparse.Namespace, ros_arguments: list[str], stop: threading.Event) -> int:
    for name in ("seconds", "messages"):
        if not getattr(options, name) >= 0:
            raise InputError(f"--{name} is {getattr(options, name):g}, must be 0 (no end) or more")
    with BagWriter(options.output, options.storage) as writer:
        rclpy.init(args=ros_arguments, signal_handler_options=SignalHandlerOptions.NO)
        executor, node = SingleThreadedExecutor(), None
        try:
            node = Recorder(writer, options.topics)
            executor.add_node(node)
            print(
                f"recording to {writer.path}, which appears when the recording ends (Ctrl-C); a recording that is "
                f"killed stays unfinished in {writer.work.parent}",
                flush=True,
            )
            _spin(executor, node, options, stop)
        except (OSError, sqlite3.Error) as error:
            return _cut_short(writer, error)
        finally:
            close_ros(executor, node)
        if not writer.count:
            print(f"record: no message arrived on {', '.join(node.counts)}: no bag", file=sys.stderr)
            return 1
        writer.finish()
    print("\n".join(f"{count:8d} {topic}" for topic, count in node.counts.items()))
    print(f"{writer.path}: {writer.count} messages, {writer.size / 1e6:.1f} MB")
    return 0


def _cut_short(writer: BagWriter, error: Exception) -> int:
    """Keep and tell what there is when writing has failed."""
    saved = writer.rescue()
    kept = f"what came before is in {saved}" if saved else "nothing of it could be kept (an .mcap could be)"
    print(
        f"record: {error} after {writer.size / 1e6:.1f} MB for {writer.path}; {kept}; make room and record again",
        file=sys.stderr,
    )
    return 1


def _spin(executor: Any, node: Recorder, options: argparse.Namespace, stop: threading.Event) -> None:
    began, first = time.monotonic(), None
    told = False
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
        now = time.monotonic()
        if first is None and any(node.counts.values()):
            first = now
        if options.seconds and now - (began + _PATIENCE if first is None else first) >= options.seconds:
            return
        if options.messages and min(node.counts.values()) >= options.messages:
            return
        if not told and node.waiting_for and now - began > 5.0:
            told = True
            node.get_logger().warning(f"no publisher yet of {', '.join(node.waiting_for)}")


if __name__ == "__main__":
    sys.exit(main())
