"""Frames decoded ahead of their turn, in a thread, so that a slow disk or decoder does not hold up playing."""

from __future__ import annotations

import queue
import threading
from typing import Any

from densemtl_core.errors import InputError
from densemtl_ros.bag_topic import BagTopic
from densemtl_ros.frame_sources import FrameSource

__all__ = ["ReadAhead"]


class ReadAhead:
    """Reads a source in a thread of its own, at most ``depth`` frames ahead.

    Args:
        source: what to read.
        loop: start again after the last frame.
        depth: frames kept ready.

    Attributes:
        error: what ended the reading early, or None.
        skipped: names of files that could not be decoded so far.
    """

    def __init__(self, source: FrameSource | BagTopic, loop: bool = False, depth: int = 8) -> None:
        self.error: Exception | None = None
        self.skipped: set[str] = set()
        self._source = source
        self._loop = loop
        self._frames: queue.Queue[Any] = queue.Queue(depth)
        self._ready = threading.Event()
        self._read_all = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether playing may begin: what must be made beforehand is made."""
        return self._ready.is_set()

    @property
    def finished(self) -> bool:
        """Whether the last frame has been taken, or reading failed."""
        return self._read_all.is_set() and self._frames.empty()

    def take(self) -> Any:
        """Take the source's next item without waiting; None when it is not decoded yet, or there is none."""
        try:
            return self._frames.get_nowait()
        except queue.Empty:
            return None

    def stop(self, timeout: float = 10.0) -> None:
        """End the thread; waits for the frame being read at most ``timeout`` seconds."""
        self._stopping.set()
        if self._source.looks_ahead:
            self._source.cancel()
        while self.take() is not None:
            pass
        self._thread.join(timeout)

    def _read(self) -> None:
        try:
            self._source.prepare()
            self._ready.set()
            while not self._stopping.is_set() and self._read_pass() and self._loop:
                pass
        except Exception as error:
            self.error = error
        finally:
            self._ready.set()
            self._read_all.set()

    def _read_pass(self) -> bool:
        """Read the source once; False when stopped."""
        any_frame = False
        for frame in self._source:
            any_frame = True
            self.skipped.update(self._source.skipped)
            while not self._stopping.is_set():
                try:
                    self._frames.put(frame, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if self._stopping.is_set():
                return False
        self.skipped.update(self._source.skipped)
        if not any_frame:
            # Without this a loop over files that were deleted meanwhile would spin for ever.
            raise InputError(f"{self._source.title}: no frame can be read any more; were the files removed?")
        return True
