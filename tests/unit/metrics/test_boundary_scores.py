"""Both edge scores side by side, and the tolerance on small images."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.metrics import BoundaryDetection, BoundaryF1, BoundaryScores
from densemtl_core.tasks import EdgesTask


def line(column: int, size: tuple[int, int]) -> torch.Tensor:
    """A vertical line, ``(1, 1, H, W)``."""
    picture = torch.zeros(1, 1, *size)
    picture[..., column] = 1.0
    return picture


def blurred(size: tuple[int, int] = (48, 64)) -> tuple[torch.Tensor, torch.Tensor]:
    """Two uneven edge maps and their labels."""
    generator = torch.Generator().manual_seed(0)
    label = torch.cat([line(20, size), line(40, size)])
    soft = torch.nn.functional.avg_pool2d(label.roll(1, -1), 3, 1, 1)
    return (soft + 0.2 * torch.rand(soft.shape, generator=generator)).clamp(max=1), label


def test_each_part_keeps_its_own_figures():
    prediction, label = blurred()
    both = BoundaryScores(BoundaryF1(), BoundaryDetection(9))
    for metric in (alone := BoundaryF1(), tolerant := BoundaryDetection(9), both):
        metric.update(prediction, label)
    assert both.compute() == {**alone.compute(), **tolerant.compute()}
    assert set(both.compute()) == {"macroF1", "edge_F1", "odsF", "ods_threshold", "oisF", "AP"}
    assert both.primary == "macroF1"
    assert both.compute()["odsF"] > both.compute()["edge_F1"]


def test_quick_leaves_the_matching_out():
    prediction, label = blurred()
    quick, whole = EdgesTask().metric().quick(), EdgesTask().metric()
    for metric in (quick, whole):
        EdgesTask().score(metric, {"edges": prediction[:, 0]}, label)
    assert quick.compute() == {k: v for k, v in whole.compute().items() if k in ("macroF1", "edge_F1")}
    assert quick.primary == whole.primary
    assert quick.higher_is_better == whole.higher_is_better
    assert BoundaryDetection().quick().primary == "odsF"  # by itself it has nothing to leave out


@pytest.mark.parametrize(
    ("size", "shift", "found"),
    [((32, 48), 2, True), ((32, 48), 3, False), ((300, 400), 3, True), ((300, 400), 4, False)],
)
def test_two_pixels_are_forgiven_on_small_images_and_a_share_of_the_diagonal_on_large_ones(size, shift, found):
    metric = EdgesTask().metric()  # 0.0075 of the diagonals: 0.4 and 3.75 pixels
    metric.update(line(20 + shift, size), line(20, size))
    assert metric.compute()["odsF"] == float(found)


def test_the_share_alone_forgives_nothing_on_small_images():
    metric = EdgesTask(min_pixels=0).metric()
    metric.update(line(21, (32, 48)), line(20, (32, 48)))
    assert metric.compute()["odsF"] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_distance": 0.2}, "max_distance is 0.2"), ({"min_pixels": -1.0}, "min_pixels is -1.0")],
)
def test_a_wrong_tolerance_is_refused_with_the_task(options, message):
    with pytest.raises(InputError, match=message):
        EdgesTask(**options)


def test_a_wrong_weight_is_refused():
    with pytest.raises(ValueError, match=r"edge_weight is 1\.0"):
        EdgesTask(edge_weight=1.0)
