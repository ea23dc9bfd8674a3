"""What tasks say of the same unlabelled frame must agree: geometry and outlines as a teacher that needs no labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from densemtl_core.data.derived_labels import EdgeRule, edges_from_labels
from densemtl_core.errors import InputError
from densemtl_core.geometry import intrinsics_matrix, normals_from_depth
from densemtl_core.learning.adaptation import AdaptationStep, AdaptationTerm
from densemtl_core.tasks import DepthTask, EdgesTask, NormalsTask, SemanticTask, masked_mean

__all__ = ["EdgeAgreement", "NormalAgreement", "class_change_outside_edges"]


class NormalAgreement(AdaptationTerm):
    """The normals of the predicted depth against the predicted normals: ``1 - cosine``, both learn.

    Where the predicted depth has a step, and beyond a distance, depth has no normal to tell.

    Args:
        depth: the depth task, metric.
        normals: the normals task.
        weight: of the term.
        field_of_view: horizontal, degrees; taken where the target's camera is unknown.
        within: metres.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self, depth: DepthTask, normals: NormalsTask, weight: float, field_of_view: float = 60.0, within: float = 30.0
    ) -> None:
        super().__init__()
        if weight < 0 or not 10 <= field_of_view <= 150 or within <= 0:
            raise InputError(
                f"agreement of depth and normals: weight {weight} must be >= 0, field_of_view {field_of_view} in "
                f"10..150 degrees, within {within} above 0 metres"
            )
        self.depth, self.normals, self.weight, self.within = depth, normals, weight, within
        self.field_of_view = field_of_view

    def forward(self, step: AdaptationStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Score a step; ``agreement_normals`` is the mean of ``1 - cosine``."""
        size = (step.target.image.shape[-2], step.target.image.shape[-1])
        raw_depth, raw_normals = (
            task.resize(step.target_outputs[task.name][0], size) for task in (self.depth, self.normals)
        )
        # A depth of zero has no normal, and its gradient would be NaN; a camera sees nothing nearer than a centimetre.
        K = self._intrinsics(step)
        metres = self.depth.metres_through(raw_depth, K).clamp(min=0.01)
        implied = normals_from_depth(metres, K)
        with torch.no_grad():
            rule = EdgeRule(classes=False)
            steps = torch.stack([edges_from_labels(None, z, rule) for z in metres])
            # Central differences reach one pixel to each side.
            smooth = F.max_pool2d(steps, 3, stride=1, padding=1) == 0
            known = (smooth & (metres < self.within))[:, 0] & implied.isfinite().all(dim=1)
        said = self.normals.decode(raw_normals)[self.normals.name]
        cosine = (torch.where(known[:, None], implied, said.detach()) * said).sum(dim=1)
        loss = masked_mean(1 - cosine, known)
        return self.weight * loss, {"agreement_normals": loss.detach()}

    def _intrinsics(self, step: AdaptationStep) -> Tensor:
        image = step.target.image
        if step.target.intrinsics is not None:
            return step.target.intrinsics.to(image.device).float()
        height, width = image.shape[-2:]
        focal = width / 2 / math.tan(math.radians(self.field_of_view) / 2)
        K = intrinsics_matrix(focal, focal, (width - 1) / 2, (height - 1) / 2)
        return K.to(image.device).expand(len(image), 3, 3)


class EdgeAgreement(AdaptationTerm):
    """Edges where the predicted classes change and the predicted depth steps; and no change of class elsewhere.

    Args:
        edges: the edges task.
        semantic: the task of classes, if there is one.
        depth: the depth task, if there is one.
        weight: of the term.

    Raises:
        InputError: neither classes nor depth, or a negative weight.
    """

    def __init__(self, edges: EdgesTask, semantic: SemanticTask | None, depth: DepthTask | None, weight: float) -> None:
        super().__init__()
        if weight < 0 or (semantic is None and depth is None):
            raise InputError(
                f"agreement of edges: weight {weight} must be >= 0, and there must be a semantic or a depth task"
            )
        self.edges, self.semantic, self.depth, self.weight = edges, semantic, depth, weight
        self.rule = EdgeRule(classes=semantic is not None, depth_step=None if depth is None else 0.08)

    def forward(self, step: AdaptationStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Score a step; ``agreement_edges`` is the edges' loss against what classes and depth imply."""
        outputs = step.target_outputs
        size = (step.target.image.shape[-2], step.target.image.shape[-1])
        raw = self.edges.resize(outputs[self.edges.name][0], size)
        logits = None if self.semantic is None else self.semantic.resize(outputs[self.semantic.name][0], size)
        with torch.no_grad():
            ids = None if logits is None else logits.argmax(dim=1)
            metres = None
            if self.depth is not None:
                metres = self.depth.metres(self.depth.resize(outputs[self.depth.name][0], size))
            implied = torch.stack(
                [
                    edges_from_labels(None if ids is None else ids[i], None if metres is None else metres[i], self.rule)
                    for i in range(len(raw))
                ]
            )
        loss = self.edges.loss(raw, implied)
        figures = {"agreement_edges": loss.detach()}
        if logits is not None:
            probability = self.edges.decode(raw)[self.edges.name][:, None].detach()
            change = class_change_outside_edges(logits.softmax(dim=1), probability)
            loss = loss + change
            figures["class_change_outside_edges"] = change.detach()
        return self.weight * loss, figures


def class_change_outside_edges(classes: Tensor, edges: Tensor) -> Tensor:
    """How much class probabilities change between neighbours that no edge parts.

    The mean over neighbours i, j of ``(1 - max(e_i, e_j)) |p_i - p_j|_1 / 2``, across and down.

    Args:
        classes: ``(B, C, H, W)`` probabilities.
        edges: ``(B, 1, H, W)`` probabilities.
    """
    total = classes.new_zeros(())
    for axis in (-1, -2):
        length = classes.shape[axis]
        first, second = (edges.narrow(axis, k, length - 1) for k in (0, 1))
        change = classes.diff(dim=axis).abs().sum(dim=1, keepdim=True) / 2
        total = total + ((1 - torch.maximum(first, second)) * change).mean()
    return total / 2
