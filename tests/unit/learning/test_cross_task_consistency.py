"""Planes whose depth and normals are known exactly; outlines made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.geometry import normals_from_depth
from densemtl_core.learning.adaptation import AdaptationStep
from densemtl_core.learning.cross_task_consistency import EdgeAgreement, NormalAgreement, class_change_outside_edges
from densemtl_core.tasks import DepthTask, EdgesTask, NormalsTask, SemanticTask

SIZE = (24, 32)
DEPTH, NORMALS, EDGES = DepthTask(encoding="log"), NormalsTask(), EdgesTask()
SEMANTIC = SemanticTask(class_names=("road", "sky", "car"))
K = torch.tensor([[30.0, 0.0, 14.0], [0.0, 28.0, 12.5], [0.0, 0.0, 1.0]])
STRAIGHT, WALL, FLOOR = (0.0, 0.0, -1.0), (-0.6, 0.0, -0.8), (0.1, -0.5, -1.0)


class Given(nn.Module):
    """A network that says what it is told to say, whatever it sees."""

    def __init__(self, outputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        return {name: [raw] for name, raw in self.outputs.items()}


def a_step(outputs: dict[str, Tensor], intrinsics: Tensor | None = None, size=SIZE) -> AdaptationStep:
    count = len(next(iter(outputs.values())))
    if intrinsics is not None and intrinsics.ndim == 2:
        intrinsics = intrinsics.expand(count, 3, 3)
    target = Sample(torch.rand(count, 3, *size), {}, intrinsics)
    return AdaptationStep(Given(outputs), target, {}, target)


def unit(normal: tuple[float, ...]) -> Tensor:
    return F.normalize(torch.tensor(normal), dim=0)


def plane(normal: tuple[float, ...], at: float, matrix: Tensor = K) -> Tensor:
    """``(1, 1, H, W)`` metres of the plane through ``(0, 0, at)``: where a pixel's ray meets it."""
    n = unit(normal)
    y, x = torch.meshgrid(torch.arange(SIZE[0]).float(), torch.arange(SIZE[1]).float(), indexing="ij")
    ray = torch.stack([(x - matrix[0, 2]) / matrix[0, 0], (y - matrix[1, 2]) / matrix[1, 1], torch.ones_like(x)])
    metres = at * n[2] / (n.view(3, 1, 1) * ray).sum(dim=0)
    assert metres.min() > 0
    return metres[None, None]


def facing(normal: tuple[float, ...], length: float = 2.5) -> Tensor:
    """Raw normals, of a length that means nothing."""
    return (length * unit(normal)).view(1, 3, 1, 1).repeat(1, 1, *SIZE)


def score(depth: Tensor, normals: Tensor, intrinsics: Tensor | None = K, task: DepthTask = DEPTH, **settings) -> float:
    term = NormalAgreement(task, NORMALS, 1.0, **settings)
    total, figures = term(a_step({"depth": task.encode(depth), "normals": normals}, intrinsics))
    assert total.item() == figures["agreement_normals"].item()
    return total.item()


