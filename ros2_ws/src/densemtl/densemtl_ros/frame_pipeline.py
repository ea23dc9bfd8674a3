"""From camera messages to published images, in the worker's thread, with the time of each stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image

from densemtl_ros.camera import Camera
from densemtl_ros.camera_geometry import image_intrinsics, scale_camera_info
from densemtl_ros.camera_input import CameraInput, Frame, stamp_nanoseconds
from densemtl_ros.camera_outputs import CameraOutputs
from densemtl_ros.compressed_codec import decode_compressed
from densemtl_ros.cv_bridge_codec import load_decoder
from densemtl_ros.image_codec import RejectedFrame
from densemtl_ros.outputs import FrameResult, Output, output_size

__all__ = ["FramePipeline"]

OnFailure = Callable[[Sequence[Camera], Exception], None]


@dataclass
class _Job:
    """One frame on its way.

    Attributes:
        camera: whose it is.
        source: where it came from.
        outputs: where its results go.
        frame: the message.
        wanted: what somebody subscribes to.
        image: ``(H, W, 3)`` uint8 RGB.
        size: ``(h, w)`` of the outputs.
        intrinsics: of the image; None = unknown, or not needed.
        output_intrinsics: the same of the outputs' size.
        stages: seconds by stage.
    """

    camera: Camera
    source: CameraInput
    outputs: CameraOutputs
    frame: Frame
    wanted: list[Output]
    image: NDArray[Any]
    size: tuple[int, int]
    intrinsics: list[float] | None
    output_intrinsics: list[float] | None
    stages: dict[str, float]

    @property
    def image_size(self) -> tuple[int, int]:
        """``(H, W)`` of the image."""
        return self.image.shape[0], self.image.shape[1]


class FramePipeline:
    """Decodes, infers, paints and publishes; does only what somebody subscribes to.

    What fails of one camera's frame concerns that camera alone; an inference that fails, those whose frames were in it.

    Args:
        node: whose clock and logger are used.
        predictor: with the interface of `densemtl_core.runtime.Predictor`.
        on_failure: called with the cameras whose frames were lost to an exception, and the exception.
    """

    def __init__(self, node: LifecycleNode, predictor: Any, on_failure: OnFailure) -> None:
        self._node = node
        self._predictor = predictor
        self._on_failure = on_failure
        self._told: set[tuple[str, str]] = set()
        self._decode_raw, codec = load_decoder(Image)
        node.get_logger().info(f"images: {codec}")

    def process(
        self, frames: Sequence[tuple[Camera, Frame]], settings: Mapping[str, Any], going_on: Callable[[], bool]
    ) -> int:
        """Handle frames of different cameras together.

        Args:
            frames: cameras with their frames, checked by `CameraInput`.
            settings: value by parameter name.
            going_on: asked before publishing; False throws the results away.

        Returns:
            How many frames were brought to their end.
        """
        began = time.monotonic()
        jobs = [job for camera, frame in frames if (job := self._attempt(camera, self._begin, camera, frame, settings))]
        seeing = [job for job in jobs if job.wanted]
        try:
            predictions = dict(zip(map(id, seeing), self._infer(seeing), strict=True))
        except Exception as error:
            self._lost([job.camera for job in seeing], error)
            jobs, predictions = [job for job in jobs if not job.wanted], {}
        done = 0
        for job in jobs:
            finished = self._attempt(job.camera, self._finish, job, predictions.get(id(job)), settings, going_on, began)
            done += bool(finished)
        return done

    def _attempt(self, camera: Camera, step: Callable[..., Any], *arguments: Any) -> Any:
        """One step of one camera's frame: its result, or None after an exception, which was dealt with."""
        try:
            return step(*arguments)
        except RejectedFrame as rejection:
            camera.statistics.abandoned()
            source = camera.input
            if source is not None:
                source.reject(rejection)
        except Exception as error:
            self._lost([camera], error)
        return None

    def _lost(self, cameras: Sequence[Camera], error: Exception) -> None:
        for camera in cameras:
            camera.statistics.abandoned()
        self._on_failure(cameras, error)

    def _begin(self, camera: Camera, frame: Frame, settings: Mapping[str, Any]) -> _Job | None:
        """Decode a frame that somebody wants."""
        source, outputs = camera.input, camera.outputs
        if source is None or outputs is None:
            return None  # deactivated in between
        wanted = outputs.wanted(settings)
        if not wanted and not outputs.info_wanted:
            camera.statistics.unwanted()
            return None
        camera.statistics.started()
        began = time.monotonic()
        message = frame.message
        compressed = not hasattr(message, "encoding")
        image = decode_compressed(message.data) if compressed else self._decode_raw(message)
        stages = {"decode": time.monotonic() - began}
        size = output_size(image.shape[:2], settings["output_scale"])
        job = _Job(camera, source, outputs, frame, wanted, image, size, None, None, stages)
        if wanted:
            job.intrinsics = self._intrinsics(job)
        return job

    def _infer(self, jobs: Sequence[_Job]) -> Sequence[Any]:
        """Predictions, one a job."""
        if not jobs:
            return []
        began = time.monotonic()
        predictions: Sequence[Any] = self._predictor.predict_batch(
            [job.image for job in jobs],
            tasks=sorted({task for job in jobs for output in job.wanted for task in output.tasks}),
            sizes=[job.size for job in jobs],
            intrinsics=[job.intrinsics for job in jobs],
        )
        seconds = time.monotonic() - began
        for job, prediction in zip(jobs, predictions, strict=True):
            job.stages |= {f"infer.{stage}": part for stage, part in prediction.seconds.items()} | {"infer": seconds}
        return predictions

    def _finish(
        self, job: _Job, prediction: Any, settings: Mapping[str, Any], going_on: Callable[[], bool], began: float
    ) -> bool:
        """Paint and publish; whether it was."""
        marks = [time.monotonic()]
        messages = []
        header = job.frame.message.header
        if prediction is not None:
            semantic = self._predictor.manifest.tasks.get("semantic")
            result = FrameResult(
                job.image,
                prediction,
                semantic.palette if semantic else (),
                settings["confidence_threshold"],
                settings["overlay_opacity"],
                job.output_intrinsics,
            )
            messages = job.outputs.encode(job.wanted, result, header)
        marks.append(time.monotonic())
        if not going_on():
            job.camera.statistics.abandoned()
            return False
        job.outputs.publish(messages)
        info = job.source.camera_info
        if job.outputs.info_wanted and info is not None:
            try:
                job.outputs.publish_info(info, header, job.image_size, job.size)
            except ValueError as error:
                self._tell_size(job, error)
        marks.append(time.monotonic())
        job.stages |= {
            "encode": marks[1] - marks[0],
            "publish": marks[2] - marks[1],
            "age_at_input": job.frame.age,
            "age_at_publish": (self._node.get_clock().now().nanoseconds - stamp_nanoseconds(job.frame.message)) / 1e9,
        }
        job.camera.statistics.processed(job.stages, marks[2] - began, settings["budget_ms"])
        return True

    def _intrinsics(self, job: _Job) -> list[float] | None:
        """The image's camera matrix, if the bundle's predictions or an output depend on it; None = unknown too."""
        rules = {name: task.camera for name, task in self._predictor.manifest.tasks.items() if task.camera}
        if not rules and not any(output.needs_intrinsics for output in job.wanted):
            return None
        info = job.source.camera_info
        try:
            k = None if info is None else image_intrinsics(info, job.image_size)
        except ValueError as error:
            if not job.outputs.info_wanted:  # else it is told when the camera info is published
                self._tell_size(job, error)
            return None
        if k is not None:
            job.output_intrinsics = [float(x) for x in scale_camera_info(info, job.image_size, job.size).k]
        if k is None:
            self._tell_uncalibrated(
                job, rules, "no camera_info has come" if info is None else "camera_info's k is empty"
            )
        return k

    def _tell_uncalibrated(self, job: _Job, rules: Mapping[str, Mapping[str, float]], why: str) -> None:
        """Count it, and say once a camera what its missing calibration costs."""
        if rules:
            job.camera.statistics.irregular("uncalibrated")
        costs = {
            name: f"{name} is that of a camera of {rule['focal']:g} pixels focal length, because {why} on "
            f"{job.source.info_topic}; publish camera_info for metres"
            for name, rule in rules.items()
        }
        costs |= {
            output.topic: f"{output.topic} need a calibrated camera_info of the image's size, and {why} on "
            f"{job.source.info_topic}: none are sent"
            for output in job.wanted
            if output.needs_intrinsics
        }
        for what, text in costs.items():
            if (job.camera.name, what) not in self._told:
                self._told.add((job.camera.name, what))
                self._node.get_logger().warning(f"{_whose(job.camera)}{text}")

    @staticmethod
    def _tell_size(job: _Job, error: ValueError) -> None:
        job.camera.statistics.irregular("camera_info_size")
        job.source.warn("camera_info_size", f"{_whose(job.camera)}{error}")


def _whose(camera: Camera) -> str:
    """The camera's name at the head of a log line, where there are several."""
    return f"{camera.name}: " if camera.name else ""
