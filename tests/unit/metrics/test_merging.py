"""A set judged in parts gives to the last bit the scores of the set judged whole: every metric, random splits."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from densemtl_core.metrics import (
    BoundaryDetection,
    BoundaryF1,
    BoundaryScores,
    CenterDetection,
    DepthError,
    MeanAbsoluteError,
    MeanIoU,
    Metric,
    NormalError,
    join_states,
)

IMAGES, SIZE = 13, (24, 31)

Pair = tuple[torch.Tensor, torch.Tensor]


def classes(generator: torch.Generator) -> Pair:
    prediction, label = torch.randint(0, 6, (2, IMAGES, *SIZE), generator=generator)
    label[label == 5] = 255
    return prediction.clamp(max=4), label


def depths(generator: torch.Generator) -> Pair:
    prediction, label = torch.rand(2, IMAGES, 1, *SIZE, generator=generator) * 90 + 0.5
    label[:, :, :3] = math.inf
    return prediction, hide(label, generator)


def directions(generator: torch.Generator) -> Pair:
    prediction, label = torch.randn(2, IMAGES, 3, *SIZE, generator=generator)
    prediction[:, :, 5:9, 4:20] = math.nan  # refused: a miss
    return prediction, hide(label, generator)


def boundaries(generator: torch.Generator) -> Pair:
    label = (torch.rand(IMAGES, 1, *SIZE, generator=generator) > 0.93).float()
    noise = torch.rand(IMAGES, 1, *SIZE, generator=generator)
    return 0.5 * label.roll(1, -1) + 0.5 * noise, hide(label, generator)


def values(generator: torch.Generator) -> Pair:
    prediction, label = torch.randn(2, IMAGES, 3, *SIZE, generator=generator)
    return prediction, hide(label, generator)


def centres(generator: torch.Generator) -> Pair:
    label = (torch.rand(IMAGES, 1, *SIZE, generator=generator) > 0.99).float()
    return 0.6 * label.roll(1, -1) + 0.4 * torch.rand(IMAGES, 1, *SIZE, generator=generator), hide(label, generator)


def hide(label: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The label without a tenth of its pixels, and with nothing known of the first image."""
    unknown = torch.rand(IMAGES, 1, *SIZE, generator=generator) < 0.1
    unknown[0] = True
    return label.masked_fill(unknown, math.nan)


CASES: dict[str, tuple[Callable[[], Metric], Callable[[torch.Generator], Pair]]] = {
    "MeanIoU": (lambda: MeanIoU(5), classes),
    "DepthError": (DepthError, depths),
    "DepthError, median scaling": (lambda: DepthError(median_scaling=True), depths),
    "NormalError": (NormalError, directions),
    "MeanAbsoluteError": (MeanAbsoluteError, values),
    "CenterDetection": (lambda: CenterDetection(0.1), centres),
    "BoundaryF1": (BoundaryF1, boundaries),
    "BoundaryDetection": (lambda: BoundaryDetection(19, min_pixels=2), boundaries),
    "BoundaryScores": (lambda: BoundaryScores(BoundaryF1(), BoundaryDetection(9)), boundaries),
}


def judged(make: Callable[[], Metric], data: Pair, images: list[int], batch: int) -> Metric:
    """A metric that saw these images in batches of a size."""
    metric = make()
    for chunk in torch.tensor(images, dtype=torch.long).split(batch):
        if len(chunk):
            metric.update(data[0][chunk], data[1][chunk])
    return metric


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(4))
def test_parts_equal_the_whole(case, seed):
    make, draw = CASES[case]
    generator = torch.Generator().manual_seed(seed)
    data = draw(generator)
    whole = judged(make, data, list(range(IMAGES)), batch=5).compute()
    order = torch.randperm(IMAGES, generator=generator).tolist()
    cuts = sorted(torch.randint(0, IMAGES + 1, (2,), generator=generator).tolist())  # a part may be empty
    parts = [order[: cuts[0]], order[cuts[0] : cuts[1]], order[cuts[1] :]]
    metrics = [judged(make, data, images, batch) for images, batch in zip(parts, (1, 2, 3), strict=True)]

    gathered = make()
    gathered.load(join_states([metric.state() for metric in metrics]))
    assert gathered.compute() == whole  # bit for bit
    assert all(math.isfinite(score) for score in whole.values())

    first, second, third = metrics
    third.merge(first)
    third.merge(second)
    assert third.compute() == whole


@pytest.mark.parametrize("case", CASES)
def test_going_on_after_a_merge(case):
    make, draw = CASES[case]
    data = draw(torch.Generator().manual_seed(9))
    metric = judged(make, data, [2, 3], 1)
    other = judged(make, data, [4, 5, 6], 3)
    before = other.compute()
    metric.merge(other)
    metric.update(data[0][7:], data[1][7:])
    assert metric.compute() == judged(make, data, list(range(2, IMAGES)), 4).compute()
    assert other.compute() == before  # what was merged is a copy


@pytest.mark.parametrize("case", CASES)
def test_the_state_says_by_its_types_how_it_is_joined(case):
    make, draw = CASES[case]
    data = draw(torch.Generator().manual_seed(1))
    empty, full = make().state(), judged(make, data, list(range(IMAGES)), 4).state()
    assert set(empty) == set(full)
    for name, tensor in full.items():
        if tensor.is_floating_point():
            assert tensor.dtype == torch.float64
            assert (len(empty[name]), len(tensor)) == (0, IMAGES)
        else:
            assert tensor.dtype == torch.int64
            assert tensor.shape == empty[name].shape
            assert tensor.any()
            assert not empty[name].any()


def test_states_of_different_metrics_are_refused():
    with pytest.raises(ValueError, match="different metrics"):
        join_states([MeanIoU(3).state(), NormalError().state()])
    with pytest.raises(ValueError, match=r"confusion has shapes \[\(3, 4\), \(4, 5\)\]"):
        join_states([MeanIoU(3).state(), MeanIoU(4).state()])
    with pytest.raises(ValueError, match="no state"):
        join_states([])


def test_a_metric_without_a_state_says_so():
    class Count(Metric):
        def update(self, prediction, label):
            pass

        def compute(self):
            return {}

    with pytest.raises(NotImplementedError, match="Count has no state"):
        Count().merge(Count())
