"""Run a bundle over every frame of a ROS 2 bag and write what the node would publish as a new bag. No ROS needed.

The new bag has the node's topics (/perception/semantic/image ...), encodings, stamps and frame ids, and no frame is
dropped. Exit status: 0; 1 when no frame could be used or inference or writing failed; 2 for bad arguments; 130 after
Ctrl-C, which leaves no bag behind.
"""

from __future__ import annotations

import argparse
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from densemtl_core.errors import InputError
from densemtl_ros.bag_messages import label_kind, label_message
from densemtl_ros.bag_topic import BagTopic
from densemtl_ros.bag_types import CAMERA_INFO, IMAGE
from densemtl_ros.bag_writer import STORAGES, BagWriter, offered_qos
from densemtl_ros.error_text import one_line
from densemtl_ros.image_codec import RejectedFrame
from densemtl_ros.offline_frames import NODE, OfflineFrames, chosen_outputs
from densemtl_ros.runtime_predictor import runtime_predictor

__all__ = ["main"]

_LABELS = f"{NODE}/semantic/label_info"
_INFO = f"{NODE}/camera_info"
_TELL_SECONDS = 10.0
"""Between two lines of progress where nobody watches; on a terminal one line is written anew."""


def main(arguments: Sequence[str] | None = None, predictor_factory: Callable[..., Any] | None = None) -> int:
    """Run the program.

    Args:
        arguments: command line; None = that of the process.
        predictor_factory: called as ``factory(bundle, threads=...)``; None = `densemtl_core.runtime`.

    Returns:
        Exit status.
    """
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        return _run(options, predictor_factory or runtime_predictor, stop)
    except InputError as error:
        print(f"bag: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if not isinstance(error, (OSError, sqlite3.Error)):  # not a full disk: show where it is
            traceback.print_exc()
        print(f"bag: {one_line(error)}; nothing was written", file=sys.stderr)
        return 1
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m densemtl_ros.bag", description=__doc__.splitlines()[0])
    parser.add_argument("input", type=Path, metavar="IN", help="folder of a bag, or a .mcap or .db3 file")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder of the new bag; must not exist")
    parser.add_argument("--topic", default="", help="the images; default: the only image topic")
    parser.add_argument("--bundle", default="", help="folder of a bundle; default: the one that ships")
    parser.add_argument(
        "--outputs", default="", help="separated by commas, or 'all'; default: semantic,depth,normals,edges"
    )
    parser.add_argument("--storage", choices=STORAGES, default="mcap", help="kind of the new bag (default: mcap)")
    parser.add_argument("--scale", type=float, choices=(1, 0.5, 0.25), default=1.0, help="size of the outputs")
    parser.add_argument("--confidence-threshold", type=float, default=0.0, help="less sure pixels become 255")
    parser.add_argument("--limit", type=int, default=0, help="only so many frames; 0 = all")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 = the engine's own choice")
    parser.add_argument("--copy-input", action="store_true", help="also write the images and their camera_info")
    return parser


def _run(options: argparse.Namespace, predictor_factory: Callable[..., Any], stop: threading.Event) -> int:
    for name in ("limit", "threads"):
        if getattr(options, name) < 0:
            raise InputError(f"--{name} is {getattr(options, name)}, must be 0 or more")
    if not 0 <= options.confidence_threshold <= 1:
        raise InputError(f"--confidence-threshold is {options.confidence_threshold:g}, must be from 0 to 1")
    source = BagTopic(options.input, options.topic)
    with BagWriter(options.output, options.storage) as writer:
        predictor = predictor_factory(options.bundle, threads=options.threads or None)
        try:
            outputs = chosen_outputs(options.outputs, tuple(predictor.manifest.tasks))
            frames = OfflineFrames(predictor, outputs, source.kind, options.scale, options.confidence_threshold)
            for output in outputs:
                writer.add_topic(f"{NODE}/{output.topic}", IMAGE, [offered_qos()])
            rejected, stopped = _write_frames(options, source, frames, predictor.manifest, writer, stop)
            if stopped:
                print("bag: interrupted; nothing was written", file=sys.stderr)
                return 130
            done = len(frames.seconds["infer"])
            if not done:
                reasons = ", ".join(f"{reason} {n}" for reason, n in rejected.items())
                print(f"bag: no frame of {source.title} could be used ({reasons})", file=sys.stderr)
                return 1
            _note_origin(writer, source, predictor)
            writer.finish()
        finally:
            predictor.close()
    print(_table(source, writer, frames, rejected, _engine(predictor)))
    return 0


def _write_frames(
    options: argparse.Namespace,
    source: BagTopic,
    frames: OfflineFrames,
    manifest: Any,
    writer: BagWriter,
    stop: threading.Event,
) -> tuple[Counter[str], bool]:
    """Write every frame; how many were rejected for which reason, and whether somebody interrupted."""
    rejected: Counter[str] = Counter()
    total = min(options.limit or source.count, source.count)
    progress = _Progress(total)
    copied_info = None
    labels = manifest.tasks.get("semantic")
    if options.copy_input:
        writer.add_topic(source.topic, source.kind, source.offered_qos(source.topic) or [offered_qos()])
        if source.camera_topic:
            writer.add_topic(
                source.camera_topic, CAMERA_INFO, source.offered_qos(source.camera_topic) or [offered_qos()]
            )
    if source.camera_topic:
        writer.add_topic(_INFO, CAMERA_INFO, [offered_qos()])
    for number, frame in enumerate(source):
        if stop.is_set():
            return rejected, True
        if number == total:
            break
        if options.copy_input:
            if frame.info is not None and frame.info != copied_info:
                writer.write(source.camera_topic or "", frame.time, frame.info)
                copied_info = frame.info
            writer.write(source.topic, frame.time, frame.image)
        try:
            messages = frames.process(frame)
        except RejectedFrame as rejection:
            if not rejected[rejection.reason]:
                progress.line(f"frame {number} is skipped, {rejection.reason}: {rejection}")
            rejected[rejection.reason] += 1
        else:
            if labels is not None:
                kind = label_kind()
                message = label_message(labels.class_names, options.confidence_threshold, frames.header(frame), kind)
                writer.add_topic(_LABELS, kind, [offered_qos(latched=True)])
                writer.write(_LABELS, frame.time, message)
                labels = None
            for topic, message in messages:
                writer.write(topic, frame.time, message)
        progress.tell(number + 1)
    progress.end()
    return rejected, stop.is_set()


def _note_origin(writer: BagWriter, source: BagTopic, predictor: Any) -> None:
    writer.note("densemtl_bundle", predictor.manifest.name)
    writer.note("densemtl_bundle_sha256", predictor.manifest.sha256)
    writer.note("densemtl_engine", _engine(predictor))
    writer.note("densemtl_input", f"{source.path.name}:{source.topic}")


def _engine(predictor: Any) -> str:
    return f"{predictor.backend} on {predictor.device}, {predictor.precision}"


def _table(source: BagTopic, writer: BagWriter, frames: OfflineFrames, rejected: Counter[str], engine: str) -> str:
    done = len(frames.seconds["infer"])
    totals = [sum(stages) for stages in zip(*frames.seconds.values(), strict=True)]
    stages = ", ".join(f"{stage} {1e3 * median(values):.1f}" for stage, values in frames.seconds.items())
    rows = [
        ("input", source.title),
        ("frames", f"{done + rejected.total()}"),
        ("processed", f"{done}"),
        ("rejected", ", ".join(f"{reason} {n}" for reason, n in rejected.items()) or "0"),
        ("camera_info", ", ".join(f"{r} {n} frames" for r, n in frames.irregular.items()) or _camera_words(source)),
        ("ms a frame", f"p50 {1e3 * median(totals):.1f} ({stages})"),
        ("engine", engine),
        ("output", f"{writer.path} ({writer.count} messages, {writer.size / 1e6:.1f} MB)"),
    ]
    return "\n".join(f"{name:12} {value}" for name, value in rows)


def _camera_words(source: BagTopic) -> str:
    return f"of {source.camera_topic}" if source.camera_topic else "none in the bag"


class _Progress:
    """One line that grows with the frames."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._began = self._told = time.monotonic()

    def tell(self, done: int) -> None:
        """Say how far it is, if it is time to."""
        now = time.monotonic()
        if now - self._told < (0.2 if self._terminal else _TELL_SECONDS):
            return
        self._told = now
        text = f"{done} of {self._total} frames, {done / (now - self._began):.1f} a second"
        print(f"\r\033[K{text}" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr)
        sys.stderr.flush()

    def line(self, text: str) -> None:
        """Say something else."""
        self.end()
        print(f"bag: {text}", file=sys.stderr)

    def end(self) -> None:
        """Make room for other lines."""
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
