"""Counts, times and the judgement that a person reads."""

from __future__ import annotations

import pytest
from densemtl_ros.frame_statistics import ERROR, OK, WARN, FrameStatistics, Limits
from densemtl_ros.stamp_check import StampCheck

LIMITS = Limits(budget_ms=100.0, max_overruns=3, input_timeout=2.0)


class FrameClock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return FrameClock()


@pytest.fixture
def statistics(clock):
    return FrameStatistics(clock)


def arrive(statistics):
    statistics.received()
    statistics.accepted(0.0001)


def process(statistics, seconds=0.05):
    statistics.started()
    statistics.processed({"infer": seconds}, seconds, LIMITS.budget_ms)


def judge(statistics):
    report = statistics.report(LIMITS)
    return report.level, report.message


def value(statistics, key):
    return dict(statistics.report(LIMITS).values)[key]


def test_rates_are_measured_over_the_last_seconds(statistics, clock):
    for n in range(100):
        clock.now = 100.0 + n * 0.1
        arrive(statistics)
        if n % 2 == 0:
            process(statistics)
    assert float(value(statistics, "input_rate_hz")) == pytest.approx(10.0)
    assert float(value(statistics, "output_rate_hz")) == pytest.approx(5.0)
    assert judge(statistics) == (OK, "10.0 Hz in, 5.0 Hz out")
    clock.now += 60
    assert value(statistics, "input_rate_hz") == "0.0"


def test_counts(statistics):
    for _ in range(4):
        statistics.received()
    statistics.rejected("step", "step 0 is less than 36")
    statistics.rejected("step", "step 1 is less than 36")
    statistics.rejected("encoding", "encoding 'x'")
    statistics.dropped()
    statistics.lost(7)
    process(statistics)
    got = {key: value(statistics, key) for key in ("received", "processed", "dropped", "rejected", "lost_in_transport")}
    assert got == {"received": "4", "processed": "1", "dropped": "1", "rejected": "3", "lost_in_transport": "7"}
    assert value(statistics, "rejected.step") == "2"
    assert value(statistics, "last_rejection") == "encoding 'x'"


def test_stage_percentiles_in_milliseconds(statistics):
    for n in range(1, 101):
        process(statistics, n / 1000)
    assert float(value(statistics, "infer_ms_p50")) == pytest.approx(50.5, abs=0.1)
    assert float(value(statistics, "infer_ms_p90")) == pytest.approx(90.1, abs=0.1)
    assert float(value(statistics, "infer_ms_p99")) == pytest.approx(99.0, abs=0.1)


def test_rejections_warn_until_they_are_past(statistics, clock):
    arrive(statistics)
    statistics.rejected("step", "step 0")
    statistics.irregular("stamp_zero")
    assert judge(statistics) == (WARN, "odd frames in the last 5 s: stamp_zero 1, step 1")
    clock.now += 6
    arrive(statistics)
    assert judge(statistics)[0] == OK


def test_budget_warns_then_fails_then_recovers(statistics):
    arrive(statistics)
    process(statistics, 0.2)
    assert judge(statistics) == (WARN, "frames take longer than the budget of 100 ms (1 in a row)")
    process(statistics, 0.2)
    process(statistics, 0.2)
    assert judge(statistics) == (ERROR, "3 frames in a row over the budget of 100 ms")
    process(statistics, 0.05)
    assert judge(statistics)[0] == OK


def test_no_budget_is_never_exceeded(statistics):
    arrive(statistics)
    statistics.processed({}, 3600.0, 0.0)
    assert judge(statistics)[0] == OK


def test_no_frame_is_an_error_until_one_arrives(statistics, clock):
    clock.now += 2.5
    assert judge(statistics) == (ERROR, "no usable frame for 2.5 s")
    arrive(statistics)
    assert judge(statistics)[0] == OK


def test_only_unusable_frames_are_as_bad_as_none_and_say_why(statistics, clock):
    clock.now += 2.5
    statistics.received()
    statistics.rejected("encoding", "encoding 'x'")
    assert judge(statistics) == (ERROR, "no usable frame for 2.5 s (encoding 1)")


def test_activation_waits_afresh(statistics, clock):
    clock.now += 60
    statistics.restarted()
    assert judge(statistics)[0] == OK


def test_a_frame_that_never_ends_is_an_error_while_it_lasts(statistics, clock):
    statistics.started()
    for _ in range(30):
        clock.now += 0.1
        arrive(statistics)
    assert judge(statistics) == (ERROR, "one frame has been in work for 3.0 s")
    statistics.processed({}, 0.05, LIMITS.budget_ms)
    assert judge(statistics)[0] == OK


def test_inference_failure_is_an_error_until_a_frame_succeeds(statistics):
    arrive(statistics)
    assert [statistics.failed("RuntimeError: no"), statistics.failed("RuntimeError: no")] == [1, 2]
    assert judge(statistics) == (ERROR, "inference failed 2 times in a row: RuntimeError: no")
    process(statistics)
    assert judge(statistics)[0] == OK
    assert value(statistics, "inference_failures") == "2"
    assert statistics.failed("again") == 1


def test_nobody_listening_is_said_and_is_no_fault(statistics):
    arrive(statistics)
    statistics.unwanted()
    assert judge(statistics)[0] == OK
    assert "nobody subscribes" in judge(statistics)[1]
    process(statistics)
    assert "nobody subscribes" not in judge(statistics)[1]


def test_a_time_jump_forgets_the_ages_measured_before_it(statistics):
    statistics.started()
    statistics.processed({"age_at_input": 1e6, "age_at_publish": 1e6, "infer": 0.1}, 0.1, 0)
    statistics.irregular("stamp_back")
    keys = dict(statistics.report(LIMITS).values)
    assert "age_at_input_ms_p50" not in keys
    assert "infer_ms_p50" in keys


SECOND = 1_000_000_000


def test_stamps_zero_future_and_back_are_named():
    check = StampCheck()
    now = 1000 * SECOND
    assert check.problem(now, now) is None
    assert check.problem(now, now) is None, "a repeated stamp is no jump"
    assert check.problem(now + SECOND, now) == "stamp_future"
    assert check.problem(now - 10 * SECOND, now) == "stamp_back"
    assert check.problem(now - 9 * SECOND, now) is None, "after a jump the new time counts"
    assert check.problem(0, now) == "stamp_zero"
    assert check.problem(-5, now) == "stamp_zero"
    assert check.problem(now + SECOND // 10, now) is None, "clocks of two machines differ a little"
