"""What happened to the frames of one camera, and what a person should think of it."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["ERROR", "OK", "WARN", "FrameStatistics", "Limits", "Report"]

OK, WARN, ERROR = 0, 1, 2
"""Levels, as in `diagnostic_msgs/DiagnosticStatus`."""

_RATE_WINDOW = 5.0
"""Seconds over which rates, and rejections that still matter, are counted."""
_TIMED_FRAMES = 300
"""Newest frames over which stage times and ages are summarised."""


@dataclass(frozen=True)
class Limits:
    """When diagnostics stop being OK.

    Attributes:
        budget_ms: time of one frame that is still in budget; 0 = any.
        max_overruns: frames over budget in a row that make an error.
        input_timeout: seconds without a usable frame, or in one frame, that make an error.
    """

    budget_ms: float
    max_overruns: int
    input_timeout: float


@dataclass(frozen=True)
class Report:
    """One diagnostic status: level, one-line message, and key / value pairs."""

    level: int
    message: str
    values: tuple[tuple[str, str], ...]


class FrameStatistics:
    """Counts frames and times stages. Every method is safe from any thread and takes microseconds.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._received = self._processed = self._dropped = self._unwanted = self._lost = self._overwritten = 0
        self._rejected: Counter[str] = Counter()
        self._irregular: Counter[str] = Counter()
        self._arrivals: deque[float] = deque()
        self._completions: deque[float] = deque()
        self._complaints: deque[tuple[float, str]] = deque(maxlen=1000)
        self._last_complaint = ""
        self._stages: dict[str, deque[float]] = {}
        self._listeners = True
        self._overruns = 0
        self._failures = 0
        self._failures_in_a_row = 0
        self._last_failure = ""
        self._last_usable = clock()
        self._busy_since: float | None = None

    def restarted(self) -> None:
        """Begin waiting for the first frame, as after an activation."""
        with self._lock:
            self._last_usable = self._clock()
            self._busy_since = None
            self._overruns = self._failures_in_a_row = 0
            self._arrivals.clear()
            self._completions.clear()

    def received(self) -> None:
        """Count one message from the camera, whatever it holds."""
        with self._lock:
            self._received += 1
            now = self._clock()
            self._arrivals.append(now)
            _forget(self._arrivals, now)

    def accepted(self, seconds: float) -> None:
        """Count the message as usable.

        Args:
            seconds: that checking it and handing it over took.
        """
        with self._lock:
            self._last_usable = self._clock()
            self._time("hand_over", seconds)

    def rejected(self, reason: str, detail: str) -> None:
        """Count one unusable message under a reason."""
        with self._lock:
            self._rejected[reason] += 1
            self._complaints.append((self._clock(), reason))
            self._last_complaint = detail

    def irregular(self, reason: str) -> None:
        """Count one frame that is used although something about it is odd."""
        with self._lock:
            self._irregular[reason] += 1
            self._complaints.append((self._clock(), reason))
            if reason == "stamp_back":  # ages before a time jump say nothing about those after it
                for stage in ("age_at_input", "age_at_publish"):
                    self._stages.pop(stage, None)

    def dropped(self) -> None:
        """Count one frame that a newer one overtook."""
        with self._lock:
            self._dropped += 1

    def lost(self, frames: int) -> None:
        """Count frames that the middleware says it lost."""
        with self._lock:
            self._lost += frames
            self._complaints.extend([(self._clock(), "lost_in_transport")] * min(frames, 100))

    def overwritten(self, frames: int) -> None:
        """Count frames that a newer one replaced in the middleware, before the node saw them; lost ones among them."""
        with self._lock:
            self._overwritten += frames

    def unwanted(self) -> None:
        """Count one frame for which nobody subscribed to anything."""
        with self._lock:
            self._unwanted += 1
            self._listeners = False
            self._busy_since = None

    def started(self) -> None:
        """Note that work on one frame begins."""
        with self._lock:
            self._busy_since = self._clock()
            self._listeners = True

    def abandoned(self) -> None:
        """Note that work on one frame ended without a result to count."""
        with self._lock:
            self._busy_since = None

    def processed(self, seconds: Mapping[str, float], total: float, budget_ms: float) -> None:
        """Count one published frame.

        Args:
            seconds: durations by stage, and ages.
            total: seconds from decoding to publishing.
            budget_ms: what that may take; 0 = anything.
        """
        with self._lock:
            now = self._clock()
            self._processed += 1
            self._busy_since = None
            self._failures_in_a_row = 0
            self._overruns = self._overruns + 1 if budget_ms and total * 1e3 > budget_ms else 0
            self._completions.append(now)
            _forget(self._completions, now)
            for stage, duration in (*seconds.items(), ("total", total)):
                self._time(stage, duration)

    def failed(self, text: str) -> int:
        """Count one frame whose computation raised.

        Args:
            text: the error in one line.

        Returns:
            Failures in a row, this one included.
        """
        with self._lock:
            self._busy_since = None
            self._failures += 1
            self._failures_in_a_row += 1
            self._last_failure = text
            return self._failures_in_a_row

    def report(self, limits: Limits) -> Report:
        """Judge the last seconds and list every figure."""
        with self._lock:
            now = self._clock()
            for times in (self._arrivals, self._completions):
                _forget(times, now)
            level, message = self._judge(limits, now)
            values = [
                ("input_rate_hz", f"{_rate(self._arrivals, now):.1f}"),
                ("output_rate_hz", f"{_rate(self._completions, now):.1f}"),
                ("received", str(self._received)),
                ("processed", str(self._processed)),
                ("dropped", str(self._dropped)),
                ("unwanted", str(self._unwanted)),
                ("rejected", str(self._rejected.total())),
                *((f"rejected.{reason}", str(count)) for reason, count in sorted(self._rejected.items())),
                *((f"irregular.{reason}", str(count)) for reason, count in sorted(self._irregular.items())),
                ("last_rejection", self._last_complaint),
                ("lost_in_transport", str(self._lost)),
                ("overwritten_before_callback", str(max(0, self._overwritten - self._lost))),
                ("inference_failures", str(self._failures)),
                ("last_failure", self._last_failure),
                ("consecutive_overruns", str(self._overruns)),
            ]
            stages = {stage: tuple(durations) for stage, durations in self._stages.items()}
        # Sorting takes a millisecond, for which no camera callback shall wait.
        values += [pair for stage, durations in stages.items() for pair in _summary(stage, durations)]
        return Report(level, message, tuple(values))

    def _time(self, stage: str, seconds: float) -> None:
        self._stages.setdefault(stage, deque(maxlen=_TIMED_FRAMES)).append(seconds)

    def _judge(self, limits: Limits, now: float) -> tuple[int, str]:
        recent = Counter(reason for at, reason in self._complaints if now - at <= _RATE_WINDOW)
        complaint = ", ".join(f"{reason} {count}" for reason, count in sorted(recent.items()))
        busy = now - self._busy_since if self._busy_since is not None else 0.0
        waited = now - self._last_usable
        if self._failures_in_a_row:
            return ERROR, f"inference failed {self._failures_in_a_row} times in a row: {self._last_failure}"
        if busy > limits.input_timeout:
            return ERROR, f"one frame has been in work for {busy:.1f} s"
        if waited > limits.input_timeout:
            return ERROR, f"no usable frame for {waited:.1f} s" + (f" ({complaint})" if complaint else "")
        if self._overruns >= limits.max_overruns:
            return ERROR, f"{self._overruns} frames in a row over the budget of {limits.budget_ms:g} ms"
        if self._overruns:
            return WARN, f"frames take longer than the budget of {limits.budget_ms:g} ms ({self._overruns} in a row)"
        if complaint:
            return WARN, f"odd frames in the last {_RATE_WINDOW:g} s: {complaint}"
        if not self._listeners:
            return OK, f"{_rate(self._arrivals, now):.1f} Hz in, nobody subscribes to an output"
        return OK, f"{_rate(self._arrivals, now):.1f} Hz in, {_rate(self._completions, now):.1f} Hz out"


def _forget(times: deque[float], now: float) -> None:
    while times and now - times[0] > _RATE_WINDOW:
        times.popleft()


def _rate(times: deque[float], now: float) -> float:
    """Events a second; over the time since the first one until the window is full."""
    if len(times) < 2:
        return len(times) / _RATE_WINDOW
    return (len(times) - 1) / max(times[-1] - times[0], 1e-9) if now - times[-1] < 1.0 else len(times) / _RATE_WINDOW


def _summary(stage: str, durations: Sequence[float]) -> list[tuple[str, str]]:
    wanted = (50, 90, 99)
    figures = np.percentile(durations, wanted) * 1e3
    return [(f"{stage}_ms_p{p}", f"{figure:.2f}") for p, figure in zip(wanted, figures, strict=True)]
