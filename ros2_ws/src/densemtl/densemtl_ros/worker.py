"""The one thread that computes, so that callbacks, services and diagnostics never wait for the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from densemtl_ros.frame_slot import FrameSlot

__all__ = ["Worker"]

K = TypeVar("K")
T = TypeVar("T")


class Worker(Generic[K, T]):
    """Takes what waits in a slot, again and again, and hands it to a function in a thread of its own.

    Args:
        slot: where items come from; closed by `stop`.
        handle: called with what was taken, cameras and their items; it deals with its own errors.
    """

    def __init__(self, slot: FrameSlot[K, T], handle: Callable[[list[tuple[K, T]]], None]) -> None:
        self._slot = slot
        self._handle = handle
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
        while not self._stopping.is_set():
            items = self._slot.take()
            if not items:
                return
            self._handle(items)
            del items  # a frame's memory must not be held while waiting for the next
