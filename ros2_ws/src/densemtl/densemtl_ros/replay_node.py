"""Node `replay`: a camera made of a folder of images, a video file, the procedural street world or a bag.

Publishes ``image`` (rgb8) and ``camera_info`` with the same stamp, the time of publishing. Where the source does not
know its camera, the camera info is of the right size and otherwise all zero, which in ROS means uncalibrated. The
messages of a bag go out as they were recorded, JPEG ones on ``image/compressed``, with the bag's own camera_info.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from densemtl_core.errors import InputError
from densemtl_ros.bag_player import BagPlayer
from densemtl_ros.bag_topic import BagTopic
from densemtl_ros.fixed_parameters import declare_fixed
from densemtl_ros.frame_sources import Frame, open_source
from densemtl_ros.image_codec import fill_image
from densemtl_ros.node_process import run_node
from densemtl_ros.pacing import Pacing
from densemtl_ros.read_ahead import ReadAhead
from densemtl_ros.replay_parameters import REPLAY_PARAMETERS

__all__ = ["ReplayNode", "camera_info", "main"]

USAGE = """usage: replay --ros-args [-p NAME:=VALUE]... [-r FROM:=TO]...

  -p source:=drive.mp4        a video, a folder of images, a bag, or street, the procedural world
  -p loop:=true               start again after the last frame
  -r image:=/camera/image_raw -r camera_info:=/camera/camera_info

