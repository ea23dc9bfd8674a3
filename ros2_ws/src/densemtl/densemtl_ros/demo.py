"""The whole chain on one machine: replay, perception node and a checking subscriber, over real ROS 2.

``python -m densemtl_ros.demo --source street`` starts the two nodes as processes of their own, with the parameter file
that the launch file uses, listens for some seconds, checks every image and leaves pictures and figures in a folder. It
is also the entry point for machines on which ``ros2 launch`` is not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from densemtl_core.errors import InputError
from densemtl_core.runtime import Bundle, default_bundle
from densemtl_ros import stream_pictures
from densemtl_ros.bag_messages import open_message, rgb_image
from densemtl_ros.bag_topic import BagMessage, BagTopic
from densemtl_ros.child_process import NodeProcess
from densemtl_ros.frame_sources import FrameSource, open_source
from densemtl_ros.image_codec import RejectedFrame
from densemtl_ros.parameters import PARAMETERS_BY_NAME
from densemtl_ros.stream_check import INPUT, StreamCheck
from densemtl_ros.stream_report import (
    AGE_AT_PUBLISH,
    as_table,
    stages_from_diagnostics,
    summary,
    versions,
    write_json,
)
from densemtl_ros.transport import config_file, transport_environment

__all__ = ["DemoError", "main"]

START_SECONDS = 180.0
"""Longest wait for the first output: loading a network on a busy computer, making the street's frames."""
STREET_SECONDS = 12.0
"""Longest time for making street frames: a few more frames are not worth a longer wait."""
QUIET_SECONDS = 1.0
MOST_PIXELS = 3840 * 2160
MOST_INCOMPLETE = 0.2
"""Share of frames of which an image may be lost on its way here: outputs are one deep, and the computer is busy."""