class TestNormals:
    @pytest.mark.parametrize("encoding", ["inverse", "log", "disparity"])
    @pytest.mark.parametrize("normal", [STRAIGHT, WALL, FLOOR])
    def test_a_plane_agrees_with_its_normal(self, normal, encoding):
        task = DepthTask(encoding=encoding)
        assert score(plane(normal, 6.0), facing(normal), task=task) == pytest.approx(0.0, abs=1e-4)

    @pytest.mark.parametrize("degrees", [10, 60, 150])
    def test_a_wrong_normal_costs_one_minus_its_cosine(self, degrees):
        angle = math.radians(degrees)
        wrong = (math.sin(angle), 0.0, -math.cos(angle))
        assert score(plane(STRAIGHT, 6.0), facing(wrong)) == pytest.approx(1 - math.cos(angle), abs=1e-4)

    def test_the_camera_matters(self):
        """A plane at a slant, seen by a lens of another focal length, has another normal."""
        other = K.clone()
        other[0, 0] *= 2
        assert score(plane(WALL, 6.0), facing(WALL), other) > 0.02

    def test_every_image_has_its_own_camera(self):
        other = torch.tensor([[60.0, 0.0, 10.0], [0.0, 60.0, 8.0], [0.0, 0.0, 1.0]])
        depth = torch.cat([plane(WALL, 6.0), plane(FLOOR, 4.0, other)])
        normals = torch.cat([facing(WALL), facing(FLOOR)])
        assert score(depth, normals, torch.stack([K, other])) == pytest.approx(0.0, abs=1e-4)
        assert score(depth, normals, torch.stack([other, K])) > 0.01

    def test_without_intrinsics_the_field_of_view_is_taken(self):
        """A lens of 70 degrees: half the width is its focal length times tan 35."""
        focal = SIZE[1] / 2 / math.tan(math.radians(35))
        matrix = torch.tensor([[focal, 0.0, 15.5], [0.0, focal, 11.5], [0.0, 0.0, 1.0]])
        depth = plane(WALL, 6.0, matrix)
        assert score(depth, facing(WALL), None, field_of_view=70.0) == pytest.approx(0.0, abs=1e-4)
        assert score(depth, facing(WALL), None, field_of_view=40.0) > 0.01
        assert score(depth, facing(WALL), matrix, field_of_view=40.0) == pytest.approx(0.0, abs=1e-4)

    def test_at_a_step_depth_has_no_normal(self):
        depth = plane(STRAIGHT, 5.0)
        depth[..., 16:] = 9.0
        implied = normals_from_depth(depth, K[None])[0, :, 1:-1, 15:17]
        assert (implied[2] > -0.9).all(), "the slope across the step would be a surface seen from its side"
        assert score(depth, facing(STRAIGHT)) == pytest.approx(0.0, abs=1e-5)

    def test_beyond_a_distance_nothing_is_asked(self):
        depth = plane(STRAIGHT, 20.0)
        assert score(depth, facing(WALL)) > 0.1
        assert score(depth, facing(WALL), within=20.0) == 0.0
        depth[..., :8] = 3.0  # two walls, and a step between
        near = facing(STRAIGHT)
        near[..., 8:] = facing(WALL)[..., 8:]
        assert score(depth, near, within=10.0) == pytest.approx(0.0, abs=1e-5)
        assert score(depth, near, within=30.0) > 0.05

    def test_the_weight(self):
        outputs = {"depth": DEPTH.encode(plane(STRAIGHT, 6.0)), "normals": facing(WALL)}
        one, three = (NormalAgreement(DEPTH, NORMALS, weight)(a_step(outputs, K)) for weight in (1.0, 3.0))
        assert three[0].item() == pytest.approx(3 * one[0].item())
        assert three[1]["agreement_normals"].item() == pytest.approx(one[0].item())
        assert not three[1]["agreement_normals"].requires_grad

    def test_coarse_outputs_are_enlarged_to_the_image(self):
        depth = DEPTH.encode(torch.full((1, 1, 6, 8), 5.0))
        normals = torch.tensor(STRAIGHT).view(1, 3, 1, 1).repeat(1, 1, 6, 8)
        total, _ = NormalAgreement(DEPTH, NORMALS, 1.0)(a_step({"depth": depth, "normals": normals}, K))
        assert total.item() == pytest.approx(0.0, abs=1e-5)

    def test_both_learn(self):
        """Gradients of either side bring them together."""
        raw = {
            "depth": DEPTH.encode(plane(STRAIGHT, 6.0)).requires_grad_(),
            "normals": facing((0.3, 0.2, -1.0)).requires_grad_(),
        }
        for learning in ("depth", "normals"):
            optimiser = torch.optim.Adam([raw[learning]], lr=2e-3)
            history = []
            for _ in range(12):
                optimiser.zero_grad()
                total, _ = NormalAgreement(DEPTH, NORMALS, 1.0)(a_step(raw, K))
                total.backward()
                optimiser.step()
                history.append(total.item())
            assert history[-1] < 0.95 * history[0], learning

    def test_gradients_of_the_roughest_depth_are_finite(self):
        g = torch.Generator().manual_seed(0)
        raw = {
            "depth": torch.randn(2, 1, *SIZE, generator=g).mul(3).requires_grad_(),
            "normals": torch.randn(2, 3, *SIZE, generator=g).requires_grad_(),
        }
        raw["normals"].data[:, :, :4] = 0  # no direction at all
        raw["depth"].data[:, :, :, 20:] = -1.0 + 0.01 * torch.rand(2, 1, *SIZE, generator=g)[..., 20:]
        total, _ = NormalAgreement(DEPTH, NORMALS, 1.0)(a_step(raw, K))
        total.backward()
        for name, tensor in raw.items():
            assert tensor.grad.isfinite().all(), name
            assert tensor.grad.any(), name

    @pytest.mark.parametrize(("encoding", "raw"), [("log", -200.0), ("inverse", 1e6)])
    def test_gradients_of_a_collapsed_depth_are_finite(self, encoding, raw):
        """Every point in the camera's own centre: a length of zero to divide by."""
        task = DepthTask(encoding=encoding)
        outputs = {"depth": torch.full((1, 1, *SIZE), raw).requires_grad_(), "normals": facing(WALL).requires_grad_()}
        assert task.metres(outputs["depth"]).max() < 1e-6
        total, _ = NormalAgreement(task, NORMALS, 1.0)(a_step(outputs, K))
        total.backward()
        assert total.isfinite()
        assert all(tensor.grad.isfinite().all() for tensor in outputs.values())

    def test_gradcheck(self):
        g = torch.Generator().manual_seed(0)
        depth = DEPTH.encode(plane(FLOOR, 6.0)[..., :7, :8].double())
        depth = (depth + 1e-3 * torch.randn(1, 1, 7, 8, generator=g)).requires_grad_()
        normals = torch.randn(1, 3, 7, 8, generator=g, dtype=torch.float64).requires_grad_()
        term = NormalAgreement(DEPTH, NORMALS, 1.0)

        def loss(depth: Tensor, normals: Tensor) -> Tensor:
            step = a_step({"depth": depth, "normals": normals}, K, size=(7, 8))
            step.target_outputs = {"depth": [depth], "normals": [normals]}  # in float64 as they are
            return term(step)[0]

        assert loss(depth, normals) > 0.1
        assert torch.autograd.gradcheck(loss, [depth, normals])

    @pytest.mark.parametrize(
        ("argument", "value"), [("weight", -1.0), ("field_of_view", 5.0), ("field_of_view", 170.0), ("within", 0.0)]
    )
    def test_arguments_out_of_range(self, argument, value):
        with pytest.raises(InputError, match=rf"{argument} {value}"):
            NormalAgreement(DEPTH, NORMALS, **{"weight": 1.0, argument: value})