All parameters with their meaning: docs/replay.md."""

RELIABILITIES = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}

SETTLE_SECONDS = 0.3
"""How long subscribers must have been there: they learn of a publisher a little later than it learns of them."""
POLL_SECONDS = 0.01
"""How often to look for a first frame, an audience, or a frame that is read slower than played."""


def camera_info(frame: Frame) -> CameraInfo:
    """Describe the pinhole camera of a frame, header left empty; all zero but the size when it is unknown."""
    info = CameraInfo()
    info.height, info.width = frame.rgb.shape[:2]
    if frame.intrinsics is not None:
        k = [float(v) for v in frame.intrinsics.ravel()]
        info.distortion_model, info.d = "plumb_bob", [0.0] * 5
        info.k, info.r = k, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.p = [*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0]
    return info


class PicturePlayer:
    """Publishes the pictures of a source that has no messages.

    Args:
        node: the owner, which has ``image`` and ``camera_info`` (remapped, perhaps).
        frame_id: of the images.
        image_qos: of the images.
        info_qos: of the camera_info.
    """

    def __init__(self, node: Node, frame_id: str, image_qos: QoSProfile, info_qos: QoSProfile) -> None:
        self._clock = node.get_clock()
        self._frame_id = frame_id
        self._images = node.create_publisher(Image, "image", image_qos)
        self._infos = node.create_publisher(CameraInfo, "camera_info", info_qos)
        self.publishers = [self._images, self._infos]
        self.topic_name = self._images.topic_name

    def audience(self) -> int:
        """Subscribers of the images."""
        return int(self._images.get_subscription_count())

    def publish(self, frame: Frame) -> None:
        """Publish one frame under the present time."""
        message = Image()
        fill_image(message, frame.rgb, "rgb8")
        info = camera_info(frame)
        message.header.frame_id = info.header.frame_id = self._frame_id
        message.header.stamp = info.header.stamp = self._clock.now().to_msg()
        # The description first: who pairs the two has it when the picture comes.
        self._infos.publish(info)
        self._images.publish(message)


class ReplayNode(Node):
    """Plays a source at its rate.

    Attributes:
        finished: True after the last frame, when ``loop`` is off.
        published: frames published so far.

    Raises:
        InputError: a parameter or the source cannot be used.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("replay", **options)
        self.finished = False
        self.published = 0
        self._reader: ReadAhead | None = None
        values = declare_fixed(self, REPLAY_PARAMETERS)
        source = open_source(
            values["source"],
            width=values["width"],
            rate=values["rate"],
            frames=values["street_frames"],
            scene=values["street_scene"],
            budget=values["street_budget"],
            topic=values["topic"],
        )
        bag = isinstance(source, BagTopic)
        for name in ("keep_stamps", "clock"):
            if values[name] and not bag:
                raise InputError(f"{name} is set, but source {values['source']!r} is no bag and has no recorded time")
        reliability = RELIABILITIES[values["reliability"]]
        self._awaited = values["wait_for_subscribers"]
        # Deep enough that a reliable subscriber which stumbles still gets every frame; depth 1 would overwrite them.
        # Camera infos are small, and whoever pairs the two must not miss one.
        image_qos = QoSProfile(depth=5, reliability=reliability)
        info_qos = QoSProfile(depth=50, reliability=reliability)
        self._player: BagPlayer | PicturePlayer
        if isinstance(source, BagTopic):
            self._player = BagPlayer(
                self,
                source,
                image_qos,
                info_qos,
                keep_stamps=values["keep_stamps"],
                clock=values["clock"],
                as_recorded=not values["rate"],
            )
        else:
            self._player = PicturePlayer(self, values["frame_id"], image_qos, info_qos)
        self._source = source
        self._reader = ReadAhead(source, values["loop"])
        self._deadline = time.monotonic() + values["wait_timeout"]
        self._playing = False
        self._audience_since: float | None = None
        self._told_skipped: set[str] = set()
        if source.looks_ahead:
            self.get_logger().info(f"{source.title}: making its frames first, because that is slower than playing them")
        self._rate = values["rate"] if bag else source.rate
        self._pacing = Pacing(self._rate, source.rate)
        self._next: Any = None
        # Not the node's clock: with use_sim_time and nobody publishing /clock it would never fire.
        self._timer = self.create_timer(POLL_SECONDS, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _tick(self) -> None:
        if self._next is None and self._reader.finished:
            self._end()
            return
        if not self._playing and not self._may_begin():
            return
        self._next = self._next or self._reader.take()
        if self._next is not None and self._wait() <= 0:
            frame, self._next = self._next, None
            self._pacing.shown(frame.seconds, time.monotonic())
            self._publish(frame)
            self._next = self._reader.take()
        # One shot a frame: recorded frames are not evenly spaced.
        self._timer.timer_period_ns = int(1e9 * max(1e-4, POLL_SECONDS if self._next is None else self._wait()))
        self._timer.reset()

    def _wait(self) -> float:
        return self._pacing.wait(self._next.seconds, time.monotonic())

    def _may_begin(self) -> bool:
        if not self._reader.ready:
            return False
        now = time.monotonic()
        waiting = self._player.audience() < self._awaited
        if waiting:
            self._audience_since = None
            if now < self._deadline:
                return False
        elif self._awaited:
            self._audience_since = self._audience_since or now
            if now - self._audience_since < SETTLE_SECONDS:
                return False
        if waiting:
            self.get_logger().warning(
                f"fewer than {self._awaited} subscriber(s) of {self._player.topic_name}: playing on"
            )
        pace = f"at {self._rate:g} Hz" if self._rate else "as recorded"
        self.get_logger().info(f"playing {self._source.title} on {self._player.topic_name} {pace}")
        self._playing = True
        return True

    def _publish(self, frame: Any) -> None:
        self._player.publish(frame)
        self.published += 1
        for name in self._reader.skipped - self._told_skipped:
            self.get_logger().warning(f"{name} cannot be decoded: skipped")
            self._told_skipped.add(name)

    def _end(self) -> None:
        self._timer.cancel()
        self.finished = True
        if isinstance(self._reader.error, InputError):
            raise self._reader.error
        if self._reader.error is not None:
            raise RuntimeError(f"{self._source.title}: reading failed") from self._reader.error
        skipped = f", {len(self._reader.skipped)} file(s) skipped" if self._reader.skipped else ""
        self.get_logger().info(f"played {self.published} frames{skipped}")

    def flush(self, seconds: float = 1.0) -> None:
        """Wait until reliable subscribers have the last frame: it would be lost with the publisher."""
        for publisher in self._player.publishers:
            publisher.wait_for_all_acked(Duration(seconds=seconds))

    def destroy_node(self) -> None:
        """End the reading thread, then the node."""
        if self._reader is not None:
            self._reader.stop()
        super().destroy_node()


def main(args: list[str] | None = None) -> int:
    """Run the node until the last frame, Ctrl-C or SIGTERM.

    Returns:
        Exit status: 0, or 2 after one line about a parameter or source that cannot be used.
    """
    if "--help" in (sys.argv if args is None else args):
        print(USAGE)
        return 0
    # Before PyTorch is loaded: one thread makes a street's frames quicker than several that share the processors with
    # a perception node.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return run_node(ReplayNode, _play, args)


def _play(node: ReplayNode, serve: Callable[[], bool]) -> int:
    while not node.finished and serve():
        pass
    if node.finished:
        node.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
