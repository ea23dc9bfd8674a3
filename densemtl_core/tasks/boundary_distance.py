"""Boundary distance: how far each pixel is from where an object or a surface ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from densemtl_core.tasks.base import Output
from densemtl_core.tasks.regression import RegressionTask

__all__ = ["BoundaryDistanceTask"]

FARTHEST = 0.1
"""Labels are cut off here, a share of the diagonal: `densemtl_core.data` cuts them, and tasks may not import it."""


@dataclass(frozen=True)
class BoundaryDistanceTask(RegressionTask):
    """Distance to the nearest boundary as a share of the image diagonal, so that it does not depend on the resolution.

    Attributes:
        limit: distances are cut off here, in the loss and in the metric, so that errors compare only between tasks of
            one limit. At most 0.1, where labels are cut off: beyond, 0.1 would pass for the distance of all that is
            farther.
    """

    kind: ClassVar[str] = "boundary_distance"
    picture: ClassVar[str] = "scalar"

    name: str = "boundary_distance"
    limit: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.limit <= FARTHEST:
            raise ValueError(
                f"task {self.name!r}: limit is {self.limit}; it is a share of the diagonal, above 0 and at most "
                f"{FARTHEST}, where labels are cut off"
            )

    def outputs(self) -> tuple[Output, ...]:
        """A share of the diagonal."""
        return (Output(self.name, 1, "float32", "image diagonals", "linear"),)

    def encode(self, label: Tensor) -> Tensor:
        """Share of the limit, in [0, 1]."""
        return label.clamp(0, self.limit) / self.limit

    def value(self, raw: Tensor) -> Tensor:
        """Diagonals, at most the limit."""
        return raw.clamp(0, 1) * self.limit

    def picture_options(self) -> dict[str, Any]:
        """From a boundary to the limit."""
        return {"low": 0.0, "high": self.limit}
