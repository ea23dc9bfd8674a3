"""Detected centres and absolute errors: cases that can be counted by hand."""

from __future__ import annotations

import math

import pytest
import torch

from densemtl_core.metrics import CenterDetection, MeanAbsoluteError
from densemtl_core.metrics.center_detection import peaks

SIZE = (30, 40)  # a diagonal of 50 pixels: a tolerance of 0.1 is 5


def dots(*places: tuple[int, int, float]) -> torch.Tensor:
    heat = torch.zeros(1, 1, *SIZE)
    for row, column, height in places:
        heat[0, 0, row, column] = height
    return heat


def scores(prediction: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    metric = CenterDetection(tolerance=0.1)
    metric.update(prediction, label)
    return metric.compute()


LABEL = dots((5, 5, 1.0), (5, 30, 1.0), (20, 20, 1.0), (20, 21, 0.99))


def test_its_own_label_is_perfect():
    assert scores(LABEL, LABEL) == {"centerF1": 1.0, "precision": 1.0, "recall": 1.0, "threshold": 0.05}


@pytest.mark.parametrize("level", [0.0, 0.04])
def test_nothing_detected_is_worth_nothing(level):
    assert scores(torch.full_like(LABEL, level), LABEL)["centerF1"] == 0.0


def test_a_constant_is_worth_little():
    assert scores(torch.ones_like(LABEL), LABEL)["precision"] < 0.1


def test_hits_misses_and_false_alarms():
    # one hit 5 pixels off, one miss by 6, one alarm of its own
    found = scores(dots((5, 10, 0.9), (11, 30, 0.8), (28, 2, 0.7)), LABEL)
    assert found["centerF1"] == pytest.approx(2 * 1 / (1 + 3))
    assert found["threshold"] == pytest.approx(0.85)
    assert found["precision"] == 1.0
    assert found["recall"] == pytest.approx(1 / 3)


def test_the_best_threshold_leaves_false_alarms_out():
    found = scores(dots((5, 5, 0.6), (5, 30, 0.6), (20, 20, 0.6), (28, 2, 0.3), (2, 15, 0.3)), LABEL)
    assert found["centerF1"] == 1.0
    assert 0.3 < found["threshold"] <= 0.6


def test_two_peaks_do_not_share_a_centre():
    found = scores(dots((5, 2, 0.9), (5, 8, 0.9)), dots((5, 5, 1.0)))
    assert found["centerF1"] == pytest.approx(2 / 3)


def test_without_a_centre_there_is_no_score():
    assert math.isnan(scores(LABEL, torch.zeros_like(LABEL))["centerF1"])


def test_where_the_label_is_unknown_nothing_is_detected():
    unknown = LABEL.clone()
    unknown[..., 25:, :] = math.nan
    found = scores(torch.maximum(LABEL, dots((28, 2, 1.0))), unknown)
    assert found["centerF1"] == 1.0


def test_a_plateau_is_one_peak():
    heat = torch.zeros(SIZE)
    heat[4:6, 7:10] = 0.5
    heat[20, 3] = 0.9
    places, heights = peaks(heat, 4.0)
    assert places.tolist() == [[20, 3], [4, 7]]
    assert heights.tolist() == pytest.approx([0.9, 0.5])


def test_absolute_error_by_hand():
    metric = MeanAbsoluteError()
    metric.update(torch.tensor([[[[1.0, 2.0, 9.0]]]]), torch.tensor([[[[0.5, 3.0, math.nan]]]]))
    assert metric.compute() == {"MAE": pytest.approx(0.75)}
    metric.update(torch.full((1, 1, 1, 1), math.nan), torch.zeros(1, 1, 1, 1))
    assert math.isnan(metric.compute()["MAE"])  # refusing gains nothing
    assert math.isnan(MeanAbsoluteError().compute()["MAE"])
