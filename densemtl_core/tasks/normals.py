"""Surface normals: which way each pixel's surface faces."""

from __future__ import annotations

from collections.abc import Sequence
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

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """One minus the cosine, averaged over pixels whose normal is known (`paper_compatible`: over all)."""
        raw = self.resize(raw, label.shape[-2:])
        known = ~label.isnan().any(dim=1)
        # Written out for the same reason as in `decode`; labels are of length one.
        length = raw.square().sum(dim=1).clamp(min=1e-12).sqrt()
        cosine = (raw * label.nan_to_num()).sum(dim=1) / length
        loss = masked_mean(1.0 - cosine, known, None if weight is None else weight[:, 0])
        return loss * known.to(loss.dtype).mean() if self.paper_compatible else loss

    def alignment_map(self, raw: Tensor, reference: Tensor) -> Tensor:
        """Unit vectors."""
        return self.decode(raw)[self.name]

    def mirrored(self, raw: Tensor) -> Tensor:
        """Left and right change places, in the picture and in the vectors."""
        return raw.flip(-1) * raw.new_tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)

    def pseudo_label(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The mean direction, believed as far as the views agree: by the length of the mean of their unit vectors."""
        mean = torch.stack([self.decode(raw)[self.name] for raw in views]).mean(0)
        length = mean.square().sum(dim=1, keepdim=True).clamp(min=1e-12).sqrt()
        # Of two views with an angle a between them the mean is cos(a / 2) long; this is then cos(a).
        return mean / length, (2 * length.square() - 1).clamp(0, 1)

    def metric(self) -> Metric:
        """Mean angular error."""
        return NormalError()
