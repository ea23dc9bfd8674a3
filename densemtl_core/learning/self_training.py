"""Self-training: the network learns from what the average of its own past says of real frames.

A mean teacher (Tarvainen and Valpola, 2017) labels target frames as they are; the student sees them with objects of
the source pasted in and other colours (Tranheden et al., 2021), and learns what the teacher said, as far as the
teacher is to be believed. Every task takes part that can say its predictions as a label: classes and edges by the
teacher's confidence, depth and normals by how well the teacher agrees with itself on the mirrored frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from kornia.augmentation import AugmentationSequential, ColorJitter, RandomGaussianBlur
from torch import Tensor

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.learning.adaptation import AdaptationStep, AdaptationTerm, predict
from densemtl_core.learning.class_mix import class_mask, paste
from densemtl_core.learning.task_weights import FixedWeights
from densemtl_core.tasks import SemanticTask, Task

__all__ = ["SelfTraining"]


class SelfTraining(AdaptationTerm):
    """Confidence-weighted pseudo-labels for all tasks at once, on mixed pictures.

    Args:
        tasks: that learn this way.
        weights: task name to the weight of its loss, 1 where not named; as for the supervised losses.
        weight: of the whole term.
        threshold: confidence below which a pixel does not count; from there to 1 its weight rises linearly.
        mix: paste half of the source's classes into the target's pictures; needs a task of classes.
        mirror: the teacher also sees the mirrored picture. Without it, depth and normals are believed wholly.
        colour: strength of the student's other colours, 0..1; 0 = none, and no blur.

    Raises:
        InputError: an argument is out of range, or a task has no pseudo-labels.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        weights: Mapping[str, float] | None = None,
        weight: float = 1.0,
        threshold: float = 0.5,
        mix: bool = True,
        mirror: bool = True,
        colour: float = 0.3,
    ) -> None:
        super().__init__()
        if weight < 0 or not 0 <= threshold < 1 or not 0 <= colour <= 1:
            raise InputError(
                f"self-training: weight {weight} must be >= 0, threshold {threshold} in [0, 1), colour {colour} in "
                "[0, 1]"
            )
        for task in tasks:
            if type(task).pseudo_label is Task.pseudo_label:
                task.pseudo_label([])  # refuses
        classes = [task.name for task in tasks if isinstance(task, SemanticTask)]
        if mix and not classes:
            raise InputError("self-training: mix needs a semantic task, by whose classes it cuts; set mix: false")
        self.tasks, self.weight, self.threshold = tuple(tasks), weight, threshold
        self.classes = classes[0] if mix else None
        self.mirror = mirror
        self.weigh = FixedWeights(tasks, weights)
        self.recolour = (
            AugmentationSequential(
                ColorJitter(colour, colour, colour, 0.2 * colour, p=0.8),
                RandomGaussianBlur((5, 5), (0.2, 1.2), p=0.5),
            )
            if colour
            else None
        )

    def forward(self, step: AdaptationStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Score a step.

        Returns:
            The term; ``student_<task>``, its losses without weights, and ``believed``, the mean weight of a target
            pixel over all tasks.

        Raises:
            InputError: no teacher, or the batches differ in size.
        """
        labels, weights = self.pseudo_labels(step)
        believed = torch.stack([w.mean() for w in weights.values()]).mean()
        image, source = step.target.image, step.source
        if self.classes is not None:
            image, labels, weights = self._mixed(source, step.target, labels, weights)
        if self.recolour is not None:
            with torch.no_grad():
                image = self.recolour(image).clamp(0, 1)
        outputs = step.outputs(image)
        losses: dict[str, Tensor] = {}
        for task in self.tasks:
            scales = outputs[task.name]
            each = [task.loss(raw, labels[task.name], weights[task.name]) for raw in scales]
            losses[task.name] = torch.stack(each).mean()
        figures = {f"student_{name}": loss.detach() for name, loss in losses.items()}
        return self.weight * self.weigh(losses), {**figures, "believed": believed}

    @torch.no_grad()
    def pseudo_labels(self, step: AdaptationStep) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The teacher's labels of the target's images, and the weight of each pixel ``(B, 1, H, W)``, by task."""
        if step.teacher is None:
            raise InputError("self-training needs a teacher, the average of the weights; set run.average to 0.99")
        image = step.target.image
        size = (image.shape[-2], image.shape[-1])
        views = [predict(step.teacher, image, step.autocast)]
        if self.mirror:
            views.append(predict(step.teacher, image.flip(-1), step.autocast))
        labels, weights = {}, {}
        for task in self.tasks:
            upright, *mirrored = [view[task.name][0] for view in views]
            raws = [task.resize(raw, size) for raw in (upright, *(task.mirrored(raw) for raw in mirrored))]
            labels[task.name], confidence = task.pseudo_label(raws)
            weights[task.name] = ((confidence - self.threshold) / (1 - self.threshold)).clamp(0, 1)
        return labels, weights

    def _mixed(
        self, source: Sample, target: Sample, labels: Mapping[str, Tensor], weights: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        assert self.classes is not None  # noqa: S101  (narrows the type)
        if source.image.shape != target.image.shape:
            raise InputError(
                f"self-training mixes source and target, but their batches are {tuple(source.image.shape)} and "
                f"{tuple(target.image.shape)}; give both the same size, crop and batch, or set mix: false"
            )
        if self.classes not in source.labels:
            raise InputError(f"self-training mixes by {self.classes}, which {source.name or 'the source'} lacks")
        mask = class_mask(source.labels[self.classes])
        image = paste(mask, source.image, target.image)
        mixed, doubts = {}, {}
        for task in self.tasks:
            pseudo, weight = labels[task.name], weights[task.name]
            exact = source.labels.get(task.name)
            if exact is None:  # what was pasted in is unknown to this task
                mixed[task.name], doubts[task.name] = pseudo, weight.masked_fill(mask, 0)
            else:
                exact = task.through_camera(exact, source.intrinsics)
                mixed[task.name] = paste(mask, exact.to(pseudo.dtype), pseudo)
                doubts[task.name] = weight.masked_fill(mask, 1)
        return image, mixed, doubts
