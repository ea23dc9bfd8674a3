"""Depth as one canonical camera would see it, from labels to scores."""

from __future__ import annotations

import math

import pytest
import torch

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.geometry import intrinsics_matrix
from densemtl_core.learning.evaluation import judge
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.tasks import DepthTask, NormalsTask, decode, from_config

NAN, INF = math.nan, math.inf
CANONICAL = 100.0
TASK = DepthTask(encoding="log", canonical_focal=CANONICAL)
SIZE = (6, 8)


def cameras(*focal: float) -> torch.Tensor:
    return torch.stack([intrinsics_matrix(f, 2 * f, 3.5, 2.5) for f in focal])


def metres(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 1, *SIZE, generator=torch.Generator().manual_seed(0)) * 30 + 1


def test_labels_by_hand():
    """Twice the focal length shows what is twice as far in the same size; NaN and sky have no distance to change."""
    label = torch.tensor([10.0, NAN, INF]).view(1, 1, 1, 3).repeat(3, 1, 1, 1)
    seen = TASK.through_camera(label, cameras(CANONICAL, 2 * CANONICAL, CANONICAL / 4))
    torch.testing.assert_close(seen[:, 0, 0, 0], torch.tensor([10.0, 5.0, 40.0]))
    assert seen[..., 1].isnan().all()
    assert (seen[..., 2] == INF).all()
    assert seen.dtype == torch.float32


def test_predictions_are_the_inverse_of_labels():
    label, K = metres(), cameras(150.0, 310.0)
    decoded = {TASK.name: TASK.through_camera(label, K)[:, 0], "other": torch.ones(1)}
    TASK.for_camera(decoded, K)
    torch.testing.assert_close(decoded[TASK.name], label[:, 0])
    assert decoded["other"].tolist() == [1]


def test_beyond_the_range_is_no_surface():
    decoded = {TASK.name: torch.tensor([[[39.0, 41.0, INF, NAN]]])}
    TASK.for_camera(decoded, cameras(2 * CANONICAL))
    torch.testing.assert_close(decoded[TASK.name], torch.tensor([[[78.0, INF, INF, NAN]]]), equal_nan=True)


def test_an_unknown_camera_is_refused_in_training():
    with pytest.raises(InputError, match=r"canonical_focal needs the intrinsics of every camera") as error:
        TASK.through_camera(metres(), None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("task", [DepthTask(), DepthTask(up_to_scale=True, canonical_focal=CANONICAL), NormalsTask()])
def test_without_a_rule_no_camera_changes_anything(task):
    label, K = metres(), cameras(150.0, 310.0)
    assert task.camera_rule() == {}
    assert task.through_camera(label, K) is label
    assert task.through_camera(label, None) is label
    decoded = {task.name: label}
    task.for_camera(decoded, K)
    assert decoded[task.name] is label


class Sees(torch.nn.Module):
    """A network that predicts what it is told to, as (B, 1, H, W) metres of the canonical camera."""

    def __init__(self, canonical: torch.Tensor) -> None:
        super().__init__()
        self.raw = torch.nn.Parameter(TASK.encode(canonical))

    def forward(self, image: torch.Tensor, intermediate: bool = True) -> dict[str, list[torch.Tensor]]:
        return {TASK.name: [self.raw]}


def test_a_perfect_canonical_prediction_has_perfect_metric_scores():
    """One object at two focal lengths looks the same when it is as many times farther; metres tell them apart."""
    K = cameras(CANONICAL, 2 * CANONICAL)
    canonical = metres(1).repeat(2, 1, 1, 1)
    label = canonical * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    image = torch.zeros(2, 3, *SIZE)

    def scores(intrinsics: torch.Tensor | None) -> dict[str, float]:
        batch = Sample(image, {TASK.name: label}, intrinsics)
        return judge(Sees(canonical), [TASK], [batch])[TASK.name].compute()

    perfect, unknown = scores(K), scores(None)
    assert perfect["RMSE"] == pytest.approx(0, abs=1e-3)
    assert perfect["delta1"] == 1
    assert unknown["AbsRel"] == pytest.approx(0.25, abs=1e-3), "the farther half is taken for half as far"


def test_a_perfect_canonical_prediction_has_no_loss():
    K, label = cameras(CANONICAL, 2 * CANONICAL), metres()
    objective = SupervisedObjective([TASK])
    network = Sees(TASK.through_camera(label, K))

    def loss(intrinsics: torch.Tensor) -> float:
        batch = Sample(torch.zeros(2, 3, *SIZE), {TASK.name: label}, intrinsics)
        return float(objective(network(batch.image), batch)[1][TASK.name])

    assert loss(K) == pytest.approx(0, abs=1e-5)
    assert loss(cameras(CANONICAL, CANONICAL)) > 0.1


def test_decoding_with_a_camera_and_without():
    """Normals are refined by the depth that this camera has, not by the canonical one's."""
    canonical = metres(1)
    raw = {TASK.name: TASK.encode(canonical), "normals": torch.randn(1, 3, *SIZE)}
    tasks = (TASK, NormalsTask())
    known, unknown = decode(tasks, raw, cameras(8 * CANONICAL)), decode(tasks, raw)
    torch.testing.assert_close(unknown[TASK.name], canonical[:, 0])
    beyond = 8 * canonical[:, 0] > TASK.max_depth
    assert beyond.any()
    assert not beyond.all()
    torch.testing.assert_close(known[TASK.name], torch.where(beyond, INF, 8 * canonical[:, 0]))
    torch.testing.assert_close(known["normals"].isnan().all(1), beyond)
    assert not unknown["normals"].isnan().any()


def test_the_focal_length_travels_with_the_configuration():
    assert from_config(TASK.config()) == TASK
    assert TASK.camera_rule() == {"focal": CANONICAL, "limit": 80.0}
    old = {key: value for key, value in DepthTask().config().items() if key != "canonical_focal"}
    assert from_config(old) == DepthTask()


@pytest.mark.parametrize("focal", [-1.0, INF, NAN])
def test_a_focal_length_that_cannot_be(focal):
    with pytest.raises(InputError, match=r"canonical_focal is .* pixels; it must be >= 0"):
        from_config({"kind": "depth", "canonical_focal": focal})
