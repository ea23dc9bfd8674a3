"""Surface normals: which way each pixel's surface faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from densemtl_core.metrics import Metric, NormalError
from densemtl_core.tasks.base import Output, Task, masked_mean

__all__ = ["NormalsTask"]


@dataclass(frozen=True)
class NormalsTask(Task):
    """Unit normals in the optical frame (x right, y down, z forward), facing the camera.

    Attributes:
        surface: name of a depth output; where it says +inf there is no surface, and the normal is NaN.
        paper_compatible: divide the loss by the number of all pixels, as the released code does for NYUDv2's normals,
            instead of the known ones. Partly labelled frames then count for less.
    """

    kind: ClassVar[str] = "normals"
    picture: ClassVar[str] = "normals"

    name: str = "normals"
    surface: str = "depth"
    paper_compatible: bool = False

    @property
    def channels(self) -> int:
        """x, y, z, of any length."""
        return 3

    def outputs(self) -> tuple[Output, ...]:
        """Unit vectors."""
        return (Output(self.name, 3, "float32", "unit vector, optical frame, facing the camera"),)

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """Vectors of length one."""
        # normalize() takes the norm along a strided axis, which is ten times slower on a CPU than this sum
        length = raw.square().sum(dim=1, keepdim=True).clamp(min=1e-12).sqrt()
        return {self.name: raw / length}

    def needs(self) -> tuple[str, ...]:
        """The depth task."""
        return (self.surface,)

    def refine(self, decoded: dict[str, Tensor]) -> None:
        """Where depth sees no surface there is no normal."""
        if self.surface in decoded:
            beyond = decoded[self.surface].isinf().unsqueeze(1)
            decoded[self.name] = decoded[self.name].masked_fill(beyond, torch.nan)

    def loss(self, raw: Tensor, label: Tensor) -> Tensor:
        """One minus the cosine, averaged over pixels whose normal is known (`paper_compatible`: over all)."""
        raw = self.resize(raw, label.shape[-2:])
        known = ~label.isnan().any(dim=1)
        # Written out for the same reason as in `decode`; labels are of length one.
        length = raw.square().sum(dim=1).clamp(min=1e-12).sqrt()
        cosine = (raw * label.nan_to_num()).sum(dim=1) / length
        loss = masked_mean(1.0 - cosine, known)
        return loss * known.to(loss.dtype).mean() if self.paper_compatible else loss

    def metric(self) -> Metric:
        """Mean angular error."""
        return NormalError()
