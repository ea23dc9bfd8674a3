"""The perception node: camera images in; semantic, depth, normal and edge images out, each with the input's stamp.

A lifecycle node. The executor's thread only checks messages and answers services; one worker thread computes, on the
newest frames. Diagnostics come from a timer, so that they also tell of a worker that is stuck.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from densemtl_core.errors import InputError
from densemtl_ros.camera import Camera
from densemtl_ros.camera_input import Frame
from densemtl_ros.camera_outputs import tell_limits
from densemtl_ros.diagnostic_status import describe_engine, to_message, to_status
from densemtl_ros.engine_failures import EngineFailures
from densemtl_ros.error_text import one_line
from densemtl_ros.frame_pipeline import FramePipeline
from densemtl_ros.frame_slot import FrameSlot
from densemtl_ros.frame_statistics import ERROR, OK, Limits, Report
from densemtl_ros.node_process import run_node
from densemtl_ros.parameter_server import declare_parameters
from densemtl_ros.runtime_predictor import runtime_predictor
from densemtl_ros.worker import Worker

__all__ = ["PerceptionNode", "main"]

PredictorFactory = Callable[..., Any]

USAGE = """usage: perception_node --ros-args [-p NAME:=VALUE]... [--params-file FILE] [-r FROM:=TO]...

  -p autostart:=true          configure and activate at start
  -p bundle:=FOLDER           bundle to run; the one that ships by default
  -r image:=/camera/image     the camera's topic
  -p cameras:="[front, rear]" several cameras, whose topics are front/image, rear/image

