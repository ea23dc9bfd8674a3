"""One recorded frame to the messages that the node would publish for it. No ROS needed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from densemtl_core.errors import InputError, did_you_mean
from densemtl_ros.bag_messages import image_message, open_info, open_message, rgb_image, scaled_info
from densemtl_ros.bag_topic import BagMessage
from densemtl_ros.camera_geometry import image_intrinsics
from densemtl_ros.image_codec import RejectedFrame
from densemtl_ros.outputs import OUTPUTS, FrameResult, Output, output_size
from densemtl_ros.parameters import PARAMETERS_BY_NAME

__all__ = ["NODE", "OfflineFrames", "chosen_outputs", "output_name"]

NODE = "/perception"
"""Full name of the node whose topics are written."""
_RAW = ("semantic", "depth", "normals", "edges")
"""The outputs that are measurements, not pictures for people."""


def output_name(output: Output) -> str:
    """How a person names an output: its switch without the group."""
    return output.switch.removeprefix("publish.")


def chosen_outputs(names: str, tasks: Sequence[str]) -> list[Output]:
    """Find the outputs that a person names.

    Args:
        names: separated by commas; ``all``; empty = the measurements that the bundle makes.
        tasks: of the bundle.

    Raises:
        InputError: no such output, or none that the bundle can make.
    """
    by_name = {output_name(output): output for output in OUTPUTS}
    able = {name: output for name, output in by_name.items() if set(output.tasks) <= set(tasks)}
    if names == "all":
        return list(able.values())
    wanted = [name.strip() for name in names.split(",") if name.strip()] or [name for name in _RAW if name in able]
    for name in wanted:
        if name not in by_name:
            hint = did_you_mean(name, by_name)
            raise InputError(f"--outputs: no output {name!r}; {hint}there are: {', '.join(by_name)}, or all")
        if name not in able:
            needed = ", ".join(by_name[name].tasks)
            raise InputError(f"--outputs {name} needs the task {needed}; the bundle has: {', '.join(tasks)}")
    return [by_name[name] for name in dict.fromkeys(wanted)]


class OfflineFrames:
    """Decodes, infers and serialises, with the node's own parts and its parameters' defaults.

    Args:
        predictor: with the interface of `densemtl_core.runtime.Predictor`.
        outputs: to make, of `chosen_outputs`.
        kind: message type of the images.
        scale: size of the outputs relative to the image.
        threshold: class probability below which a pixel is unlabelled.

    Attributes:
        seconds: stage to the seconds of every frame.
        irregular: reason to number of frames whose camera_info could not be used; the frames themselves were.
    """

    def __init__(
        self, predictor: Any, outputs: Sequence[Output], kind: str, scale: float = 1.0, threshold: float = 0.0
    ) -> None:
        self.seconds: dict[str, list[float]] = {"decode": [], "infer": [], "encode": []}
        self.irregular: Counter[str] = Counter()
        self._predictor = predictor
        self._outputs = list(outputs)
        self._tasks = sorted({task for output in outputs for task in output.tasks})
        self._kind = kind
        self._scale = scale
        self._threshold = threshold
        self._max_pixels = int(PARAMETERS_BY_NAME["max_pixels"].default)
        self._opacity = float(PARAMETERS_BY_NAME["overlay_opacity"].default)
        self._asks_camera = any(task.camera for task in predictor.manifest.tasks.values()) or any(
            output.needs_intrinsics for output in outputs
        )

    def header(self, frame: BagMessage) -> Any:
        """Read the header of a frame.

        Raises:
            RejectedFrame: the bytes are no such message.
        """
        return open_message(frame.image, self._kind).header

    def process(self, frame: BagMessage) -> list[tuple[str, bytes]]:
        """Handle one frame.

        Returns:
            Topic and CDR bytes of each message; the camera_info, if there is one that fits, comes last.

        Raises:
            RejectedFrame: the frame cannot be used, with the reason under which the node counts it.
            Exception: whatever the predictor raises.
        """
        marks = [time.perf_counter()]
        message = open_message(frame.image, self._kind)
        image = rgb_image(message, self._kind, self._max_pixels)
        marks.append(time.perf_counter())
        image_size = (image.shape[0], image.shape[1])
        size = output_size(image_size, self._scale)
        info, k = self._camera(frame.info, image_size)
        k = k if self._asks_camera else None
        prediction = self._predictor.predict(image, tasks=self._tasks, size=size, intrinsics=k)
        marks.append(time.perf_counter())
        semantic = self._predictor.manifest.tasks.get("semantic")
        palette = semantic.palette if semantic else ()
        result = FrameResult(image, prediction, palette, self._threshold, self._opacity, k)
        messages = [
            (f"{NODE}/{output.topic}", image_message(output.make(result), output.encoding, message.header))
            for output in self._outputs
        ]
        if info is not None:
            messages.append((f"{NODE}/camera_info", scaled_info(info, image_size, size, message.header)))
        marks.append(time.perf_counter())
        for stage, start, end in zip(self.seconds.values(), marks[:-1], marks[1:], strict=True):
            stage.append(end - start)
        return messages

    def _camera(self, raw: bytes | None, image_size: tuple[int, int]) -> tuple[Any, list[float] | None]:
        """The camera_info and the matrix of an image; None for what is unknown or of another size."""
        if raw is None:
            return None, None
        try:
            info = open_info(raw)
            return info, image_intrinsics(info, image_size)
        except RejectedFrame as rejection:
            self.irregular[rejection.reason] += 1
        except ValueError:
            self.irregular["camera_info_size"] += 1
        return None, None
