"""How fast a run goes and how long it waits: by a clock that the test turns."""

from __future__ import annotations

import math

import pytest
from test_trainer import Noise

from densemtl_core.learning.batch_stream import batch_stream
from densemtl_core.learning.pace import PACE_FIGURES, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(pace: Pace, clock: Clock, waits: list[float], step: float) -> None:
    """Batches that are waited for, each followed by a step."""

    def batches():
        for number, wait in enumerate(waits):
            clock.now += wait
            yield number

    for _ in pace.watched(batches()):
        clock.now += step
        pace.step()


def test_shares_by_hand():
    clock = Clock()
    pace = Pace(images=8, loaders=2, clock=clock)
    run(pace, clock, [50.0, 1.0, 1.0], step=3.0)  # the first batch waits for its loaders to start: no pace
    figures = pace.figures(making=11.0)
    assert tuple(figures) == PACE_FIGURES
    assert figures["steps_per_second"] == pytest.approx(3 / 11)
    assert figures["images_per_second"] == pytest.approx(24 / 11)
    assert figures["waiting"] == pytest.approx(2 / 11)
    assert figures["loading"] == pytest.approx(11 / 22), "two processes had 22 seconds"


def test_a_record_tells_of_the_steps_since_the_last_one():
    clock = Clock()
    pace = Pace(images=4, loaders=1, clock=clock)
    run(pace, clock, [0.0, 0.0], step=1.0)
    assert pace.figures(making=1.0)["images_per_second"] == pytest.approx(4.0)
    run(pace, clock, [1.0, 1.0], step=1.0)
    figures = pace.figures(making=3.0)
    assert figures["images_per_second"] == pytest.approx(2.0)
    assert figures["waiting"] == pytest.approx(0.5)
    assert figures["loading"] == pytest.approx(0.5)
    assert figures["steps_per_second"] == pytest.approx(4 / 6), "since the start"
    whole = pace.summary()
    assert whole == pytest.approx({"images_per_second": 16 / 6, "waiting": 2 / 6, "loading": 3 / 6})


def test_a_checkpoint_is_no_training():
    clock = Clock()
    pace = Pace(images=1, loaders=0, clock=clock)
    for _ in pace.watched(range(2)):
        clock.now += 1.0
        pace.step()
        with pace.paused():
            clock.now += 60.0
    assert pace.figures()["images_per_second"] == pytest.approx(1.0)


def test_who_loads_itself_loads_while_it_waits():
    clock = Clock()
    pace = Pace(images=1, loaders=0, clock=clock)
    run(pace, clock, [0.0, 1.0], step=0.5)
    figures = pace.figures(making=1.0)
    assert figures["loading"] == figures["waiting"] == pytest.approx(0.5)


def test_before_any_step_there_is_nothing_to_tell():
    assert all(math.isfinite(v) and v == 0 for v in Pace(8, 1).figures().values())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_tells_what_its_batches_took(workers):
    stream = batch_stream(Noise(), 2, 0, range(3), workers=workers)
    assert stream.making == 0
    taken = []
    for _ in stream:
        taken.append(stream.making)
    assert taken == sorted(taken)
    assert taken[0] > 0
