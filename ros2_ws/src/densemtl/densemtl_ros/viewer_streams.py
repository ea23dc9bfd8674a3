"""The newest frame of every stream of every camera: where ROS puts messages, and the web server takes pictures.

Nothing is queued: a place holds one message, and a newer one replaces it. So memory does not grow however slow the
browser is, and what it shows is never older than one picture.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from densemtl_ros.image_codec import RejectedFrame
from densemtl_ros.viewer_health import NodeHealth
from densemtl_ros.viewer_legend import ClassLegend
from densemtl_ros.viewer_pictures import Look, Picture, encode_jpeg, pixels

__all__ = ["MOST_CAMERAS", "SHOWN", "CameraStreams", "StreamBoard"]

SHOWN = ("camera", "semantic", "depth", "normals", "edges")
"""Streams that become pictures, in the order of the page."""
MOST_CAMERAS = 32

Clock = Callable[[], float]


class CameraStreams:
    """One camera: its newest messages, pictures, labels and health. Safe between threads.

    Args:
        name: full name of its perception node.
        look: how pictures are made.
        told: called with one line for every new kind of unusable message.
        clock: monotonic seconds.

    Attributes:
        legend: of its classes.
        health: of its perception node.
        topics: stream to the topic it comes from; absent while that is not known.
        publishers: stream to how many publish it.
    """

    def __init__(self, name: str, look: Look, told: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self.name = name
        self.legend = ClassLegend()
        self.health = NodeHealth()
        self.topics: dict[str, str] = {}
        self.publishers: dict[str, int] = {}
        self._look = look
        self._tell = told
        self._clock = clock
        self._lock = threading.Lock()
        self._told: set[tuple[str, str]] = set()
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        self._since = self._clock()
        self._waiting: dict[str, Any] = {}
        self._arrived: dict[str, float] = {}
        self._problems: dict[str, str] = {}
        self._pictures: dict[str, tuple[int, Picture]] = {}
        self._mask: Any = None
        self._values: dict[str, NDArray[Any]] = {}

    def restart(self) -> None:
        """Forget all frames: an audience comes or goes."""
        with self._lock:
            self._begin()

    def put(self, stream: str, message: Any) -> None:
        """Replace the newest message of a stream."""
        with self._lock:
            self._arrived[stream] = self._clock()
            if stream == "mask":
                self._mask = message
            else:
                self._waiting[stream] = message

    def complain(self, about: str, kind: str, problem: str) -> None:
        """Show a problem of a stream on the page, and tell it once a kind."""
        with self._lock:
            self._problems[about] = problem[:300]
            first = (about, kind) not in self._told and len(self._told) < 100
            if first:
                self._told.add((about, kind))
        if first:
            self._tell(f"{self.name}: {about}: {problem[:300]}")

    def paint(self, stream: str) -> bool:
        """Make a picture of the newest message, if there is one that was not painted yet.

        Returns:
            Whether there is a new picture. A message that cannot be used is told, and gives none.
        """
        with self._lock:
            since = self._since
            message = self._waiting.pop(stream, None)
            mask = self._mask if stream == "semantic" else None
        if message is None:
            return False
        try:
            values = pixels(stream, message, self._look)
            picture = encode_jpeg(stream, values, self._look)
            kept = {"depth": values} if stream == "depth" else {}
            if mask is not None and mask.header.stamp == message.header.stamp:
                kept["mask"] = pixels("mask", mask, self._look)
                self.legend.learn(kept["mask"], values)
        except RejectedFrame as rejection:
            self.complain(stream, rejection.reason, f"{rejection.reason}: {rejection}")
            return False
        except Exception as error:  # one odd message must not end the viewer
            self.complain(stream, type(error).__name__, f"{type(error).__name__}: {error}")
            return False
        stamp = message.header.stamp
        height, width = values.shape[:2]  # of a compressed image, which does not say
        facts = {"width": getattr(message, "width", width), "height": getattr(message, "height", height)}
        facts |= {"stamp": stamp.sec + stamp.nanosec / 1e9, **picture.facts}
        with self._lock:
            if since != self._since:
                return False  # the audience it was made for has gone
            self._problems.pop(stream, None)
            self._values |= kept
            self._number += 1
            self._pictures[stream] = (self._number, Picture(picture.jpeg, facts))
        return True

    def picture(self, stream: str) -> tuple[int, Picture] | None:
        """The newest picture, with a number that grows; None before the first."""
        with self._lock:
            return self._pictures.get(stream)

    def read(self, across: float, down: float) -> dict[str, Any]:
        """Say what the newest pictures show at a point.

        Args:
            across: 0 at the left edge, 1 at the right one.
            down: 0 at the upper edge, 1 at the lower one.

        Returns:
            ``depth`` in metres (None where it is unknown, "beyond range" where the node says so) and the name of the
            ``class`` (None before the first mask).
        """
        with self._lock:
            depth, ids = self._values.get("depth"), self._values.get("mask")
        metres = float("nan") if depth is None else float(_value_at(depth, across, down))
        return {
            "depth": "beyond range" if metres == float("inf") else round(metres, 2) if math.isfinite(metres) else None,
            "class": None if ids is None else self.legend.name(int(_value_at(ids, across, down))),
        }

    def status(self) -> dict[str, Any]:
        """Say how the camera is.

        Returns:
            ``streams``: by stream its ``topic``, number of ``publishers``, ``age`` of the newest message in seconds
            (None before the first) and ``problem``; ``waited``: seconds since somebody looks; ``labels_problem``,
            ``legend`` and ``health``.
        """
        now = self._clock()
        with self._lock:
            streams = {
                stream: {
                    "topic": self.topics.get(stream, ""),
                    "publishers": self.publishers.get(stream, 0),
                    "age": round(now - self._arrived[stream], 2) if stream in self._arrived else None,
                    "problem": self._problems.get(stream, ""),
                }
                for stream in SHOWN
            }
            waited = round(now - self._since, 2)
            problem = self._problems.get("labels", "")
        return {
            "streams": streams,
            "waited": waited,
            "labels_problem": problem,
            "legend": self.legend.entries(),
            "health": self.health.newest(now),
        }


def _value_at(values: NDArray[Any], across: float, down: float) -> Any:
    height, width = values.shape
    return values[min(int(down * height), height - 1), min(int(across * width), width - 1)]


class StreamBoard:
    """All cameras, and which of them are looked at.

    Args:
        look: how pictures are made.
        told: called with one line for every new kind of trouble.
        clock: monotonic seconds.

    Attributes:
        audience_changed: called, in any thread, when the first viewer of a camera comes or its last one goes.
    """

    def __init__(
        self, look: Look | None = None, told: Callable[[str], None] = lambda line: None, clock: Clock = time.monotonic
    ) -> None:
        self.look = look or Look()
        self.audience_changed: Callable[[], None] = lambda: None
        self._told = told
        self._clock = clock
        self._lock = threading.Lock()
        self._cameras: dict[str, CameraStreams] = {}
        self._watchers: dict[str, int] = {}

    def add(self, name: str) -> CameraStreams | None:
        """The camera of this name, made if it is new; None when there are too many."""
        with self._lock:
            if name not in self._cameras:
                if len(self._cameras) >= MOST_CAMERAS:
                    return None
                self._cameras[name] = CameraStreams(name, self.look, self._told, self._clock)
            return self._cameras[name]

    def camera(self, name: str) -> CameraStreams | None:
        """The camera of this name; None if it is not known."""
        with self._lock:
            return self._cameras.get(name)

    def names(self) -> list[str]:
        """Names of all cameras ever found; one that is gone may come back."""
        with self._lock:
            return sorted(self._cameras)

    def watch(self, name: str) -> None:
        """Count one more viewer of a camera."""
        self._count(name, 1)

    def unwatch(self, name: str) -> None:
        """Count one viewer less."""
        self._count(name, -1)

    def watched(self) -> set[str]:
        """Names of the cameras that somebody looks at."""
        with self._lock:
            return {name for name, watchers in self._watchers.items() if watchers > 0}

    def _count(self, name: str, change: int) -> None:
        with self._lock:
            before = self._watchers.get(name, 0)
            self._watchers[name] = before + change
            turned = (before == 0) != (before + change == 0)
            camera = self._cameras.get(name)
        if turned:
            if camera is not None:
                camera.restart()
            self.audience_changed()
