"""The perception node: camera images in; semantic, depth, normal and edge images out, each with the input's stamp.

A lifecycle node. The executor's thread only checks messages and answers services; one worker thread computes, on the
newest frame. Diagnostics come from a timer, so that they also tell of a worker that is stuck.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from densemtl_core.errors import InputError
from densemtl_ros.camera_input import CameraInput, Frame
from densemtl_ros.camera_outputs import CameraOutputs
from densemtl_ros.diagnostic_status import describe_engine, to_message
from densemtl_ros.frame_pipeline import FramePipeline, one_line
from densemtl_ros.frame_slot import FrameSlot
from densemtl_ros.frame_statistics import ERROR, OK, FrameStatistics, Limits, Report
from densemtl_ros.image_codec import RejectedFrame
from densemtl_ros.parameter_server import declare_parameters
from densemtl_ros.worker import Worker

__all__ = ["PerceptionNode", "main"]

PredictorFactory = Callable[..., Any]

USAGE = """usage: perception_node --ros-args [-p NAME:=VALUE]... [--params-file FILE] [-r FROM:=TO]...

  -p autostart:=true          configure and activate at start
  -p bundle:=FOLDER           bundle to run; the one that ships by default
  -r image:=/camera/image     the camera's topic

All parameters with their meaning: config/perception.yaml, docs/ros_node.md."""

_STOP_SECONDS = 5.0
"""How long a frame in work may take to end before the worker counts as stuck."""
_QOS_CHECK_SECONDS = 0.5


class PerceptionNode(LifecycleNode):
    """One camera, one bundle.

    Args:
        predictor_factory: called as ``factory(bundle, backend=..., threads=..., public_key=...)``; None =
            `densemtl_core.runtime`.
        **options: further arguments of `rclpy.lifecycle.LifecycleNode`.

    Attributes:
        exit_code: None while the node can go on; the process's exit code once it cannot.

    Raises:
        InputError: a parameter has a value that cannot be used.
    """

    def __init__(self, predictor_factory: PredictorFactory | None = None, **options: Any) -> None:
        super().__init__("perception", **options)
        self.exit_code: int | None = None
        self._predictor_factory = predictor_factory or _runtime_predictor
        self._predictor: Any = None
        self._input: CameraInput | None = None
        self._outputs: CameraOutputs | None = None
        self._pipeline: FramePipeline | None = None
        self._worker: Worker[Frame] | None = None
        self._slot: FrameSlot[Frame] = FrameSlot()
        self._statistics = FrameStatistics()
        self._trouble = ""
        self._fault = ""
        self.settings = declare_parameters(self, self._on_settings)
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
            self._predictor.warm_up()
            manifest = self._predictor.manifest
            self._outputs = CameraOutputs(self, tuple(manifest.tasks))
            self._pipeline = FramePipeline(self, self._predictor, self._outputs, self._statistics)
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
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Announce the labels, start the worker and subscribe; ERROR with the reason when that fails."""
        result = super().on_activate(state)  # enables the publishers
        self._statistics.restarted()
        self._slot = FrameSlot()
        try:
            self._publish_labels()
            self._worker = Worker(self._slot, self._process, self._interval)
            self._worker.start()
            self._input = CameraInput(
                self,
                transport=self.settings["image_transport"],
                reliability=self.settings["input_reliability"],
                max_pixels=self.settings["max_pixels"],
                statistics=self._statistics,
                accept=self._accept,
            )
        except Exception as error:  # rclpy would turn it into ERROR without a word
            self.get_logger().error(traceback.format_exc())
            self._fault = f"activate failed: {one_line(error)}"
            return TransitionCallbackReturn.ERROR
        self.get_logger().info(f"active: subscribed to {self._input.description}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and let the frame in work end; ERROR if it does not, or after a fault."""
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
        if self._input is not None:
            self._input.close()
            self._input = None
        worker, self._worker = self._worker, None
        return worker is None or worker.stop(_STOP_SECONDS)

    def _free(self) -> None:
        self._pipeline = None
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        predictor, self._predictor = self._predictor, None
        if predictor is not None:
            predictor.close()

    def _leave(self) -> None:
        if self._fault and self.exit_code is None:
            self.trigger_deactivate()

    # Frames: the executor's thread up to the slot, the worker's thread from there ------------------------------------

    def _accept(self, frame: Frame) -> None:
        if self._slot.put(frame):
            self._statistics.dropped()

    def _interval(self) -> float:
        rate = self.settings["max_rate"]
        return 1.0 / rate if rate > 0 else 0.0

    def _process(self, frame: Frame) -> None:
        pipeline, camera, worker = self._pipeline, self._input, self._worker
        if pipeline is None or camera is None or worker is None:
            return  # deactivated in between
        try:
            pipeline.process(frame, self.settings, camera, lambda: not worker.stopping)
        except RejectedFrame as rejection:
            self._statistics.abandoned()
            camera.reject(rejection)
        except Exception as error:
            self._statistics.abandoned()
            if not worker.stopping:  # else the publishers may be gone already
                self._on_inference_failure(error)

    def _on_inference_failure(self, error: Exception) -> None:
        text = one_line(error)
        in_a_row = self._statistics.failed(text)
        # The traceback of the first failure in a row; then one line each, at most one every five seconds.
        if in_a_row == 1:
            self.get_logger().error(f"inference failed: {traceback.format_exc()}")
        else:
            self.get_logger().error(f"inference failed {in_a_row} times in a row: {text}", throttle_duration_sec=5.0)
        limit = self.settings["max_inference_failures"]
        if in_a_row >= limit or _is_device_fault(error):
            self._fault = f"inference failed {in_a_row} times in a row (max_inference_failures {limit}): {text}"
            self._slot.close()
            self._fault_raised.trigger()

    # Parameters and diagnostics --------------------------------------------------------------------------------------

    def _on_settings(self, changed: set[str], settings: dict[str, Any]) -> None:
        self.settings = settings
        if "confidence_threshold" in changed and self._worker is not None:
            self._publish_labels()

    def _publish_labels(self) -> None:
        semantic = self._predictor.manifest.tasks.get("semantic")
        if semantic is not None:
            self._outputs.publish_labels(semantic.class_names, self.settings["confidence_threshold"])

    def _follow_publishers(self) -> None:
        if self._input is not None:
            self._input.follow_publishers()

    def diagnose(self) -> Report:
        """Judge the node as it is now."""
        settings = self.settings
        limits = Limits(settings["budget_ms"], settings["max_overruns"], settings["input_timeout"])
        report = self._statistics.report(limits)
        state = self._state_machine.current_state[1]
        level, message = report.level, report.message
        if self._trouble:
            level, message = ERROR, self._trouble
        elif self._worker is None:
            level, message = OK, f"{state}: not processing"
        engine = describe_engine(self._predictor) if self._predictor is not None else []
        return Report(level, message, (("lifecycle_state", state), *engine, *report.values))

    def publish_diagnostics(self) -> None:
        """Publish one diagnostic status."""
        report = self.diagnose()
        name = f"{self.get_fully_qualified_name().lstrip('/')}: frames"
        bundle = dict(report.values).get("bundle", "")
        self._diagnostics.publish(to_message(report, name, bundle, self.get_clock().now().to_msg()))


def _runtime_predictor(bundle: str, **options: Any) -> Any:
    from densemtl_core.runtime import Predictor, default_bundle

    return Predictor(bundle or default_bundle(), **options)


def _is_device_fault(error: BaseException) -> bool:
    """Whether the device is broken for this process; running out of memory is not that."""
    return type(error).__name__ == "AcceleratorError" or str(error).startswith("CUDA error")


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
    stop = threading.Event()
    # rclpy's own handlers end a process now and then with a traceback or exit code 1.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # an argument that ROS does not know; the type differs between distributions
        print(f"error: {one_line(error)}; see --help", file=sys.stderr)
        return 2
    node, executor = None, SingleThreadedExecutor()
    try:
        node = PerceptionNode(predictor_factory)
        executor.add_node(node)
        if not node.settings["autostart"]:
            node.get_logger().info("unconfigured: waiting for a configure transition, or start with autostart:=true")
        elif not node.autostart():
            return 1
        while not stop.is_set() and node.exit_code is None:
            executor.spin_once(timeout_sec=0.2)
        return node.exit_code or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not cut the clean-up short
        if node is not None:
            node.close()
        executor.shutdown(timeout_sec=2.0)
        if node is not None:
            node.destroy_node()
        with contextlib.suppress(Exception):
            rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
