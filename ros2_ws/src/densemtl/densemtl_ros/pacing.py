"""When the next frame of a recording is due: as it was recorded, pass after pass, or at a rate."""

from __future__ import annotations

__all__ = ["Pacing"]

_LATE = 0.1
"""Seconds behind from which the lost time is given up: catching up would be a burst of frames."""


class Pacing:
    """Tells how long to wait for each frame.

    Args:
        rate: frames a second; 0 = as recorded.
        usual_rate: of the recording: the time between the last frame of a pass and the first of the next.
    """

    def __init__(self, rate: float, usual_rate: float) -> None:
        self._interval = 1.0 / rate if rate > 0 else 0.0
        self._gap = 1.0 / usual_rate
        self._shown: float | None = None
        self._pass_began = 0.0
        self._due = 0.0

    def wait(self, seconds: float, now: float) -> float:
        """Seconds from now until a frame is due, 0 if it is; asked again for the same frame, the rest.

        Args:
            seconds: of the frame, since the first of its pass.
            now: on a clock that only goes forwards.
        """
        return max(0.0, self._when(seconds, now) - now)

    def shown(self, seconds: float, now: float) -> None:
        """Say that the frame was shown now."""
        due = self._when(seconds, now)
        late = now - due
        self._due = now if late > _LATE else due
        self._pass_began = self._due - seconds
        self._shown = seconds

    def _when(self, seconds: float, now: float) -> float:
        if self._shown is None:
            return now
        if self._interval:
            return self._due + self._interval
        if seconds < self._shown or not seconds:  # the next pass
            return self._due + self._gap
        return self._pass_began + seconds
