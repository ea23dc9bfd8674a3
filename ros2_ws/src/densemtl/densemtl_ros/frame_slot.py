"""A place for one frame of each camera, where the newest wins: the whole queue between the cameras and the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

__all__ = ["FrameSlot"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class FrameSlot(Generic[K, T]):
    """Holds at most one item a camera; a newer one replaces it. Safe between threads.

    A robot acts on what the camera sees now, so a frame that was overtaken before the network was free is counted
    and forgotten, never queued. Whoever takes gets the cameras in turn: first the one that was served longest ago, so
    that a fast camera leaves the others their share, and nobody waits for one that is silent.

    Args:
        most: items that one `take` gives at most.
        interval: seconds that must lie between two items of one camera, asked anew each time; 0 for no limit.
        alike: items that are taken together have the same value of this; by default any are.

    Attributes:
        received: items ever put.
        taken: items ever taken.
        dropped: items that a newer one replaced.
    """

    def __init__(
        self,
        most: int = 1,
        interval: Callable[[], float] = lambda: 0.0,
        alike: Callable[[T], Any] = lambda item: None,
    ) -> None:
        self._most, self._interval, self._alike = most, interval, alike
        self._changed = threading.Condition()
        self._waiting: dict[K, T] = {}
        self._turns: dict[K, int] = {}
        """Camera to the number of the turn in which it was served last."""
        self._served_at: dict[K, float] = {}
        self._closed = False
        self.received = 0
        self.taken = 0
        self.dropped = 0

    def put(self, camera: K, item: T) -> bool:
        """Put a camera's newest item in; never blocks for longer than another `put` takes.

        Returns:
            Whether an older item of that camera was still waiting and is now dropped. Always False once closed.
        """
        with self._changed:
            if self._closed:
                return False
            overtaken = camera in self._waiting
            self._waiting[camera] = item
            self.received += 1
            self.dropped += overtaken
            self._changed.notify()
            return overtaken

    def take(self, timeout: float | None = None) -> list[tuple[K, T]]:
        """Wait for an item whose camera may be served, and take it out, with those that may go with it.

        Args:
            timeout: seconds to wait at most; None waits for ever.

        Returns:
            Cameras and their items, the camera that was served longest ago first; empty when the slot was closed or
            the time is over.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                interval = self._interval()
                due = {camera: self._served_at.get(camera, float("-inf")) + interval for camera in self._waiting}
                ready = sorted((c for c in due if due[c] <= now), key=lambda c: self._turns.get(c, -1))
                if ready:
                    return self._take_out(ready, now)
                if now >= deadline:
                    break
                pause = min([deadline, *due.values()]) - now
                self._changed.wait(None if pause == float("inf") else pause)
        return []

    def close(self) -> None:
        """Drop what waits and wake every `take`; the slot stays closed."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _take_out(self, ready: list[K], now: float) -> list[tuple[K, T]]:
        kind = self._alike(self._waiting[ready[0]])
        chosen = [camera for camera in ready if self._alike(self._waiting[camera]) == kind][: self._most]
        turn = self.taken
        for camera in chosen:
            self._turns[camera], self._served_at[camera] = turn, now
        self.taken += len(chosen)
        return [(camera, self._waiting.pop(camera)) for camera in chosen]
