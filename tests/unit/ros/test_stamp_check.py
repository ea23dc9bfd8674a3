"""Odd time stamps are named, whatever a camera writes into them, and never spoil the check of the next."""

from __future__ import annotations

import pytest
from densemtl_ros.stamp_check import StampCheck
from hypothesis import given, settings
from hypothesis import strategies as st

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND


def nanoseconds(sec: int, nanosec: int) -> int:
    return sec * SECOND + nanosec


@pytest.mark.parametrize(
    ("sec", "nanosec", "problem"),
    [
        (0, 0, "stamp_zero"),
        (-1, 0, "stamp_zero"),
        (-(2**31), 2**32 - 1, "stamp_zero"),
        (-5, 4_999_999_999, "stamp_zero"),  # a nanosecond before the epoch
        (1_700_000_000, 0, None),
        (1_699_999_999, SECOND, None),  # a whole second in nanoseconds
        (1_699_999_996, 4_294_967_295, None),
        (1_700_000_000, 4_294_967_295, "stamp_future"),
        (1_700_000_000, 500_000_000, None),
        (1_700_000_000, 500_000_001, "stamp_future"),
        (2**31 - 1, 2**32 - 1, "stamp_future"),
    ],
)
def test_first_stamp(sec, nanosec, problem):
    assert StampCheck().problem(nanoseconds(sec, nanosec), NOW) == problem


def test_each_jump_is_told_once():
    check = StampCheck()
    stamps = (NOW, NOW + 3600 * SECOND, NOW + 3601 * SECOND, NOW, NOW + 1, 0, NOW + 2, NOW + 1)
    assert [check.problem(stamp, NOW) for stamp in stamps] == [
        None,
        "stamp_future",
        "stamp_future",
        "stamp_back",
        None,
        "stamp_zero",
        None,
        "stamp_back",
    ]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1)), max_size=6))
def test_after_any_stamps_a_good_one_is_good(stamps):
    check = StampCheck()
    for sec, nanosec in stamps:
        assert check.problem(nanoseconds(sec, nanosec), NOW) in (None, "stamp_zero", "stamp_back", "stamp_future")
    check.problem(NOW, NOW)  # may be a step back
    assert check.problem(NOW + 1, NOW) is None
