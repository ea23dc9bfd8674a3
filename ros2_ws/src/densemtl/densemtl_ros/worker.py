"""The one thread that computes, so that callbacks, services and diagnostics never wait for the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from densemtl_ros.frame_slot import FrameSlot

__all__ = ["Worker"]

T = TypeVar("T")


class Worker(Generic[T]):
    """Takes items from a slot, one after another, and hands each to a function in a thread of its own.

    Args:
        slot: where items come from; closed by `stop`.
        handle: called with each item; it deals with its own errors.
        interval: seconds that must lie between the starts of two calls, asked anew each time; 0 for no limit.
    """

    def __init__(
        self, slot: FrameSlot[T], handle: Callable[[T], None], interval: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._slot = slot
        self._handle = handle
        self._interval = interval
        self._stopping = threading.Event()
        # A daemon: a computation that never returns must not keep a process alive that wants to exit.
        self._thread = threading.Thread(target=self._loop, name="perception-worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Close the slot and wait for the call in progress.

        Args:
            timeout: seconds to wait.

        Returns:
            False if the call in progress has not ended by then.
        """
        self._stopping.set()
        self._slot.close()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called: a call in progress should publish nothing any more."""
        return self._stopping.is_set()

    def _loop(self) -> None:
        started = float("-inf")
        while not self._stopping.is_set():
            # Waiting before taking, not after, so that the frame taken is the newest one.
            pause = started + self._interval() - time.monotonic()
            if pause > 0 and self._stopping.wait(pause):
                return
            item = self._slot.take()
            if item is None:
                return
            started = time.monotonic()
            self._handle(item)
            del item  # a frame's memory must not be held while waiting for the next
