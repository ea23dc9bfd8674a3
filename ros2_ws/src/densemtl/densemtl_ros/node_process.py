"""A process around one ROS 2 node: start, signals, clean-up, and the exit code."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from densemtl_core.errors import InputError
from densemtl_ros.error_text import one_line
from densemtl_ros.shared_memory import remove_abandoned

__all__ = ["close_ros", "end_after", "run_node"]

N = TypeVar("N", bound=Any)


def run_node(make: Callable[[], N], attend: Callable[[N, Callable[[], bool]], int], args: Sequence[str] | None) -> int:
    """Run a node until a signal ends it, or its work does.

    Args:
        make: the node; called once ROS is there.
        attend: called with the node and a function that serves its callbacks for at most 0.2 s and returns whether the
            process may go on; returns the exit code.
        args: command line; None = that of the process.

    Returns:
        The process's exit code: what ``attend`` returns; 2 after one line on standard error for a command line that ROS
        does not take, and for an `InputError` of ``make`` or ``attend``.
    """
    stop = threading.Event()
    # rclpy's own handlers end a process now and then with a traceback or exit code 1.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # What a predecessor that was killed left behind: a respawn must not fill the memory a little more each time.
    remove_abandoned()
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # an argument that ROS does not know; the type differs between distributions
        print(f"error: {one_line(error)}; see --help", file=sys.stderr)
        return 2
    node, executor = None, SingleThreadedExecutor()

    def serve() -> bool:
        if not stop.is_set():
            executor.spin_once(timeout_sec=0.2)
        return not stop.is_set()

    try:
        node = make()
        executor.add_node(node)
        code = attend(node, serve)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    finally:
        close_ros(executor, node)
    # A node that is part of a cycle, as one with callbacks of its own is, would stay, and with it what listens for it.
    node = None
    gc.collect()
    if args is None:
        end_after(code)
    return code


def close_ros(executor: SingleThreadedExecutor | None, node: Any) -> None:
    """End what serves a node, the node, and ROS in this process; signals are not heard any more.

    Args:
        executor: None where there is none yet.
        node: None where there is none yet.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not cut the clean-up short
    if executor is not None:
        executor.shutdown(timeout_sec=2.0)
    if node is not None:
        node.destroy_node()
    with contextlib.suppress(Exception):
        rclpy.try_shutdown()


def end_after(code: int) -> None:
    """Have this process end once Python has cleaned up, before the destructors of its libraries run.

    Fast DDS keeps a thread for its shared memory until those destructors, and some runs in a thousand crash in them:
    signal 11 from a program that had done everything it was to do, which a supervisor takes for a fault.

    Args:
        code: of the process.
    """

    def end() -> None:
        atexit.unregister(end)
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)

    atexit.register(end)
