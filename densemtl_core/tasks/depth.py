"""Metric depth: how far each pixel is along the optical axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from densemtl_core.errors import InputError
from densemtl_core.metrics import DepthError, Metric
from densemtl_core.tasks.base import Output, Task, masked_mean

__all__ = ["DepthTask", "berhu", "silog"]

UINT16_RANGE = 65536.0
FARTHEST_STORED = 655.35
"""Metres of the largest depth that the paper's 16-bit centimetre files can hold: their sky."""
NEAREST_ENCODED = 0.01
"""Metres; whatever is nearer is taken to be there."""
NEAREST_SEEN, FARTHEST_SEEN = 0.1, 100.0
"""The depths between which the published sigmoid disparity runs, in metres, or in its own unit up to scale."""


@dataclass(frozen=True)
class DepthTask(Task):
    """Depth in metres.

    The network regresses an encoding of depth rather than metres:

    * ``inverse``: ``d' = 65536 / (100 z + 1)``, the paper's normalised inverse depth (10 m is 65.5, 80 m is 8.2);
    * ``log``: ``ln(z / 10)``, of order one over the whole range, which small networks learn faster;
    * ``disparity``: ``1/z = 1/100 + (1/0.1 - 1/100) sigmoid(raw)``, as published for self-supervised depth.

    Attributes:
        encoding: ``inverse`` (published), ``log`` or ``disparity``.
        criterion: ``berhu`` on the encoded value (published), ``l1`` on metres, or ``silog``, scale-invariant
            logarithmic.
        max_depth: metres beyond which the prediction says "no surface in range" (+inf) and beyond which l1 is blind.
        up_to_scale: the depth has a unit of its own, as when it was learned from video alone. Then nothing is cut at
            ``max_depth``, and the metric scales each image to the label's median first and says so in its names.
        paper_compatible: divide the berHu loss by the number of all pixels, as the released code does, instead of the
            known ones. Partly labelled frames then count for less.
        canonical_focal: 0: the network guesses how a camera's focal length shrinks what is far. Else, in pixels, the
            focal length of one camera through which it sees the world (Yin et al., Metric3D, ICCV 2023): labels are
            multiplied by ``canonical_focal / f_x`` for training and predictions by its inverse, so that a camera of
            known intrinsics has metres whatever its lens. Choose that of the widest camera, at the size at which the
            network works: what is beyond ``max_depth`` through that one is +inf for all.
        side_outputs: further heads on coarser maps of the decoder, for training alone (published for self-supervised
            depth: 2, with which depth is judged at four scales).
    """

    kind: ClassVar[str] = "depth"
    picture: ClassVar[str] = "depth"

    name: str = "depth"
    encoding: str = "inverse"
    criterion: str = "berhu"
    max_depth: float = 80.0
    up_to_scale: bool = False
    paper_compatible: bool = False
    side_outputs: int = 0
    canonical_focal: float = 0.0

    def __post_init__(self) -> None:
        for field, known in (("encoding", ("inverse", "log", "disparity")), ("criterion", ("berhu", "l1", "silog"))):
            if getattr(self, field) not in known:
                raise ValueError(f"task {self.name!r}: {field} is {getattr(self, field)!r}; known: {', '.join(known)}")
        if not 0 < self.max_depth < FARTHEST_STORED:
            raise ValueError(
                f"task {self.name!r}: max_depth is {self.max_depth} m; it must be in (0, {FARTHEST_STORED})"
            )
        if not 0 <= self.canonical_focal < math.inf:
            raise ValueError(f"task {self.name!r}: canonical_focal is {self.canonical_focal} pixels; it must be >= 0")
        if self.side_outputs < 0:
            raise ValueError(f"task {self.name!r}: side_outputs is {self.side_outputs}; it must be at least 0")

    @property
    def channels(self) -> int:
        """One encoded depth."""
        return 1

    def outputs(self) -> tuple[Output, ...]:
        """Depth along z."""
        unit = "unknown unit" if self.up_to_scale else "metres"
        return (Output(self.name, 1, "float32", f"{unit} along the optical axis"),)

    def encode(self, metres: Tensor) -> Tensor:
        """Metres to what the network regresses; +inf (sky) becomes the farthest value of the encoding."""
        if self.encoding == "log":
            return torch.log(metres.clamp(NEAREST_ENCODED, self._farthest) / 10.0)
        if self.encoding == "disparity":
            nearness = 1 / metres.clamp(NEAREST_SEEN, FARTHEST_SEEN)
            return torch.logit((nearness - 1 / FARTHEST_SEEN) / (1 / NEAREST_SEEN - 1 / FARTHEST_SEEN), eps=1e-6)
        return UINT16_RANGE / (100.0 * metres.clamp(0.0, self._farthest) + 1.0)

    def metres(self, raw: Tensor) -> Tensor:
        """Exact inverse of `encode`; a value past the farthest encoding gives the farthest depth."""
        if self.encoding == "log":
            return 10.0 * torch.exp(raw.clamp(max=math.log(self._farthest / 10.0)))
        if self.encoding == "disparity":
            return 1 / (1 / FARTHEST_SEEN + (1 / NEAREST_SEEN - 1 / FARTHEST_SEEN) * torch.sigmoid(raw))
        nearest, farthest = UINT16_RANGE, UINT16_RANGE / (100.0 * self._farthest + 1.0)
        return (UINT16_RANGE / raw.clamp(farthest, nearest) - 1.0) / 100.0

    def metres_through(self, raw: Tensor, intrinsics: Tensor | None) -> Tensor:
        """`metres` for a camera of these intrinsics, where that makes a difference (``canonical_focal``)."""
        metres = self.metres(raw)
        return metres * self._enlargement(intrinsics) if self.camera_rule() and intrinsics is not None else metres

    @property
    def _farthest(self) -> float:
        # On the logarithmic scale the paper's 655 m sky would pull at a whole unit; half as far again as the range
        # is enough to say "beyond".
        return FARTHEST_STORED if self.encoding == "inverse" else 1.5 * self.max_depth

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """Metres; +inf beyond ``max_depth`` (REP 117), unless the unit is unknown."""
        metres = self.metres(raw[:, 0])
        if self.up_to_scale:
            return {self.name: metres}
        return {self.name: torch.where(metres > self.max_depth, torch.inf, metres)}

    def camera_rule(self) -> dict[str, float]:
        """The canonical focal length, and the range."""
        if not self.canonical_focal or self.up_to_scale:
            return {}
        return {"focal": self.canonical_focal, "limit": self.max_depth}

    def through_camera(self, label: Tensor, intrinsics: Tensor | None) -> Tensor:
        """Metres as the canonical camera would have them.

        Raises:
            InputError: the camera is unknown.
        """
        if not self.camera_rule():
            return label
        if intrinsics is None:
            raise InputError(
                f"task {self.name!r}: canonical_focal needs the intrinsics of every camera with depth labels, and some"
                " are unknown; give them, or set canonical_focal to 0"
            )
        return label / self._enlargement(intrinsics)

    def for_camera(self, decoded: dict[str, Tensor], intrinsics: Tensor | None) -> None:
        """Metres for this camera; +inf beyond ``max_depth``."""
        if self.camera_rule() and intrinsics is not None:
            metres = decoded[self.name] * self._enlargement(intrinsics)[:, 0]
            decoded[self.name] = torch.where(metres > self.max_depth, torch.inf, metres)

    def _enlargement(self, intrinsics: Tensor) -> Tensor:
        """``(B, 1, 1, 1)``: so many times farther than through the canonical camera is what looks the same."""
        return (intrinsics[:, 0, 0] / self.canonical_focal).view(-1, 1, 1, 1)

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """The chosen criterion over pixels whose depth is known."""
        raw = self.resize(raw, label.shape[-2:])
        known = ~label.isnan()
        label = torch.where(known, label, torch.ones_like(label))  # keeps NaN out of the gradient
        if self.criterion == "berhu":
            loss = berhu(raw, self.encode(label), known, weight)
            return loss * known.to(loss.dtype).mean() if self.paper_compatible else loss
        known = known & (label <= self.max_depth)
        metres = self.metres(raw)
        if self.criterion == "silog":
            return silog(metres, label.clamp(max=self.max_depth), known, weight=weight)
        return masked_mean((metres - label.clamp(max=self.max_depth)).abs(), known, weight)

    def alignment_map(self, raw: Tensor, reference: Tensor) -> Tensor:
        """The encoded depth, of which the simulator's labels of this batch span 0 to 1.

        As released, the inverse encoding is cut at zero first, which no depth reaches.
        """
        known = self.encode(reference[~reference.isnan()])
        if not known.numel():
            return torch.zeros_like(raw)
        low, high = known.min(), known.max()
        raw = raw.relu() if self.encoding == "inverse" else raw
        return (raw - low) / (high - low).clamp(min=1e-6)

    def pseudo_label(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The mean of the encoded depths; believed as far as the views agree: the nearest over the farthest."""
        # Views that both say zero agree: a ratio of zeros would be NaN.
        metres = torch.stack([self.metres(raw) for raw in views]).clamp(min=NEAREST_ENCODED)
        return self.metres(torch.stack(list(views)).mean(0)), metres.amin(0) / metres.amax(0)

    def metric(self) -> Metric:
        """RMSE and its companions, within ``max_depth``; of images scaled to the median where scale is unknown."""
        return DepthError(max_depth=self.max_depth, median_scaling=self.up_to_scale)

    def picture_options(self) -> dict[str, Any]:
        """The far end of the colour scale."""
        return {"far": self.max_depth}


def berhu(prediction: Tensor, target: Tensor, known: Tensor, weight: Tensor | None = None) -> Tensor:
    """Reverse Huber loss: linear near zero, quadratic beyond a fifth of the batch's largest error.

    ``|e|`` if ``|e| <= c`` else ``(e^2 + c^2) / (2 c)`` with ``c = max|e| / 5``, a constant (Laina et al., 2016).

    Args:
        prediction: any shape.
        target: same shape.
        known: bool, same shape; other pixels have no influence.
        weight: same shape; of a pixel's share in the mean, not of c.
    """
    error = torch.where(known, (prediction - target).abs(), torch.zeros_like(prediction))
    c = (0.2 * error.max()).detach().clamp(min=1e-6)
    return masked_mean(torch.where(error <= c, error, (error.square() + c * c) / (2 * c)), known, weight)


def silog(
    prediction: Tensor, target: Tensor, known: Tensor, focus: float = 0.85, weight: Tensor | None = None
) -> Tensor:
    """Scale-invariant logarithmic loss of Eigen et al. (2014), in the square-root form of Lee et al. (2019).

    Args:
        prediction: metres, positive.
        target: metres, positive where known.
        known: bool, same shape; other pixels have no influence.
        focus: 1 forgives a common scale wholly, 0 not at all.
        weight: same shape, in [0, 1]; of a pixel's share in both means.
    """
    difference = torch.where(known, prediction.clamp(min=1e-3).log() - target.clamp(min=1e-3).log(), 0.0)
    mean = masked_mean(difference, known, weight)
    variance = masked_mean(difference.square(), known, weight) - focus * mean.square()
    # The root of zero has an infinite slope: a perfect or an empty batch would train on NaN.
    return 10.0 * (variance.clamp(min=0.0) + 1e-8).sqrt() if bool(known.any()) else prediction.sum() * 0.0
