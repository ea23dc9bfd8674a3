"""Pairs messages of several topics by their stamp, as message_filters' exact-time policy does."""

from __future__ import annotations

from typing import Any


class ExactTime:
    """Collects messages until a stamp has one of every topic.

    Args:
        *topics: names.
        queue_size: stamps that wait at most; the oldest is given up, as message_filters does.

    Attributes:
        sets: complete sets, message by topic, in the order of completion.
        given_up: stamps in nanoseconds that a later complete set or a full queue overtook.
    """

    def __init__(self, *topics: str, queue_size: int = 10) -> None:
        self.sets: list[dict[str, Any]] = []
        self.given_up: list[int] = []
        self._topics = frozenset(topics)
        self._queue_size = queue_size
        self._waiting: dict[int, dict[str, Any]] = {}

    def add(self, topic: str, message: Any) -> None:
        """Take a message of one topic."""
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        self._waiting.setdefault(stamp, {})[topic] = message
        if self._waiting[stamp].keys() == self._topics:
            self.sets.append(self._waiting.pop(stamp))
            self._give_up([other for other in self._waiting if other < stamp])
        elif len(self._waiting) > self._queue_size:
            self._give_up([min(self._waiting)])

    def _give_up(self, stamps: list[int]) -> None:
        for stamp in stamps:
            del self._waiting[stamp]
        self.given_up += stamps

    @property
    def waiting(self) -> list[int]:
        """Stamps in nanoseconds that have messages of some topics only."""
        return sorted(self._waiting)
