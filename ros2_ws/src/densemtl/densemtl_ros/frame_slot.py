"""A place for one frame, where the newest wins: the whole queue between the camera and the network."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

__all__ = ["FrameSlot"]

T = TypeVar("T")


class FrameSlot(Generic[T]):
    """Holds at most one item; a newer one replaces it. Safe between threads.

    A robot acts on what the camera sees now, so a frame that was overtaken before the network was free is counted
    and forgotten, never queued.

    Attributes:
        received: items ever put.
        taken: items ever taken.
        dropped: items that a newer one replaced.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self.received = 0
        self.taken = 0
        self.dropped = 0

    def put(self, item: T) -> bool:
        """Put the newest item in; never blocks for longer than another `put` takes.

        Returns:
            Whether an older item was still waiting and is now dropped. Always False once closed.
        """
        with self._changed:
            if self._closed:
                return False
            overtaken = self._item is not None
            self._item = item
            self.received += 1
            self.dropped += overtaken
            self._changed.notify()
            return overtaken

    def take(self, timeout: float | None = None) -> T | None:
        """Wait for an item and take it out.

        Args:
            timeout: seconds to wait at most; None waits for ever.

        Returns:
            The item; None when the slot was closed or the time is over.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout)
            if self._closed:
                return None
            item, self._item = self._item, None
            self.taken += item is not None
            return item

    def close(self) -> None:
        """Drop what waits and wake every `take` with None; the slot stays closed."""
        with self._changed:
            self._closed = True
            self._item = None
            self._changed.notify_all()
