"""Self-supervised depth: the error by hand, what the truth scores, masks, mirrors, exact repetition, learning."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from densemtl_core.data.sample import Sample
from densemtl_core.data.street import StreetWorld
from densemtl_core.data.transforms import horizontal_flip
from densemtl_core.errors import InputError
from densemtl_core.learning.objective import JointObjective
from densemtl_core.learning.optimisation import Optimisation
from densemtl_core.learning.run_files import read_history
from densemtl_core.learning.self_supervised import SelfSupervisedDepth, photometric_error
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.learning.trainer import RunSettings, Trainer
from densemtl_core.models import build_model
from densemtl_core.models.pose import PoseNetwork
from densemtl_core.tasks import DepthTask, make_tasks

TASK = DepthTask(encoding="log")
SCALED = DepthTask(encoding="disparity", up_to_scale=True)
TINY = "mobilenetv3_small_050"
STRIDE = 50.0
"""Metres a unit of the motion network's translation: logarithmic depth starts at 10 m, the published one at 0.2."""


class TrueMotion(nn.Module):
    """In a pose network's place: a camera that drives ``speed`` straight ahead."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self.translation = nn.Parameter(torch.tensor([0.0, 0.0, -speed]))

    def forward(self, earlier: torch.Tensor, later: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch = len(earlier)
        return earlier.new_zeros(batch, 3), (self.translation / STRIDE).expand(batch, 3)


@pytest.fixture(scope="module")
def drive() -> Sample:
    return StreetWorld(seed=3, size=(64, 128), style="sim", frames=(-1, 1)).batch(range(3))


def raw_of(batch: Sample, factor: float = 1.0) -> torch.Tensor:
    return TASK.encode(batch.labels["depth"] * factor)


class TestPhotometricError:
    def test_equal_pictures_have_none_and_opposite_ones_nearly_all(self):
        image = torch.rand(2, 3, 8, 9, dtype=torch.float64)
        assert photometric_error(image, image).abs().max() < 1e-12
        checkers = (torch.arange(8)[:, None] + torch.arange(9)) % 2
        checkers = checkers.double().expand(1, 3, 8, 9)
        opposite = photometric_error(checkers, 1 - checkers)
        assert opposite.shape == (1, 1, 8, 9)
        assert 0.9 < opposite.min() <= opposite.max() <= 1.0

    def test_equals_the_definition_written_out(self):
        a, b = torch.rand(2, 1, 3, 6, 7, dtype=torch.float64)
        found = photometric_error(a, b)
        for y, x in ((0, 0), (3, 4), (5, 6), (2, 0)):
            total = 0.0
            # mirrored without repeating the border itself: -1 is 1
            rows = [abs(y + d) if y + d < 6 else 10 - (y + d) for d in (-1, 0, 1)]
            columns = [abs(x + d) if x + d < 7 else 12 - (x + d) for d in (-1, 0, 1)]
            for c in range(3):
                p = torch.stack([a[0, c, i, j] for i in rows for j in columns])
                q = torch.stack([b[0, c, i, j] for i in rows for j in columns])
                covariance = ((p - p.mean()) * (q - q.mean())).mean()
                ssim = (2 * p.mean() * q.mean() + 1e-4) * (2 * covariance + 9e-4)
                ssim /= (p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (p.var(correction=0) + q.var(correction=0) + 9e-4)
                total += 0.85 * float(((1 - ssim) / 2).clamp(0, 1)) / 3 + 0.15 * float((a - b)[0, c, y, x].abs()) / 3
            assert found[0, 0, y, x].item() == pytest.approx(total, rel=1e-9)


class TestTheTruthScoresBest:
    @pytest.mark.parametrize("automask", [True, False])
    def test_among_scaled_depths(self, drive, automask):
        objective = SelfSupervisedDepth(TASK, None, smoothness=0.0, automask=automask)
        losses = {f: objective({"depth": [raw_of(drive, f)]}, drive)[0].item() for f in (0.4, 0.7, 1.0, 1.5, 2.5)}
        assert min(losses, key=losses.__getitem__) == 1.0
        assert losses[1.0] < 0.8 * losses[0.4]

    def test_along_the_gradient_of_the_motion(self, drive):
        # with true depth, a camera that is told to be slow must want to be faster, and one too fast slower
        pulls = {}
        for speed in (0.5, 1.1):
            motion = TrueMotion(speed)
            objective = SelfSupervisedDepth(TASK, motion, automask=False)
            objective({"depth": [raw_of(drive)]}, drive)[0].backward()
            pulls[speed] = float(motion.translation.grad[2])
        # descent moves z against its gradient: to more negative when slow
        assert pulls[0.5] > 0 > pulls[1.1]

    def test_mirrored_as_well(self, drive):
        objective = SelfSupervisedDepth(TASK, None, automask=False)
        mirrored = horizontal_flip(drive)
        one, _ = objective({"depth": [raw_of(drive)]}, drive)
        two, _ = objective({"depth": [raw_of(mirrored)]}, mirrored)
        assert two.item() == pytest.approx(one.item(), rel=1e-3)


class TestMotion:
    def test_the_network_sees_frames_in_order_and_is_inverted_for_the_earlier_one(self, drive):
        seen = []

        class Recorder(TrueMotion):
            def forward(self, earlier, later):
                seen.append((earlier, later))
                speed = torch.arange(1.0, 7.0)[:, None]  # tells the six pairs apart
                return torch.tensor([0.1, -0.2, 0.3]).expand(6, 3), self.translation / STRIDE * speed

        objective = SelfSupervisedDepth(TASK, Recorder(0.8), frames=(-1, 1))
        image, before, after = drive.image, drive.labels["image-1"], drive.labels["image+1"]
        to_earlier, to_later = objective._motions(image, [before, after], drive).split(3)
        ((earlier, later),) = seen
        assert torch.equal(earlier, torch.cat([before, image]))
        assert torch.equal(later, torch.cat([image, after]))
        skew = torch.tensor([[0.0, -0.3, -0.2], [0.3, 0.0, -0.1], [0.2, 0.1, 0.0]])
        turn = torch.linalg.matrix_exp(skew)
        for index in range(3):
            torch.testing.assert_close(to_later[index, :3, :3], turn)
            torch.testing.assert_close(to_later[index, :3, 3], torch.tensor([0.0, 0.0, -0.8 * (4 + index)]))
            torch.testing.assert_close(to_earlier[index, :3, :3], turn.T)
            torch.testing.assert_close(to_earlier[index, :3, 3], turn.T @ torch.tensor([0.0, 0.0, 0.8 * (1 + index)]))

    def test_gradients_reach_the_pose_network_and_the_depth(self, drive):
        torch.manual_seed(0)
        pose = PoseNetwork(TINY)
        raw = torch.zeros(3, 1, 32, 64, requires_grad=True)
        SelfSupervisedDepth(SCALED, pose)({"depth": [raw]}, drive)[0].backward()
        assert raw.grad.isfinite().all()
        assert raw.grad.abs().sum() > 0
        assert all(p.grad is not None and p.grad.isfinite().all() for p in pose.parameters())
        assert pose.decoder[-1].weight.grad.abs().sum() > 0


class TestAutomask:
    def test_a_standing_camera_teaches_nothing(self, drive):
        still = {**drive.labels, "image-1": drive.image, "image+1": drive.image}
        batch = replace(drive, labels=still)
        raw = raw_of(drive).requires_grad_()
        total, parts = SelfSupervisedDepth(TASK, None, smoothness=0.0)({"depth": [raw]}, batch)
        total.backward()
        assert parts["automasked"] > 0.9
        assert raw.grad.abs().sum() < 1e-4
        raw.grad = None
        SelfSupervisedDepth(TASK, None, smoothness=0.0, automask=False)({"depth": [raw]}, batch)[0].backward()
        assert raw.grad.abs().sum() > 1e-2

    def test_counts_only_pixels_that_motion_explains(self, drive):
        _, parts = SelfSupervisedDepth(TASK, None)({"depth": [raw_of(drive)]}, drive)
        assert 0.1 < parts["automasked"] < 0.8

    def test_rewards_wrong_motion_which_is_why_it_may_begin_later(self, drive):
        def loss(direction: torch.Tensor, automask: bool) -> float:
            motion = TrueMotion(0.0)
            motion.translation.data[:] = direction
            objective = SelfSupervisedDepth(TASK, motion, smoothness=0.0, automask=automask)
            return objective({"depth": [raw_of(drive)]}, drive)[0].item()

        still, sideways, ahead = torch.zeros(3), torch.tensor([0.1, 0.0, 0.0]), torch.tensor([0.0, 0.0, -0.4])
        assert loss(sideways, True) < loss(still, True)
        assert loss(ahead, False) < loss(still, False) < loss(sideways, False)

    def test_begins_after_so_many_training_steps_and_remembers_them(self, drive):
        objective = SelfSupervisedDepth(TASK, None, automask_from=2)
        raw = raw_of(drive)

        def masked() -> float:
            return objective({"depth": [raw]}, drive)[1]["automasked"].item()

        objective.eval()
        assert masked() == 0.0
        objective.train()
        assert (masked(), masked()) == (0.0, 0.0)
        assert masked() > 0.1
        resumed = SelfSupervisedDepth(TASK, None, automask_from=2)
        resumed.load_state_dict(objective.state_dict())
        assert resumed({"depth": [raw]}, drive)[1]["automasked"] > 0.1

    def test_a_seed_repeats_the_loss_bit_for_bit(self, drive):
        objective = SelfSupervisedDepth(TASK, None)
        losses = []
        for seed in (7, 7, 8):
            torch.manual_seed(seed)
            losses.append(objective({"depth": [raw_of(drive)]}, drive)[0].item())
        assert losses[0] == losses[1] != losses[2]
        assert losses[2] == pytest.approx(losses[0], rel=1e-3)


class TestTheSum:
    def test_heads_are_averaged_and_parts_add_up(self, drive):
        objective = SelfSupervisedDepth(TASK, None, weight=3.0, smoothness=0.5, automask=False)
        heads = [raw_of(drive), raw_of(drive)[..., ::2, ::2] + 0.2]
        total, parts = objective({"depth": heads}, drive)
        assert total.item() == pytest.approx(3 * (parts["photometric"] + parts["smoothness"]).item())
        alone = [objective({"depth": [head]}, drive)[1] for head in heads]
        assert parts["photometric"].item() == pytest.approx(sum(p["photometric"].item() for p in alone) / 2)
        expected = (alone[0]["smoothness"].item() + alone[1]["smoothness"].item() / 2) / 2
        assert parts["smoothness"].item() == pytest.approx(expected)

    def test_smoothness_knows_no_scale_and_forgives_steps_at_edges(self, drive):
        objective = SelfSupervisedDepth(TASK, None, smoothness=1.0)
        image = torch.zeros(1, 3, 8, 8)
        image[..., 4:] = 1.0
        # one picture again and again: only smoothness is of interest
        still = torch.eye(4)[None]
        labels = {"image-1": image, "image+1": image, "pose-1": still, "pose+1": still}
        batch = Sample(image, labels, torch.eye(3)[None])

        def smoothness(depth: torch.Tensor) -> float:
            return objective({"depth": [TASK.encode(depth)]}, batch)[1]["smoothness"].item()

        at_edge, beside = torch.full((1, 1, 8, 8), 5.0), torch.full((1, 1, 8, 8), 5.0)
        at_edge[..., 4:], beside[..., 3:] = 10.0, 10.0
        assert smoothness(torch.full((1, 1, 8, 8), 5.0)) == pytest.approx(0.0, abs=1e-6)
        assert smoothness(at_edge) == pytest.approx(smoothness(2 * at_edge), rel=1e-4)
        # by hand: 8 steps of 0.2 - 0.1 over a mean of 0.15, damped by exp(-1), over 56 differences
        assert smoothness(at_edge) == pytest.approx(0.1 / 0.15 * math.exp(-1) * 8 / 56, rel=1e-4)
        assert smoothness(beside) > 2 * smoothness(at_edge)


class TestRefusals:
    @pytest.mark.parametrize(
        ("lacking", "match"), [("image+1", "carries no image\\+1"), ("pose-1", "carries no pose-1")]
    )
    def test_labels_that_are_not_there(self, drive, lacking, match):
        batch = replace(drive, labels={k: v for k, v in drive.labels.items() if k != lacking})
        with pytest.raises(InputError, match=match) as caught:
            SelfSupervisedDepth(TASK, None)({"depth": [raw_of(drive)]}, batch)
        assert "\n" not in str(caught.value)
        assert "street/3/train" in str(caught.value)

    def test_an_unknown_camera(self, drive):
        with pytest.raises(InputError, match="no camera intrinsics"):
            SelfSupervisedDepth(TASK, None)({"depth": [raw_of(drive)]}, replace(drive, intrinsics=None))

    @pytest.mark.parametrize(
        "options",
        [
            {"frames": ()},
            {"frames": (0, 1)},
            {"weight": -1.0},
            {"smoothness": -1.0},
            {"task": SCALED},
            {"automask_from": -1},
        ],
    )
    def test_arguments_out_of_range(self, options):
        with pytest.raises(InputError):
            SelfSupervisedDepth(**{"task": TASK, "pose": None, **options})


class TestTraining:
    """In the training loop, beside supervised segmentation."""

    SETTINGS = RunSettings(steps=4, batch=2, workers=0, log_every=1, checkpoint_every=2)

    def trainer(self, folder: Path) -> Trainer:
        torch.manual_seed(0)
        tasks = make_tasks(["semantic", SCALED.config()], num_classes=19)
        objectives = {
            "supervised": SupervisedObjective(tasks[:1]),
            "self_supervised": SelfSupervisedDepth(tasks[1], PoseNetwork(TINY)),
        }
        model = build_model("densemtl_edge_s", tasks)
        fabric = Fabric(accelerator="cpu", devices=1)
        return Trainer(fabric, model, JointObjective(objectives), self.SETTINGS, Optimisation(), folder)

    def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(self, tmp_path):
        world = StreetWorld(size=(32, 64), length=4, frames=(-1, 1))
        whole = self.trainer(tmp_path / "whole")
        before = whole.objective.state_dict()
        before = {name: value.clone() for name, value in before.items()}
        whole.fit(world)
        first = self.trainer(tmp_path / "cut")

        def stop() -> None:
            if first.step == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            first.fit(world, after_checkpoint=stop)
        torch.manual_seed(99)
        resumed = self.trainer(tmp_path / "cut")
        resumed.resume()
        resumed.fit(world)

        records = [read_history(tmp_path / name) for name in ("whole", "cut")]
        assert set(records[0][0]) > {"loss", "semantic", "photometric", "smoothness", "automasked"}
        assert [r["loss"] for r in records[0]] == [r["loss"] for r in records[1]]
        for one, other in ((whole.bare, resumed.bare), (whole.objective, resumed.objective)):
            assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())
        weight = "objectives.self_supervised.pose.decoder.0.weight"
        assert not torch.equal(before[weight], whole.objective.state_dict()[weight])


@pytest.mark.slow
def test_depth_of_one_drive_is_found_from_its_motion(drive):
    """Nothing but pictures and poses: free depth values approach the true ones where there is anything to see."""
    objective = SelfSupervisedDepth(TASK, None, smoothness=1e-2)
    raw = torch.zeros(3, 1, 16, 32, requires_grad=True)  # 10 m everywhere
    optimiser = torch.optim.Adam([raw], lr=0.05)
    true = drive.labels["depth"]
    seen = torch.isin(drive.labels["semantic"], torch.tensor([2, 3, 4, 5, 6, 7, 8]))[:, None] & (true < 25)

    def error() -> float:
        found = TASK.metres(TASK.resize(raw.detach(), true.shape[-2:]))
        return float((found / true).log().abs()[seen].mean())

    before = error()
    torch.manual_seed(0)
    for _ in range(120):
        optimiser.zero_grad()
        objective({"depth": [raw]}, drive)[0].backward()
        optimiser.step()
    assert error() < 0.6 * before
