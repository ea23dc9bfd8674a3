"""What the teacher says, how far it is believed, and what the student learns of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.learning.adaptation import AdaptationStep
from densemtl_core.learning.class_mix import class_mask
from densemtl_core.learning.self_training import SelfTraining
from densemtl_core.tasks import EdgesTask, make_tasks
from densemtl_core.tasks.base import Task

TASKS = make_tasks(["semantic", {"kind": "depth", "encoding": "log"}, "normals", "edges"], num_classes=3)
SEMANTIC, DEPTH, NORMALS, EDGES = TASKS
SIZE = (8, 12)


class ByColour(nn.Module):
    """Sees a mirrored image as the mirror of what it sees: by the pixel, and by differences for normals.

    Args:
        skew: adds a ramp to the depth, the same for every image: this breaks the symmetry by a known amount.
        lean: radians by which every normal leans to the right, whatever the image; None = by the image.
    """

    def __init__(self, skew: float = 0.0, lean: float | None = None) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.skew, self.lean = skew, lean
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        self.seen.append(image)
        red, green, blue = image.split(1, dim=1)
        padded = F.pad(red, (1, 1, 1, 1), mode="replicate")
        across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
        down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        normals = torch.cat([across, down, across * 0 - 1], dim=1)
        if self.lean is not None:
            lean = image.new_tensor([math.sin(self.lean), 0.0, -math.cos(self.lean)])
            normals = lean.view(1, 3, 1, 1).expand_as(image)
        ramp = self.skew * torch.arange(image.shape[-1]).float()
        outputs = {
            "semantic": 4 * image * self.scale,
            "depth": (green - 0.5 + ramp) * self.scale,
            "normals": normals * self.scale,
            "edges": torch.cat([blue * 0, 9 * blue - 2], dim=1) * self.scale,
        }
        return {name: [raw, F.avg_pool2d(raw, 2)] for name, raw in outputs.items()}


def batch(seed: int, labels: bool = True) -> Sample:
    g = torch.Generator().manual_seed(seed)
    known = {
        "semantic": torch.randint(0, 3, (2, *SIZE), generator=g),
        "depth": 2 + 40 * torch.rand(2, 1, *SIZE, generator=g),
        "normals": F.normalize(torch.randn(2, 3, *SIZE, generator=g), dim=1),
        "edges": torch.randint(0, 2, (2, 1, *SIZE), generator=g).float(),
    }
    known["semantic"][:, 0, :3] = 255
    known["depth"][:, :, 1, :3] = torch.nan
    return Sample(torch.rand(2, 3, *SIZE, generator=g), known if labels else {}, name=f"batch {seed}")


def a_step(teacher: nn.Module | None = None, source: Sample | None = None, target: Sample | None = None):
    student = ByColour()
    student.scale.data.fill_(0.5)
    teacher = ByColour() if teacher is None else teacher
    return AdaptationStep(student, source or batch(0), {}, target or batch(1, labels=False), teacher)


class TestTeacher:
    def test_a_view_that_agrees_with_its_mirror_is_believed_wholly(self):
        step = a_step()
        labels, weights = SelfTraining(TASKS, threshold=0.0).pseudo_labels(step)
        upright = {n: raws[0].detach() for n, raws in ByColour()(step.target.image).items()}
        for name in ("depth", "normals"):
            torch.testing.assert_close(weights[name], torch.ones(2, 1, *SIZE), atol=1e-5, rtol=0)
        torch.testing.assert_close(labels["depth"], 10 * torch.exp(upright["depth"]))
        torch.testing.assert_close(labels["normals"], F.normalize(upright["normals"], dim=1))
        probability = upright["semantic"].softmax(dim=1)
        assert torch.equal(labels["semantic"], probability.argmax(dim=1))
        torch.testing.assert_close(weights["semantic"], probability.amax(dim=1, keepdim=True))

    def test_depth_is_believed_as_far_as_the_mirrored_view_agrees(self):
        """Views that differ by a known ramp: the nearer over the farther, and their geometric mean."""
        step = a_step(ByColour(skew=0.02))
        labels, weights = SelfTraining(TASKS, threshold=0.0, colour=0.0).pseudo_labels(step)
        at = torch.arange(12).float()
        apart = 0.02 * (at - at.flip(0))
        torch.testing.assert_close(weights["depth"], torch.exp(-apart.abs()).expand(2, 1, *SIZE))
        green = step.target.image[:, 1:2] - 0.5
        torch.testing.assert_close(labels["depth"], 10 * torch.exp(green + 0.02 * (at + at.flip(0)) / 2))

    def test_normals_lean_the_other_way_in_the_mirror(self):
        """All views lean by 20 degrees to the right: mapped back they are 40 degrees apart, and straight on average."""
        angle = math.radians(20)
        labels, weights = SelfTraining(TASKS, threshold=0.0).pseudo_labels(a_step(ByColour(lean=angle)))
        straight = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(2, 3, *SIZE)
        torch.testing.assert_close(labels["normals"], straight, atol=1e-6, rtol=0)
        expected = torch.full((2, 1, *SIZE), math.cos(2 * angle))
        torch.testing.assert_close(weights["normals"], expected, atol=1e-5, rtol=0)

    def test_without_the_mirror_geometry_is_believed_wholly(self):
        teacher = ByColour(skew=0.1, lean=0.5)
        _, weights = SelfTraining(TASKS, threshold=0.5, mirror=False).pseudo_labels(a_step(teacher))
        assert len(teacher.seen) == 1
        assert (weights["depth"] == 1).all()
        torch.testing.assert_close(weights["normals"], torch.ones(2, 1, *SIZE))

    def test_the_threshold_by_hand(self):
        """Confidences 0.5, 0.6, 0.8 and 0.99 at a threshold of 0.6: 0, 0, 0.5 and 0.975."""
        task = make_tasks(["semantic"], num_classes=2)

        class Says(nn.Module):
            def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
                return {"semantic": [torch.cat([image[:, :1].logit(), image[:, :1] * 0], dim=1)]}

        sure = torch.tensor([0.5, 0.6, 0.8, 0.99]).view(1, 1, 1, 4).expand(1, 3, 2, 4)
        step = AdaptationStep(Says(), Sample(sure), {}, Sample(sure), Says())
        term = SelfTraining(task, threshold=0.6, mirror=False, mix=False)
        labels, weights = term.pseudo_labels(step)
        assert labels["semantic"].tolist() == [[[0, 0, 0, 0]] * 2]
        torch.testing.assert_close(weights["semantic"][0, 0, 0], torch.tensor([0.0, 0.0, 0.5, 0.975]))

    def test_a_coarse_teacher_is_enlarged(self):
        class Coarse(ByColour):
            def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
                return {n: [raws[1]] for n, raws in super().forward(image).items()}

        labels, weights = SelfTraining(TASKS).pseudo_labels(a_step(Coarse()))
        assert all(x.shape[-2:] == SIZE for x in (*labels.values(), *weights.values()))
        assert all(w.shape == (2, 1, *SIZE) for w in weights.values())

    def test_labels_are_as_a_sample_stores_them(self):
        labels, weights = SelfTraining(TASKS).pseudo_labels(a_step())
        for name, label in batch(0).labels.items():
            assert labels[name].shape == label.shape
            assert labels[name].dtype == label.dtype
            assert not labels[name].requires_grad
            assert weights[name].min() >= 0
            assert weights[name].max() <= 1


def by_hand(
    step: AdaptationStep, mask: Tensor | None, weights: dict[str, float], threshold: float
) -> dict[str, Tensor]:
    """Each task's loss of the student, and ``total``, from the teacher's raw outputs on."""
    image, target = step.target.image, {n: raws[0].detach() for n, raws in step.teacher(step.target.image).items()}
    likely = (
        0.05
        * target["edges"].softmax(1)[:, 1:]
        / (0.05 * target["edges"].softmax(1)[:, 1:] + 0.95 * target["edges"].softmax(1)[:, :1])
    )
    labels = {
        "semantic": target["semantic"].argmax(1),
        "depth": 10 * target["depth"].exp(),
        "normals": F.normalize(target["normals"], dim=1),
        "edges": (likely > 0.5).float(),
    }
    sure = {
        "semantic": target["semantic"].softmax(1).amax(1, keepdim=True),
        "edges": torch.maximum(likely, 1 - likely),
    }
    one = torch.ones(2, 1, *SIZE)
    doubts = {n: ((sure.get(n, one) - threshold) / (1 - threshold)).clamp(0, 1) for n in labels}
    if mask is not None:
        image = torch.where(mask, step.source.image, image)
        for name in labels:
            exact = step.source.labels.get(name)
            if exact is None:
                doubts[name] = torch.where(mask, torch.zeros(()), doubts[name])
            else:
                labels[name] = torch.where(mask if exact.ndim == 4 else mask[:, 0], exact, labels[name])
                doubts[name] = torch.where(mask, torch.ones(()), doubts[name])
    outputs = step.model(image)
    losses = {
        task.name: sum(task.loss(raw, labels[task.name], doubts[task.name]) for raw in outputs[task.name]) / 2
        for task in TASKS
    }
    return {**losses, "total": sum(weights.get(n, 1.0) * x for n, x in losses.items())}


WEIGHTS = {"semantic": 50.0, "normals": 20.0}


class TestStudent:
    @pytest.mark.parametrize("mix", [False, True])
    @pytest.mark.parametrize("missing", [(), ("depth", "edges")])
    def test_by_hand(self, mix, missing):
        whole = batch(0)
        source = Sample(whole.image, {n: x for n, x in whole.labels.items() if n not in missing})
        step = a_step(source=source)
        term = SelfTraining(TASKS, WEIGHTS, weight=0.7, threshold=0.6, mix=mix, colour=0.0)
        torch.manual_seed(4)
        total, figures = term(step)
        torch.manual_seed(4)
        mask = class_mask(source.labels["semantic"]) if mix else None
        expected = by_hand(step, mask, WEIGHTS, 0.6)
        for task in TASKS:
            assert figures[f"student_{task.name}"].item() == pytest.approx(expected[task.name].item(), rel=1e-5)
        assert total.item() == pytest.approx(0.7 * expected["total"].item(), rel=1e-5)

    def test_what_is_pasted_in_is_what_the_student_sees(self):
        step = a_step()
        torch.manual_seed(4)
        SelfTraining(TASKS, colour=0.0)(step)
        torch.manual_seed(4)
        mask = class_mask(step.source.labels["semantic"]).expand(2, 3, *SIZE)
        (seen,) = step.model.seen
        assert torch.equal(seen[mask], step.source.image[mask])
        assert torch.equal(seen[~mask], step.target.image[~mask])

    def test_believed_is_the_mean_weight_of_the_teachers_labels(self):
        step, term = a_step(), SelfTraining(TASKS, colour=0.0)
        _, weights = term.pseudo_labels(step)
        expected = sum(w.mean() for w in weights.values()) / 4
        assert term(step)[1]["believed"].item() == pytest.approx(expected.item())
        assert 0 < expected < 1

    def test_the_gradient_is_the_students_alone(self):
        step = a_step()
        total, figures = SelfTraining(TASKS)(step)
        total.backward()
        assert step.teacher.scale.grad is None
        assert step.model.scale.grad.abs() > 0
        assert not any(figure.requires_grad for figure in figures.values())

    def test_the_weight_scales_loss_and_gradient(self):
        found = []
        for weight in (1.0, 3.0, 0.0):
            step = a_step()
            torch.manual_seed(1)
            total, _ = SelfTraining(TASKS, weight=weight)(step)
            total.backward()
            found.append((total.item(), step.model.scale.grad.item()))
        assert found[1] == pytest.approx([3 * x for x in found[0]], rel=1e-5)
        assert found[2] == (0.0, 0.0)

    def test_where_the_teacher_doubts_nothing_is_learnt(self):
        """A threshold above every confidence, of a teacher that agrees with nothing."""
        teacher = ByColour(skew=2.0, lean=math.pi / 3)
        teacher.scale.data.fill_(0.01)
        teacher_tasks = (SEMANTIC, NORMALS)
        step = a_step(teacher)
        total, figures = SelfTraining(teacher_tasks, threshold=0.9, mix=False)(step)
        total.backward()
        assert figures["believed"].item() == 0.0
        assert total.item() == 0.0
        assert step.model.scale.grad.item() == 0.0

    def test_other_colours(self):
        torch.manual_seed(0)
        term, seen = SelfTraining(TASKS, mix=False, colour=0.6), []
        for _ in range(4):
            step = a_step()
            term(step)
            seen.append(step.model.seen[0])
            assert torch.equal(step.teacher.seen[0], step.target.image), "the teacher sees the frame as it is"
        image = step.target.image
        assert all(x.shape == image.shape and x.min() >= 0 and x.max() <= 1 for x in seen)
        assert sum(not torch.allclose(x, image, atol=0.02) for x in seen) >= 3
        assert not torch.equal(seen[0], seen[1])

    def test_a_student_that_is_the_teacher_is_nearly_right(self):
        """Its depth and normals are wholly those it is asked for."""
        step = a_step()
        step.model.scale.data.fill_(1.0)
        step.model.forward = lambda image: {n: raws[:1] for n, raws in ByColour.forward(step.model, image).items()}
        _, figures = SelfTraining(TASKS, mix=False, colour=0.0)(step)
        assert figures["student_depth"].item() == pytest.approx(0.0, abs=1e-5)
        assert figures["student_normals"].item() == pytest.approx(0.0, abs=1e-5)


class TestRefusals:
    @pytest.mark.parametrize(
        ("argument", "value"),
        [("weight", -0.1), ("threshold", 1.0), ("threshold", -0.1), ("colour", 1.1), ("colour", -0.5)],
    )
    def test_arguments_out_of_range(self, argument, value):
        with pytest.raises(InputError, match=rf"{argument} {value}"):
            SelfTraining(TASKS, **{argument: value})

    def test_no_teacher(self):
        step = a_step()
        step.teacher = None
        with pytest.raises(InputError, match=r"needs a teacher, .*set run.average"):
            SelfTraining(TASKS)(step)

    def test_a_task_without_pseudo_labels(self):
        class Silent(EdgesTask):
            pseudo_label = Task.pseudo_label

        with pytest.raises(InputError, match=r"task 'seams' \(edges\) has no pseudo-labels; leave it out"):
            SelfTraining([SEMANTIC, Silent(name="seams")])

    def test_mixing_needs_classes(self):
        with pytest.raises(InputError, match=r"mix needs a semantic task.*set mix: false"):
            SelfTraining([DEPTH])
        SelfTraining([DEPTH], mix=False)

    def test_mixing_needs_batches_of_one_size(self):
        wide = batch(1, labels=False)
        step = a_step(target=Sample(wide.image.repeat(1, 1, 1, 2)))
        with pytest.raises(InputError, match=r"\(2, 3, 8, 12\) and \(2, 3, 8, 24\); give both the same size"):
            SelfTraining(TASKS)(step)
        assert SelfTraining(TASKS, mix=False)(step)[0] > 0

    def test_mixing_needs_the_sources_classes(self):
        source = batch(0)
        step = a_step(source=Sample(source.image, {"depth": source.labels["depth"]}, name="frame 3"))
        with pytest.raises(InputError, match="mixes by semantic, which frame 3 lacks"):
            SelfTraining(TASKS)(step)

    def test_a_weight_for_a_task_that_does_not_learn(self):
        with pytest.raises(InputError, match="task weight albedo"):
            SelfTraining(TASKS, {"albedo": 1.0})


def test_nothing_of_it_is_learnt_or_kept_but_the_student():
    term = SelfTraining(TASKS)
    assert not list(term.parameters())
    assert not term.state_dict()
    assert term.groups() == []
