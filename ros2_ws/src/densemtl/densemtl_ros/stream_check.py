"""What a careful subscriber finds out about the node's images: are they right, whole, and how old.

Works on the fields of ``sensor_msgs/Image``; needs no ROS.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from densemtl_ros.image_codec import RejectedFrame, check_image, decode_image
from densemtl_ros.parameters import PARAMETERS_BY_NAME

__all__ = ["INPUT", "OUTPUTS", "RAW_TOPICS", "Moment", "Output", "StreamCheck"]

INPUT = "image"
PENDING = 256
"""Stamps that may be incomplete at a time before the oldest is given up."""

Finding = Callable[[NDArray[Any], int], "str | None"]


def _semantic(ids: NDArray[Any], classes: int) -> str | None:
    wrong = ids[(ids >= classes) & (ids != 255)]
    return f"class id {wrong[0]} of {classes} classes" if wrong.size else None


def _depth(metres: NDArray[Any], classes: int) -> str | None:
    # NaN = unknown and +inf = beyond range are both allowed; NaN fails every comparison.
    wrong = metres[metres <= 0]
    return f"depth of {wrong[0]:g} m" if wrong.size else None


def _normals(vectors: NDArray[Any], classes: int) -> str | None:
    # OpenCV sums over channels ten times as fast as NumPy, and a slow subscriber would measure itself.
    square = cv2.transform(cv2.multiply(vectors, vectors), np.ones((1, 3), np.float32))
    wrong = square[np.abs(square - 1.0) > 4e-3]
    if wrong.size:
        return f"normal of length {np.sqrt(wrong[0]):.4f}"
    unknown = np.isnan(square)
    if unknown.any() and not np.isnan(vectors[unknown]).all():
        return "normal with only some components NaN"
    return None


def _anything(values: NDArray[Any], classes: int) -> str | None:
    return None  # every uint8 value is a valid one


@dataclass(frozen=True)
class Output:
    """One output topic of the node.

    Attributes:
        encoding: its ROS encoding.
        dtype: the NumPy type of a value.
        channels: values a pixel.
        finding: says what is wrong with the values, or None.
    """

    encoding: str
    dtype: Any
    channels: int
    finding: Finding


OUTPUTS: Mapping[str, Output] = {
    "semantic/image": Output("mono8", np.uint8, 1, _semantic),
    "depth/image": Output("32FC1", np.float32, 1, _depth),
    "normals/image": Output("32FC3", np.float32, 3, _normals),
    "edges/image": Output("mono8", np.uint8, 1, _anything),
    "semantic/confidence": Output("mono8", np.uint8, 1, _anything),
    "semantic/color": Output("rgb8", np.uint8, 3, _anything),
}
RAW_TOPICS = ("semantic/image", "depth/image", "normals/image", "edges/image")


@dataclass
class Moment:
    """Everything that belongs to one stamp.

    Attributes:
        stamp: nanoseconds.
        images: topic to ``(H, W)`` or ``(H, W, C)`` array.
        arrived: topic to the time of arrival in nanoseconds, on the clock of the stamp.
        frame_ids: topic to the header's frame.
    """

    stamp: int
    images: dict[str, NDArray[Any]] = field(default_factory=dict)
    arrived: dict[str, int] = field(default_factory=dict)
    frame_ids: dict[str, str] = field(default_factory=dict)


class StreamCheck:
    """Matches outputs with inputs by stamp and checks each.

    Topics are not ordered among each other: an output may be here before its input. What belongs together is therefore
    judged when all of it is here, or nothing more can come.

    Args:
        classes: number of semantic classes of the bundle.
        complete: called with each moment of which the input and every output have arrived.

    Attributes:
        stamps_in: stamp of each input to its frame.
        stamps_out: stamps of which all raw topics arrived, in order.
        latencies: seconds from stamp to arrival of the last raw topic, one for each of ``stamps_out``.
        messages: outputs checked.
        incomplete: frames of which some raw topics arrived and others did not, in words. On a computer too busy to
            take each image before the next is sent, one is lost now and then: it is for the caller to say how many.
        problems: what is wrong, the first 50 in words.
        problem_count: how many findings in all.
    """

    def __init__(self, classes: int, complete: Callable[[Moment], None] = lambda moment: None) -> None:
        self.stamps_in: dict[int, str] = {}
        self.stamps_out: list[int] = []
        self.latencies: list[float] = []
        self.messages = 0
        self.incomplete: list[str] = []
        self.problems: list[str] = []
        self.problem_count = 0
        self._classes = classes
        self._complete = complete
        self._whole: set[int] = set()
        self._pending: OrderedDict[int, Moment] = OrderedDict()
        self._orphans: list[Moment] = []

    def add_camera_info(self, message: Any) -> None:
        """Take a camera info: there is an input of its stamp, even should the image itself be lost on the way here."""
        self.stamps_in.setdefault(_nanoseconds(message.header.stamp), message.header.frame_id)

    def add_input(self, message: Any, now: int) -> None:
        """Take an input image that arrived at ``now`` nanoseconds; of an undecodable one nothing is expected."""
        stamp = _nanoseconds(message.header.stamp)
        try:
            check_image(message, int(PARAMETERS_BY_NAME["max_pixels"].default))
        except RejectedFrame:
            self.stamps_in.pop(stamp, None)
            return
        self.stamps_in[stamp] = message.header.frame_id
        self._add(INPUT, stamp, message.header.frame_id, decode_image(message), now)

    def add_output(self, topic: str, message: Any, now: int) -> None:
        """Take an output image that arrived at ``now`` nanoseconds and check it."""
        self.messages += 1
        kind = OUTPUTS[topic]
        stamp = _nanoseconds(message.header.stamp)
        if message.encoding != kind.encoding:
            self._report(f"{topic}: encoding {message.encoding!r}, expected {kind.encoding!r}")
            return
        row = message.width * np.dtype(kind.dtype).itemsize * kind.channels
        if message.step < row or len(message.data) != message.step * message.height or not message.height:
            self._report(f"{topic}: {message.width} x {message.height}, step {message.step}, {len(message.data)} bytes")
            return
        values = _pixels(message, kind.dtype, kind.channels)
        finding = kind.finding(values, self._classes)
        if finding:
            self._report(f"{topic}: {finding}, stamp {stamp}")
        self._add(topic, stamp, message.header.frame_id, values, now)

    def finish(self) -> None:
        """Judge what is left when nothing more comes, and count only frames whose input was heard too."""
        for moment in self._pending.values():
            self._judge(moment)
        self._pending.clear()
        for moment in self._orphans:
            self._judge_header(moment)
        known = [(s, d) for s, d in zip(self.stamps_out, self.latencies, strict=True) if s in self.stamps_in]
        self.stamps_out, self.latencies = [s for s, _ in known], [d for _, d in known]

    def _add(self, topic: str, stamp: int, frame_id: str, values: NDArray[Any], now: int) -> None:
        moment = self._pending.get(stamp)
        if stamp in self._whole and moment is None:
            if topic != INPUT:
                self._report(f"{topic}: stamp {stamp} again, after all of its images")
            return
        if moment is None:
            moment = self._pending[stamp] = Moment(stamp)
        if topic in moment.images:
            self._report(f"{topic}: a second image of stamp {stamp}")
        moment.images[topic], moment.arrived[topic], moment.frame_ids[topic] = values, now, frame_id
        if stamp not in self._whole and all(raw in moment.arrived for raw in RAW_TOPICS):
            self._whole.add(stamp)
            self.stamps_out.append(stamp)
            self.latencies.append((max(moment.arrived[raw] for raw in RAW_TOPICS) - stamp) / 1e9)
            self._forget_overtaken()
        if INPUT in moment.arrived and len(moment.arrived) == len(OUTPUTS) + 1:
            del self._pending[stamp]
            self._judge(moment)
            self._complete(moment)
        while len(self._pending) > PENDING:
            self._judge(self._pending.popitem(last=False)[1])

    def _forget_overtaken(self) -> None:
        """Free what is older than the last but one whole frame: frames are worked on in order, no more comes of it."""
        if len(self.stamps_out) < 2:
            return
        before = self.stamps_out[-2]
        for stamp, moment in [(s, m) for s, m in self._pending.items() if s < before]:
            # Partly here means that other images of it may still be queued for this process.
            if set(moment.arrived) in ({INPUT}, set(OUTPUTS)):
                del self._pending[stamp]
                self._judge(moment)

    def _judge(self, moment: Moment) -> None:
        if INPUT in moment.arrived:
            self._judge_header(moment)
        else:
            # The camera's topics may be behind the others in this process: whose stamp it is shows in the end.
            self._orphans.append(Moment(moment.stamp, {}, moment.arrived, moment.frame_ids))
        first = next(iter(moment.images.values())).shape[:2]
        for topic, image in moment.images.items():
            if image.shape[:2] != first:
                self._report(f"{topic}: {image.shape[:2]} pixels, other images of stamp {moment.stamp} have {first}")
        missing = [topic for topic in RAW_TOPICS if topic not in moment.arrived]
        # A frame without any output was dropped for a newer one, which is the node's policy and only counted.
        if missing and set(moment.arrived) != {INPUT}:
            self.incomplete.append(f"stamp {moment.stamp}: {', '.join(missing)} never came, other topics did")

    def _judge_header(self, moment: Moment) -> None:
        stamp = moment.stamp
        if self.stamps_in and not min(self.stamps_in) <= stamp <= max(self.stamps_in):
            return  # played before this process had found the camera, or in its last moment
        if stamp not in self.stamps_in:
            self._report(f"{', '.join(moment.arrived)}: stamp {stamp}, which no input has")
            return
        for topic, frame_id in moment.frame_ids.items():
            if frame_id != self.stamps_in[stamp]:
                self._report(f"{topic}: frame_id {frame_id!r}, its input has {self.stamps_in[stamp]!r}")

    def _report(self, problem: str) -> None:
        self.problem_count += 1
        if len(self.problems) < 50:
            self.problems.append(problem)


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def _pixels(message: Any, dtype: Any, channels: int) -> NDArray[Any]:
    """View a message's bytes as ``(H, W)`` or ``(H, W, C)``; the message stays alive with the view."""
    values = np.frombuffer(message.data, dtype).reshape(message.height, -1)[:, : message.width * channels]
    return values.reshape(message.height, message.width, channels) if channels > 1 else values
