"""One frame from camera message to published images, in the worker's thread, with the time of each stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image

from densemtl_core.errors import InputError
from densemtl_ros.camera_geometry import image_intrinsics
from densemtl_ros.camera_input import CameraInput, Frame, stamp_nanoseconds
from densemtl_ros.camera_outputs import CameraOutputs
from densemtl_ros.compressed_codec import decode_compressed
from densemtl_ros.cv_bridge_codec import load_decoder
from densemtl_ros.frame_statistics import FrameStatistics
from densemtl_ros.outputs import FrameResult, output_size

__all__ = ["FramePipeline", "one_line"]

_STAGES = ("decode", "infer", "encode", "publish")


class FramePipeline:
    """Decodes, infers, paints and publishes; does only what somebody subscribes to.

    Args:
        node: whose clock and logger are used.
        predictor: with the interface of `densemtl_core.runtime.Predictor`.
        outputs: where results go.
        statistics: counts the frames and times the stages.
    """

    def __init__(
        self, node: LifecycleNode, predictor: Any, outputs: CameraOutputs, statistics: FrameStatistics
    ) -> None:
        self._node = node
        self._predictor = predictor
        self._outputs = outputs
        self._statistics = statistics
        self._camera_told = False
        self._decode_raw, codec = load_decoder(Image)
        node.get_logger().info(f"images: {codec}")

    def process(
        self, frame: Frame, settings: Mapping[str, Any], camera: CameraInput, going_on: Callable[[], bool]
    ) -> None:
        """Handle one frame.

        Args:
            frame: checked by `CameraInput`.
            settings: value by parameter name.
            camera: where the frame came from.
            going_on: asked before publishing; False throws the result away.

        Raises:
            RejectedFrame: the frame cannot be decoded.
            Exception: whatever the predictor raises.
        """
        wanted = self._outputs.wanted(settings)
        if not wanted and not self._outputs.info_wanted:
            self._statistics.unwanted()
            return
        self._statistics.started()
        marks = [time.monotonic()]
        message = frame.message
        compressed = not hasattr(message, "encoding")
        image = decode_compressed(message.data) if compressed else self._decode_raw(message)
        marks.append(time.monotonic())
        size = output_size(image.shape[:2], settings["output_scale"])
        messages, stages = [], {}
        prediction = None
        if wanted:
            tasks = sorted({output.task for output in wanted})
            K = self._intrinsics(camera.camera_info, image.shape[:2])
            prediction = self._predictor.predict(image, tasks=tasks, size=size, intrinsics=K)
            stages = {f"infer.{stage}": seconds for stage, seconds in prediction.seconds.items()}
        marks.append(time.monotonic())
        if prediction is not None:
            semantic = self._predictor.manifest.tasks.get("semantic")
            result = FrameResult(
                image,
                prediction,
                semantic.palette if semantic else (),
                settings["confidence_threshold"],
                settings["overlay_opacity"],
            )
            messages = self._outputs.encode(wanted, result, message.header)
        marks.append(time.monotonic())
        if not going_on():
            self._statistics.abandoned()
            return
        self._outputs.publish(messages)
        if self._outputs.info_wanted and camera.camera_info is not None:
            self._publish_info(camera.camera_info, message.header, image.shape[:2], size)
        marks.append(time.monotonic())
        stages |= {stage: end - start for stage, start, end in zip(_STAGES, marks[:-1], marks[1:], strict=True)}
        stages["age_at_input"] = frame.age
        stages["age_at_publish"] = (self._node.get_clock().now().nanoseconds - stamp_nanoseconds(message)) / 1e9
        self._statistics.processed(stages, marks[-1] - marks[0], settings["budget_ms"])

    def _publish_info(self, info: Any, header: Any, image_size: tuple[int, int], size: tuple[int, int]) -> None:
        try:
            self._outputs.publish_info(info, header, image_size, size)
        except ValueError as error:
            self._tell_size(error)

    def _intrinsics(self, info: Any, image_size: tuple[int, int]) -> list[float] | None:
        """The image's camera matrix for a bundle whose predictions depend on it; None = unknown, or not needed."""
        rules = {name: task.camera for name, task in self._predictor.manifest.tasks.items() if task.camera}
        if not rules:
            return None
        try:
            k = None if info is None else image_intrinsics(info, image_size)
        except ValueError as error:
            if not self._outputs.info_wanted:  # else `_publish_info` tells it
                self._tell_size(error)
            return None
        if k is None and not self._camera_told:
            self._camera_told = True
            for name, rule in rules.items():
                self._node.get_logger().info(
                    f"{name} is that of a camera of {rule['focal']:g} pixels focal length; "
                    "publish camera_info for metres"
                )
        return k

    def _tell_size(self, error: ValueError) -> None:
        self._statistics.irregular("camera_info_size")
        self._node.get_logger().warning(str(error), throttle_duration_sec=5.0)


def one_line(error: BaseException) -> str:
    """An error in one line: its text alone if it is written for a person, else with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
