"""The node's diagnostics over the last minutes, as points to plot."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

__all__ = ["HISTORY", "NodeHealth"]

HISTORY = 300
"""Points that are kept; the node speaks once a second."""
_COUNTS = ("dropped", "lost_in_transport", "rejected")
_FIGURES = ("total_ms_p50", "total_ms_p99", "age_at_publish_ms_p50", "input_rate_hz", "output_rate_hz")
_MOST_VALUES = 200


class NodeHealth:
    """What one perception node says of itself.

    Attributes:
        number: how many statuses were heard.
        heard: when the last one was, on the caller's clock; None before the first.
    """

    def __init__(self) -> None:
        self.number = 0
        self.heard: float | None = None
        self._level, self._message = 0, ""
        self._values: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._points: deque[dict[str, Any]] = deque(maxlen=HISTORY)

    def add(self, level: int, message: str, values: Mapping[str, str], now: float) -> None:
        """Take one status; values that are no numbers leave a gap in the plots.

        Args:
            level: as in `diagnostic_msgs/DiagnosticStatus`.
            message: in one line.
            values: its key / value pairs.
            now: seconds.
        """
        self.number += 1
        self.heard = now
        self._level, self._message = level, message[:500]
        self._values = {str(k)[:80]: str(v)[:500] for k, v in list(values.items())[:_MOST_VALUES]}
        point: dict[str, Any] = {"n": self.number}
        point |= {name: _number(values.get(name)) for name in _FIGURES}
        for name in _COUNTS:
            figure = _number(values.get(name))
            count = None if figure is None else int(figure)
            before = self._counts.get(name)
            if count is None or before is None:
                point[name] = None  # the first count says nothing about the last second
            else:
                # A smaller count is that of a node that was started again.
                point[name] = count - before if count >= before else count
            if count is not None:
                self._counts[name] = count
        self._points.append(point)

    def newest(self, now: float) -> dict[str, Any]:
        """The last status: ``level``, ``message``, ``values`` and its ``age`` in seconds (None before the first)."""
        age = None if self.heard is None else round(max(0.0, now - self.heard), 2)
        return {"level": self._level, "message": self._message, "values": self._values, "age": age}

    def points_after(self, number: int) -> list[dict[str, Any]]:
        """Points that came after the one numbered so, oldest first."""
        return [point for point in list(self._points) if point["n"] > number]


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
