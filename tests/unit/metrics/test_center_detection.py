"""Detected centres and absolute errors: cases that can be counted by hand, and maps that are cut off."""

from __future__ import annotations

import math
import time

import pytest
import torch

from densemtl_core.metrics import CenterDetection, MeanAbsoluteError
from densemtl_core.metrics.center_detection import MOST_PEAKS, peaks

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
    assert scores(torch.ones_like(LABEL), LABEL)["centerF1"] == 0.0  # one detection, in the middle of the image


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
    assert places.tolist() == [[20, 3], [4.5, 8]]
    assert heights.tolist() == pytest.approx([0.9, 0.5])


STREET = (256, 512)
SPREAD = 0.01 * math.hypot(*STREET)  # 5.7 pixels, the street world's
CROWD = [(25 + 51 * i, 32 + 64 * j) for i in range(5) for j in range(8)]


def gaussians(places: list[tuple[int, int]]) -> torch.Tensor:
    """``(1, 1, 256, 512)``: what the street world says of things in these places."""
    y, x = torch.arange(STREET[0])[:, None].float(), torch.arange(STREET[1]).float()
    heat = torch.zeros(STREET)
    for row, column in places:
        heat = torch.maximum(heat, torch.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * SPREAD**2)))
    return heat[None, None]


def cut_off(label: torch.Tensor, gain: float) -> dict[str, float]:
    metric = CenterDetection()
    metric.update((label * gain).clamp(0, 1), label)
    return metric.compute()


@pytest.mark.parametrize("gain", [1.0, 1.02, 1.1, 2.0, 10.0])
def test_a_map_that_is_too_high_finds_the_same_things(gain):
    found = cut_off(gaussians(CROWD), gain)
    assert (found["centerF1"], found["precision"], found["recall"]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("gain", "found"), [(1.0, 2), (1.02, 2), (1.1, 2), (1.5, 2), (2.0, 1)])
def test_things_are_one_where_their_plateaus_touch(gain, found):
    """12 pixels apart, of plateaus with a radius of 2.5 pixels at 1.1, 5.2 at 1.5 and 6.7 at 2."""
    label = gaussians([(100, 200), (100, 212)])
    places, _ = peaks((label[0, 0] * gain).clamp(0, 1), 0.01 * math.hypot(*STREET))
    assert len(places) == found
    if found == 1:
        assert places.tolist() == [[100, 206]]
    assert cut_off(label, gain)["centerF1"] == pytest.approx(2 * found / (found + 2))


def test_a_plateau_is_where_its_middle_is():
    places, heights = peaks((gaussians([(60, 71)])[0, 0] * 1.5).clamp(0, 1), 5.7)
    assert places.tolist() == [[60, 71]]
    assert heights.tolist() == [1.0]
    crossed = torch.zeros(SIZE)
    for k in range(5):
        crossed[10 + k, 10 + k] = crossed[14 - k, 10 + k] = 0.5  # diagonals are connected
    assert peaks(crossed, 1.0)[0].tolist() == [[12, 12]]


def test_equals_come_from_top_to_bottom():
    heat = torch.zeros(SIZE)
    for row, column in ((3, 30), (3, 5), (20, 20), (12, 1)):
        heat[row, column] = 0.5
    assert peaks(heat, 2.0)[0].tolist() == [[3, 5], [3, 30], [12, 1], [20, 20]]


def test_of_equals_too_near_to_each_other_one_counts():
    heat = torch.zeros(SIZE)
    heat[10, [10, 13, 16]] = 1.0
    assert peaks(heat, 4.0)[0].tolist() == [[10, 10], [10, 16]]
    heat[10, 16] = 0.9  # a lower one does not count beside a higher
    assert peaks(heat, 4.0)[0].tolist() == [[10, 10]]


@pytest.mark.parametrize(
    ("height", "found"), [(0.0, 0), (0.04, 0), (0.05, 1), (0.5, 1), (1.0, 1), (math.nan, 0), (math.inf, 1)]
)
def test_a_constant_is_at_most_one_detection(height, found):
    places, heights = peaks(torch.full(STREET, height), 5.7)
    assert places.tolist() == [[127.5, 255.5]] * found
    assert len(heights) == found


def test_speckles_are_cut_off_and_do_not_take_long():
    speckles = (torch.rand(STREET, generator=torch.Generator().manual_seed(0)) > 0.8).float()
    start = time.process_time()
    places, _ = peaks(speckles, 5.7)
    assert time.process_time() - start < 5.0  # 0.1 s; a loop over components takes much longer
    assert len(places) == MOST_PEAKS
    assert float(torch.pdist(places).min()) > 5.7


def test_near_duplicates_do_not_crowd_out_what_is_farther_down():
    """More equal peaks side by side than count, and one far below them."""
    heat = torch.zeros(STREET)
    heat[:40:2, :40:2] = 1.0  # 400 within 40 pixels
    heat[200, 300] = 1.0
    places, _ = peaks(heat, 20.0)
    assert [200.0, 300.0] in places.tolist()
    assert len(places) < 10


def reference(heat: torch.Tensor, radius: float) -> list[tuple[float, list[float]]]:
    """Pixel by pixel, for a map without two equal neighbours."""
    beside, found = max(int(radius), 1), []
    for row in range(heat.shape[0]):
        for column in range(heat.shape[1]):
            around = heat[max(row - beside, 0) : row + beside + 1, max(column - beside, 0) : column + beside + 1]
            if heat[row, column] >= max(float(around.max()), 0.05):
                found.append((float(heat[row, column]), [float(row), float(column)]))
    return sorted(found, reverse=True)[:MOST_PEAKS]


@pytest.mark.parametrize("radius", [1.0, 1.5, 2.7, 5.7])
def test_without_plateaus_every_local_maximum_is_a_peak(radius):
    heat = torch.randperm(60 * 80, generator=torch.Generator().manual_seed(1)).view(60, 80).double() / 4800
    places, heights = peaks(heat, radius)
    assert list(zip(heights.tolist(), places.tolist(), strict=True)) == reference(heat, radius)


def test_absolute_error_by_hand():
    metric = MeanAbsoluteError()
    metric.update(torch.tensor([[[[1.0, 2.0, 9.0]]]]), torch.tensor([[[[0.5, 3.0, math.nan]]]]))
    assert metric.compute() == {"MAE": pytest.approx(0.75)}
    metric.update(torch.full((1, 1, 1, 1), math.nan), torch.zeros(1, 1, 1, 1))
    assert math.isnan(metric.compute()["MAE"])  # refusing gains nothing
    assert math.isnan(MeanAbsoluteError().compute()["MAE"])