All parameters with their meaning: config/perception.yaml, docs/ros_node.md."""

_STOP_SECONDS = 5.0
"""How long the frames in work may take to end before the worker counts as stuck."""
_QOS_CHECK_SECONDS = 0.5
_RIVAL_SECONDS = 25.0
"""How long a process that was killed may still be discovered."""


class PerceptionNode(LifecycleNode):
    """One bundle, and one camera or several that share it.

    Args:
        predictor_factory: called as ``factory(bundle, backend=..., threads=..., public_key=...)``; None =
            `densemtl_core.runtime`.
        **options: further arguments of `rclpy.lifecycle.LifecycleNode`.

    Attributes:
        settings: value by parameter name.
        cameras: one without a name, or those that the parameter names.
        exit_code: None while the node can go on; the process's exit code once it cannot.

    Raises:
        InputError: a parameter has a value that cannot be used.
    """

    def __init__(self, predictor_factory: PredictorFactory | None = None, **options: Any) -> None:
        super().__init__("perception", **options)
        self.exit_code: int | None = None
        self._rival_since: float | None = None
        self._rival_told = False
        self._predictor_factory = predictor_factory or runtime_predictor
        self._predictor: Any = None
        self._pipeline: FramePipeline | None = None
        self._worker: Worker[Camera, Frame] | None = None
        self._slot: FrameSlot[Camera, Frame] = FrameSlot()
        self._failures = EngineFailures(self.get_logger())
        self._trouble = ""
        self._fault = ""
        self.settings = declare_parameters(self, self._on_settings)
        self.cameras = [Camera(self, name) for name in self.settings["cameras"] or [""]]
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock: simulated time may stand still, and the node must speak all the same.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self.publish_diagnostics, clock=steady)
        self.create_timer(_QOS_CHECK_SECONDS, self._follow_publishers, clock=steady)
        self._fault_raised = self.create_guard_condition(self._leave)

    # Lifecycle -------------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load, verify and warm up the bundle; FAILURE with one logged line when it cannot be used."""
        try:
            began = time.monotonic()
            settings = self.settings
            self._predictor = self._predictor_factory(
                settings["bundle"],
                backend=settings["backend"],
                threads=settings["threads"] or None,
                public_key=settings["bundle_public_key"] or None,
            )
            self._predictor.warm_up(batch=self._batch)
            manifest = self._predictor.manifest
            for camera in self.cameras:
                camera.advertise(tuple(manifest.tasks), settings["output_reliability"])
            tell_limits(self, tuple(manifest.tasks))
            self._pipeline = FramePipeline(self, self._predictor, self._on_failure)
        except Exception as error:
            self._free()
            self._trouble = f"configure failed: {one_line(error)}"
            if not isinstance(error, InputError):  # not the user's mistake: show where it is
                self.get_logger().error(traceback.format_exc())
            self.get_logger().error(self._trouble)
            return TransitionCallbackReturn.FAILURE
        self._trouble = ""
        signed = ", signature verified" if settings["bundle_public_key"] else ""
        self.get_logger().info(
            f"configured in {time.monotonic() - began:.1f} s: bundle {manifest.name} ({manifest.sha256[:12]}{signed}), "
            f"{self._predictor.backend} on {self._predictor.device}, {self._predictor.precision}; "
            f"{', '.join(manifest.tasks)}"
            + (f"; {len(self.cameras)} cameras, {self._batch} at once" if len(self.cameras) > 1 else "")
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Announce the labels, start the worker and subscribe; ERROR with the reason when that fails."""
        result = super().on_activate(state)  # enables the publishers
        self._failures.over()
        predictor = self._predictor
        # Frames that the network sees at different sizes cannot go through it together.
        self._slot = FrameSlot(self._batch, self._interval, lambda frame: predictor.working_size(frame.size))
        try:
            self._publish_labels()
            self._worker = Worker(self._slot, self._process)
            self._worker.start()
            for camera in self.cameras:
                camera.statistics.restarted()
                camera.subscribe(self.settings, self._slot.put)
        except Exception as error:  # rclpy would turn it into ERROR without a word
            self.get_logger().error(traceback.format_exc())
            self._fault = f"activate failed: {one_line(error)}"
            return TransitionCallbackReturn.ERROR
        topics = ", ".join(camera.input.description for camera in self.cameras if camera.input is not None)
        self.get_logger().info(f"active: subscribed to {topics}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and let the frames in work end; ERROR if it does not, or after a fault."""
        if self._fault or not self._stop():
            self._fault = self._fault or f"the frame in work did not end in {_STOP_SECONDS:g} s"
            return TransitionCallbackReturn.ERROR
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the predictor and the publishers."""
        self._free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything, from any state."""
        self._stop()
        self._free()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Say what is wrong a last time, and end finalized: a process with a broken device cannot be mended."""
        self._trouble = self._fault or f"error while {state.label}"
        self.get_logger().fatal(f"{self._trouble}; leaving, so that a respawn can start afresh")
        self.exit_code = 1
        self.publish_diagnostics()
        self._diagnostics.wait_for_all_acked(Duration(seconds=1))
        self._stop()
        self._free()
        return TransitionCallbackReturn.FAILURE

    def autostart(self) -> bool:
        """Configure and activate; whether both succeeded."""
        return (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )

    def close(self) -> None:
        """Stop the worker and free everything, whatever the state: for the end of a process."""
        self._stop()
        self._free()

    def _stop(self) -> bool:
        for camera in self.cameras:
            camera.unsubscribe()
        worker, self._worker = self._worker, None
        return worker is None or worker.stop(_STOP_SECONDS)

    def _free(self) -> None:
        self._pipeline = None
        for camera in self.cameras:
            camera.withdraw()
        predictor, self._predictor = self._predictor, None
        if predictor is not None:
            predictor.close()

    def _leave(self) -> None:
        if self._fault and self.exit_code is None:
            self.trigger_deactivate()

    # Frames: the executor's thread up to the slot, the worker's thread from there ------------------------------------

    @property
    def _batch(self) -> int:
        """Most frames that go through the network at once."""
        return min(len(self.cameras), self.settings["max_batch"] or self._predictor.batch_limit)

    def _interval(self) -> float:
        rate = self.settings["max_rate"]
        return 1.0 / rate if rate > 0 else 0.0

    def _process(self, frames: Sequence[tuple[Camera, Frame]]) -> None:
        pipeline, worker = self._pipeline, self._worker
        if pipeline is None or worker is None:
            return  # deactivated in between
        if pipeline.process(frames, self.settings, lambda: not worker.stopping):
            self._failures.over()

    def _on_failure(self, cameras: Sequence[Camera], error: Exception) -> None:
        worker = self._worker
        if worker is None or worker.stopping:
            return  # the publishers may be gone already
        reason = self._failures.add(cameras, error, self.settings["max_inference_failures"])
        if reason:
            self._fault = reason
            self._slot.close()
            self._fault_raised.trigger()

    # Parameters and diagnostics --------------------------------------------------------------------------------------

    def _on_settings(self, changed: set[str], settings: dict[str, Any]) -> None:
        self.settings = settings
        if "confidence_threshold" in changed and self._worker is not None:
            self._publish_labels()

    def _publish_labels(self) -> None:
        semantic = self._predictor.manifest.tasks.get("semantic")
        for camera in self.cameras:
            if semantic is not None and camera.outputs is not None:
                camera.outputs.publish_labels(semantic.class_names, self.settings["confidence_threshold"])

    def _follow_publishers(self) -> None:
        for camera in self.cameras:
            if camera.input is not None:
                camera.input.follow_publishers()
        self._look_for_rivals()

    def _look_for_rivals(self) -> None:
        """Say once that another node of this name publishes the same topics, when it is no memory of a dead one."""
        outputs = self.cameras[0].outputs
        if outputs is None or outputs.rivals < 1:
            self._rival_since = None
            return
        now = time.monotonic()
        self._rival_since = self._rival_since or now
        if now - self._rival_since >= _RIVAL_SECONDS and not self._rival_told:
            self._rival_told = True
            self.get_logger().error(
                f"another node publishes {outputs.topic} too, and listeners get the frames of both: end one, or start "
                "it under another name (-r __node:=NAME) or namespace (-r __ns:=/NAME)"
            )

    def diagnose(self, camera: Camera | None = None) -> Report:
        """Judge a camera, the first by default, as it is now."""
        settings = self.settings
        limits = Limits(settings["budget_ms"], settings["max_overruns"], settings["input_timeout"])
        camera = camera or self.cameras[0]
        report = camera.statistics.report(limits)
        state = self._state_machine.current_state[1]
        level, message = report.level, report.message
        if self._trouble:
            level, message = ERROR, self._trouble
        elif self._worker is None:
            level, message = OK, f"{state}: not processing"
        engine = describe_engine(self._predictor) if self._predictor is not None else []
        topic = camera.input.topic if camera.input is not None else ""
        return Report(level, message, (("lifecycle_state", state), ("input_topic", topic), *engine, *report.values))

    def publish_diagnostics(self) -> None:
        """Publish one diagnostic status a camera."""
        own = self.get_fully_qualified_name().lstrip("/")
        statuses = []
        for camera in self.cameras:
            report = self.diagnose(camera)
            bundle = dict(report.values).get("bundle", "")
            statuses.append(to_status(report, f"{own}: {camera.status_name}", bundle))
        self._diagnostics.publish(to_message(statuses, self.get_clock().now().to_msg()))


def main(args: Sequence[str] | None = None, predictor_factory: PredictorFactory | None = None) -> int:
    """Run the node until a signal or a fault ends it.

    Args:
        args: command line; None = that of the process.
        predictor_factory: as for `PerceptionNode`.

    Returns:
        The process's exit code: 0 after SIGINT or SIGTERM, 1 after a fault or a failed autostart, 2 for a parameter
        that cannot be used.
    """
    if "--help" in (sys.argv if args is None else args):
        print(USAGE)
        return 0
    return run_node(lambda: PerceptionNode(predictor_factory), _attend, args)


def _attend(node: PerceptionNode, serve: Callable[[], bool]) -> int:
    try:
        if not node.settings["autostart"]:
            node.get_logger().info("unconfigured: waiting for a configure transition, or start with autostart:=true")
        elif not node.autostart():
            return 1
        while node.exit_code is None and serve():
            pass
        return node.exit_code or 0
    finally:
        node.close()


if __name__ == "__main__":
    sys.exit(main())
