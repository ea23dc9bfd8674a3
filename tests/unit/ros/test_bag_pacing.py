"""When frames of a recording are due."""

from __future__ import annotations

import pytest
from densemtl_ros.pacing import Pacing


def times(pacing, recorded, start=100.0):
    """When frames are shown by somebody who waits exactly as long as told."""
    now, shown = start, []
    for seconds in recorded:
        now += pacing.wait(seconds, now)
        pacing.shown(seconds, now)
        shown.append(round(now - start, 6))
    return shown


def test_recorded_times_are_kept_and_a_pass_follows_the_last_at_the_usual_distance():
    assert times(Pacing(0, 10), [0, 0.07, 0.3, 0, 0.07, 0.3, 0]) == [0, 0.07, 0.3, 0.4, 0.47, 0.7, 0.8]


def test_a_rate_overrides_them():
    assert times(Pacing(4, 10), [0, 0.07, 0.3, 0]) == [0, 0.25, 0.5, 0.75]


def test_a_single_frame_again_and_again():
    assert times(Pacing(0, 5), [0, 0, 0]) == [0, 0.2, 0.4]


def test_a_small_delay_is_caught_up_and_a_long_one_given_up():
    pacing = Pacing(0, 10)
    pacing.shown(0.0, 100.0)
    assert pacing.wait(0.1, 100.15) == 0
    pacing.shown(0.1, 100.15)
    assert pacing.wait(0.2, 100.15) == pytest.approx(0.05)
    pacing.shown(0.2, 103.0)
    assert pacing.wait(0.3, 103.0) == pytest.approx(0.1), "no burst after a stall"