def says(ids: list[list[int]], sure: float = 20.0) -> Tensor:
    """Logits of three classes, ``(1, 3, H, W)``."""
    return sure * F.one_hot(torch.tensor([ids]), 3).permute(0, 3, 1, 2).float()


IDS = [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [2, 2, 2, 2, 2, 2]]
LINES = [[0, 0, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]  # on the left or the upper of two neighbours
NEAR = [[9, 9, 9, 5, 5, 5]] * 3
STEPS = [[0, 0, 0, 1, 0, 0]] * 3  # on the nearer
BOTH = [[0, 0, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0]]  # no step between the rows: the upper


class TestEdges:
    @staticmethod
    def outputs(edges: Tensor) -> dict[str, Tensor]:
        return {"semantic": says(IDS), "depth": DEPTH.encode(torch.tensor([[NEAR]]).float()), "edges": edges}

    @pytest.mark.parametrize(
        ("semantic", "depth", "lines"), [(SEMANTIC, None, LINES), (None, DEPTH, STEPS), (SEMANTIC, DEPTH, BOTH)]
    )
    def test_what_classes_and_depth_imply(self, semantic, depth, lines):
        raw = torch.randn(1, 2, 3, 6, generator=torch.Generator().manual_seed(0))
        term = EdgeAgreement(EDGES, semantic, depth, 2.0)
        total, figures = term(a_step(self.outputs(raw), size=(3, 6)))
        expected = EDGES.loss(raw, torch.tensor([[lines]]).float()).item()
        assert figures["agreement_edges"].item() == pytest.approx(expected)
        change = figures["class_change_outside_edges"].item() if semantic else 0.0
        assert total.item() == pytest.approx(2 * (expected + change))
        assert semantic is None or change > 0

    def test_edges_on_every_outline_cost_nothing(self):
        lines = torch.tensor([[LINES]]).float()
        raw = torch.cat([10 - 20 * lines, 20 * lines - 10], dim=1)
        total, _ = EdgeAgreement(EDGES, SEMANTIC, None, 1.0)(a_step(self.outputs(raw), size=(3, 6)))
        assert total.item() == pytest.approx(0.0, abs=1e-4)
        total, _ = EdgeAgreement(EDGES, SEMANTIC, None, 1.0)(a_step(self.outputs(-raw), size=(3, 6)))
        assert total.item() > 5

    def test_who_learns_what(self):
        """Edges learn where outlines are; classes not to change elsewhere; depth is not asked."""
        raw = {n: x.clone().requires_grad_() for n, x in self.outputs(torch.zeros(1, 2, 3, 6)).items()}
        raw["semantic"].data.copy_(says(IDS, 1.0))
        total, figures = EdgeAgreement(EDGES, SEMANTIC, DEPTH, 1.0)(a_step(raw, size=(3, 6)))
        total.backward()
        assert raw["depth"].grad is None
        for name in ("edges", "semantic"):
            assert raw[name].grad.isfinite().all()
            assert raw[name].grad.any()
        assert not any(figure.requires_grad for figure in figures.values())
        alone = raw["edges"].detach().clone().requires_grad_()
        EDGES.loss(alone, torch.tensor([[BOTH]]).float()).backward()
        torch.testing.assert_close(raw["edges"].grad, alone.grad)

    def test_images_of_a_batch_have_their_own_outlines(self):
        raw = torch.randn(2, 2, 3, 6, generator=torch.Generator().manual_seed(0))
        ids = torch.cat([says(IDS), says([[0] * 6] * 3)])
        step = a_step({"semantic": ids, "edges": raw}, size=(3, 6))
        _, figures = EdgeAgreement(EDGES, SEMANTIC, None, 1.0)(step)
        lines = torch.tensor([[LINES], [[[0] * 6] * 3]]).float()
        assert figures["agreement_edges"].item() == pytest.approx(EDGES.loss(raw, lines).item())

    def test_refusals(self):
        with pytest.raises(InputError, match="there must be a semantic or a depth task"):
            EdgeAgreement(EDGES, None, None, 1.0)
        with pytest.raises(InputError, match=r"weight -1.0 must be >= 0"):
            EdgeAgreement(EDGES, SEMANTIC, None, -1.0)


class TestClassChange:
    def test_against_a_loop(self):
        rng = np.random.default_rng(0)
        p = rng.dirichlet(np.ones(4), size=(2, 5, 7)).transpose(0, 3, 1, 2)
        e = rng.random((2, 1, 5, 7))
        across, down = [], []
        for b in range(2):
            for y in range(5):
                for x in range(7):
                    for dy, dx, costs in ((0, 1, across), (1, 0, down)):
                        if y + dy < 5 and x + dx < 7:
                            change = np.abs(p[b, :, y, x] - p[b, :, y + dy, x + dx]).sum() / 2
                            costs.append((1 - max(e[b, 0, y, x], e[b, 0, y + dy, x + dx])) * change)
        expected = (np.mean(across) + np.mean(down)) / 2
        got = class_change_outside_edges(torch.from_numpy(p), torch.from_numpy(e))
        assert got.item() == pytest.approx(expected, rel=1e-12)

    def test_bounds(self):
        checkers = (torch.arange(4)[:, None] + torch.arange(6)) % 2
        p = F.one_hot(checkers, 2).permute(2, 0, 1)[None].double()
        nowhere, everywhere = torch.zeros(1, 1, 4, 6).double(), torch.ones(1, 1, 4, 6).double()
        assert class_change_outside_edges(p, nowhere).item() == 1.0, "every neighbour is wholly of another class"
        assert class_change_outside_edges(p, everywhere).item() == 0.0
        assert class_change_outside_edges(p * 0 + 0.5, nowhere).item() == 0.0

    def test_gradcheck(self):
        g = torch.Generator().manual_seed(0)
        p = torch.rand(1, 3, 4, 5, generator=g, dtype=torch.float64).requires_grad_()
        e = torch.rand(1, 1, 4, 5, generator=g, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(class_change_outside_edges, [p, e])
