"""Inferences that failed: told in the log, counted, and judged: can this process go on?"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

from densemtl_ros.camera import Camera
from densemtl_ros.error_text import one_line

__all__ = ["EngineFailures"]


class EngineFailures:
    """Counts failures in a row of all cameras together: one whose every frame fails must not end the others.

    Args:
        logger: of the node.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._in_a_row = 0

    def over(self) -> None:
        """Note that the engine works, or is begun with anew."""
        self._in_a_row = 0

    def add(self, cameras: Sequence[Camera], error: Exception, limit: int) -> str:
        """Count one failure against its cameras; to be called where the exception is handled.

        Args:
            cameras: whose frames were lost.
            error: the exception.
            limit: so many in a row are the end.

        Returns:
            Why the process cannot go on; empty while it can.
        """
        text = one_line(error)
        for camera in cameras:
            camera.statistics.failed(text)
        self._in_a_row += 1
        named = ", ".join(camera.name for camera in cameras if camera.name)
        of = f" ({named})" if named else ""
        # The traceback of the first failure in a row; then one line each, at most one every five seconds.
        if self._in_a_row == 1:
            self._logger.error(f"inference failed{of}: {traceback.format_exc()}")
        else:
            told = f"inference failed {self._in_a_row} times in a row{of}: {text}"
            self._logger.error(told, throttle_duration_sec=5.0)
        if self._in_a_row >= limit or _is_device_fault(error):
            return f"inference failed {self._in_a_row} times in a row (max_inference_failures {limit}): {text}"
        return ""


def _is_device_fault(error: BaseException) -> bool:
    """Whether the device is broken for this process; running out of memory is not that."""
    return type(error).__name__ == "AcceleratorError" or str(error).startswith("CUDA error")