class DemoError(RuntimeError):
    """The demo cannot go on; the message is one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Returns:
        Exit status: 0; 1 when something failed or a check did; 2 for bad arguments; 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        return _run(options, stop)
    except (InputError, DemoError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m densemtl_ros.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="street", help="'street', a video file, a folder of images or a bag")
    parser.add_argument("--topic", default="", help="images of a bag; default: its only image topic")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to listen, from the first output")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for pictures and figures")
    parser.add_argument("--bundle", default="", help="folder of a bundle; default: the one that ships")
    parser.add_argument("--rate", type=float, default=0.0, help="frames a second; 0 = the source's own")
    parser.add_argument("--width", type=int, default=0, help="width of the frames in pixels; 0 = the source's own")
    return parser


def _run(options: argparse.Namespace, stop: threading.Event) -> int:
    if not 0.5 <= options.seconds <= 3600:
        raise InputError(f"--seconds is {options.seconds:g}, must be 0.5 to 3600")
    if not 0 <= options.rate <= 1000:
        raise InputError(f"--rate is {options.rate:g}, must be 0 (the source's own) or up to 1000 Hz")
    # Everything that a person may have got wrong is looked at here, before any process starts.
    bundle = Bundle(options.bundle or default_bundle())
    bundle.verify()
    missing = sorted({"semantic", "depth", "normals", "edges"} - set(bundle.manifest.tasks))
    if missing:
        raise InputError(f"bundle {bundle.path} has no {', '.join(missing)}; the demo shows all four tasks")
    source = open_source(options.source, width=options.width, rate=options.rate, topic=options.topic)
    if options.source != "street":
        _check_size(_first_shape(source))
    log = options.out / "log"
    try:
        log.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {options.out}: cannot be written ({error.strerror}); give another folder") from None

    os.environ.update(
        transport_environment(),
        ROS_DOMAIN_ID=str(_free_domain()),
        ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
        ROS_LOG_DIR=str(log.resolve()),
    )
    try:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from densemtl_ros.stream_subscriber import StreamSubscriber
    except ImportError as error:
        raise InputError(
            f"ROS 2 is not installed here ({error}); install densemtl-core[ros], or source a ROS 2 distribution"
        ) from None

    tasks = bundle.manifest.tasks
    album = stream_pictures.Album(options.seconds)
    check = StreamCheck(len(tasks["semantic"].class_names), album.add)
    with contextlib.ExitStack() as stack:
        perception, replay = _start_nodes(options, bundle, log, stack)
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        stack.callback(rclpy.try_shutdown)
        node = StreamSubscriber(check)
        stack.callback(node.destroy_node)
        executor = SingleThreadedExecutor()
        stack.callback(executor.shutdown, timeout_sec=2.0)
        executor.add_node(node)
        listener = _Listener(executor.spin_once, (perception, replay), stop)

        print(f"perception node and replay of {options.source} are starting ...", flush=True)
        began = time.monotonic()
        if not listener.until(lambda: node.heard > 0, START_SECONDS):
            raise DemoError(_silence(check, node, perception, replay))
        print(f"first images after {time.monotonic() - began:.1f} s; listening for {options.seconds:g} s", flush=True)
        listener.until(lambda: False, options.seconds)
        replay_status = replay.stop()
        # What is on its way still arrives; then the node's own last word about it, once a second.
        quiet = int(QUIET_SECONDS * 1e9)
        listener.children = (perception,)
        listener.until(lambda: node.get_clock().now().nanoseconds - node.heard > quiet, 10.0)
        count = node.diagnostics_count
        listener.until(lambda: node.diagnostics_count > count, 2.5)
        perception_status = perception.stop()
        for child, status in ((replay, replay_status), (perception, perception_status)):
            if status != 0:
                raise DemoError(f"{child.name} ended with exit status {status}: {child.last_line()} (see {child.log})")
        diagnostics = node.diagnostics
    check.finish()
    if not check.stamps_out or album.whole is None:
        raise DemoError(f"no frame came back whole: {'; '.join(check.problems[:3]) or 'see ' + str(log)}")
    report = _report(options, bundle, check, diagnostics, album.whole.images[INPUT].shape)
    files = _write(options.out, report, album, tasks)
    print(as_table(report))
    print("\n".join(f"  {file}" for file in files))
    if len(check.incomplete) > MOST_INCOMPLETE * len(check.stamps_out):
        raise DemoError(f"{len(check.incomplete)} frames came back in part, the first: {check.incomplete[0]}")
    if check.problem_count:
        raise DemoError(f"{check.problem_count} check(s) failed, the first: {check.problems[0]}")
    return 0


def _first_shape(source: FrameSource | BagTopic) -> Sequence[int]:
    first = next(iter(source))
    if not isinstance(first, BagMessage):
        return first.rgb.shape
    try:
        message = open_message(first.image, source.kind)
        return rgb_image(message, source.kind, int(PARAMETERS_BY_NAME["max_pixels"].default)).shape
    except RejectedFrame as rejection:
        raise InputError(f"{source.title}: the first image cannot be used, {rejection.reason}: {rejection}") from None


def _check_size(shape: Sequence[int]) -> None:
    # Three processes hold dozens of such frames: a larger one would fill the memory of a small computer.
    if shape[0] * shape[1] > MOST_PIXELS:
        raise InputError(
            f"frames are {shape[1]} x {shape[0]}, the demo takes up to {MOST_PIXELS} pixels; scale them: --width 1280 "
            "(make run WIDTH=1280)"
        )


def _start_nodes(
    options: argparse.Namespace, bundle: Bundle, log: Path, stack: contextlib.ExitStack
) -> tuple[NodeProcess, NodeProcess]:
    # Before rclpy starts its threads here: a process must not fork with them.
    parameters = ["--params-file", str(config_file("perception.yaml"))]
    perception = NodeProcess(
        "perception",
        "densemtl_ros.perception_node",
        ["--ros-args", *parameters, *_set(bundle=str(bundle.path.resolve()), autostart=True)],
        os.environ,
        log / "perception.log",
    )
    stack.callback(perception.stop)
    # Two subscribers: the perception node and this process, so that both see the very first frame.
    played = _set(
        source=options.source, topic=options.topic, rate=options.rate, width=options.width, loop=True,
        wait_for_subscribers=2, wait_timeout=START_SECONDS, street_budget=STREET_SECONDS,
    )  # fmt: skip
    replay = NodeProcess("replay", "densemtl_ros.replay_node", ["--ros-args", *played], os.environ, log / "replay.log")
    stack.callback(replay.stop)
    return perception, replay


def _set(**parameters: Any) -> list[str]:
    """Write parameters for a command line; as JSON, so that a path named 12 stays a text."""
    return [part for name, value in parameters.items() for part in ("-p", f"{name}:={json.dumps(value)}")]


class _Listener:
    """Spins while the children live and nobody interrupts."""

    def __init__(self, spin_once: Callable[..., None], children: Sequence[NodeProcess], stop: threading.Event) -> None:
        self.children = children
        self._spin_once = spin_once
        self._stop = stop

    def until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Spin until ``done()``, or for some seconds; says which.

        Raises:
            DemoError: a child ended.
            SystemExit: interrupted.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if done():
                return True
            if self._stop.is_set():
                print("demo: interrupted", file=sys.stderr)
                raise SystemExit(130)
            for child in self.children:
                if child.returncode is not None:
                    raise DemoError(f"{child.name} ended early, exit status {child.returncode}: {_last_words(child)}")
            self._spin_once(timeout_sec=0.1)
        return done()


def _last_words(child: NodeProcess) -> str:
    return f"{child.last_line('[ERROR]') or child.last_line()} (see {child.log})"


def _silence(check: StreamCheck, node: Any, perception: NodeProcess, replay: NodeProcess) -> str:
    if not node.perception_listens():
        return f"the perception node did not start in {START_SECONDS:g} s: {_last_words(perception)}"
    if not check.stamps_in:
        return f"no image was played in {START_SECONDS:g} s: {_last_words(replay)}"
    return f"{len(check.stamps_in)} images in, nothing came back in {START_SECONDS:g} s: {_last_words(perception)}"


def _report(
    options: argparse.Namespace, bundle: Bundle, check: StreamCheck, diagnostics: dict[str, str], shape: Sequence[int]
) -> dict[str, Any]:
    stages = stages_from_diagnostics(diagnostics)
    at_arrival = summary(check.latencies)
    by_node = {"p50", "p90", "p99"} <= set(stages.get(AGE_AT_PUBLISH, {}))
    # The node knows best; where it does not tell all three, the subscriber's own figures are an upper bound.
    at_publish = stages[AGE_AT_PUBLISH] if by_node else at_arrival
    inputs = sorted(check.stamps_in)
    manifest = bundle.manifest
    return {
        "source": options.source,
        "width": int(shape[1]),
        "height": int(shape[0]),
        "frames_in": len(inputs),
        "frames_out": len(check.stamps_out),
        "dropped": len(inputs) - len(check.stamps_out),
        "input_rate_hz": _rate(inputs),
        "output_rate_hz": _rate(check.stamps_out),
        "stamp_to_publish_ms": at_publish,
        "stamp_to_publish_measured_by": "node" if by_node else "subscriber (all four raw images arrived)",
        "stamp_to_arrival_ms": at_arrival,
        "stages_ms": stages,
        "messages_checked": check.messages,
        "incomplete": len(check.incomplete),
        "problem_count": check.problem_count,
        "problems": check.problems,
        "bundle": {
            "name": manifest.name, "preset": manifest.preset, "precision": diagnostics.get("precision", "unknown"),
            "sha256": manifest.sha256
        },
        "backend": diagnostics.get("backend", "unknown"),
        "device": diagnostics.get("device", "unknown"),
        "cpus": os.cpu_count(),
        "versions": versions(),
        "diagnostics": diagnostics,
    }  # fmt: skip


def _rate(stamps: Sequence[int]) -> float:
    return round((len(stamps) - 1) * 1e9 / (max(stamps) - min(stamps)), 2) if len(stamps) > 1 else 0.0


def _write(out: Path, report: dict[str, Any], album: stream_pictures.Album, tasks: Any) -> list[Path]:
    files = [out / "latency.json", out / "panel.png", out / "strip.png"]
    write_json(files[0], report)
    stream_pictures.write_picture(files[1], stream_pictures.panel(album.whole, tasks))
    stream_pictures.write_picture(files[2], stream_pictures.strip(album.moments, tasks))
    video = out / "panel.mp4"
    if stream_pictures.write_video(video, album.moments, tasks):
        files.append(video)
    else:
        video.unlink(missing_ok=True)  # one from an earlier run would not belong to these figures
    return files


def _free_domain() -> int:
    """Find a ROS domain that no process on this machine uses, so that neighbours do not meet."""
    for offset in range(100):
        domain = 1 + (os.getpid() + offset) % 100
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # The port at which the first participant of the domain listens for others.
                probe.bind(("127.0.0.1", 7400 + 250 * domain + 10))
                return domain
            except OSError:
                continue
    raise DemoError("all ROS domains from 1 to 100 are in use on this machine; stop some ROS processes")


if __name__ == "__main__":
    sys.exit(main())
