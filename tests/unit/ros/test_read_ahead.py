"""Reading ahead keeps the order, the bound and the loop, and reports what ended it."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from densemtl_ros.frame_sources import Frame
from densemtl_ros.read_ahead import ReadAhead

from densemtl_core.errors import InputError


class Numbers:
    """A source of numbered frames."""

    title, rate = "numbers", 10.0

    def __init__(self, count, fail_at=None, gate=None):
        self.count, self.fail_at, self.gate = count, fail_at, gate
        self.skipped = []
        self.given = 0

    @property
    def looks_ahead(self):
        return self.gate is not None

    def cancel(self):
        self.gate.set()

    def prepare(self):
        if self.gate is not None:
            assert self.gate.wait(10)

    def __iter__(self):
        for number in range(self.count):
            if number == self.fail_at:
                raise InputError("the disk is gone")
            self.given += 1
            yield Frame(np.full((1, 1, 3), number, np.uint8), None, float(number))


@pytest.fixture
def start():
    readers = []

    def make(*args, **options):
        readers.append(ReadAhead(*args, **options))
        return readers[-1]

    yield make
    for reader in readers:
        reader.stop()
        assert not reader._thread.is_alive()


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited 10 s"
        time.sleep(0.001)


def take(reader, count):
    taken = []
    while len(taken) < count:
        frame = reader.take()
        if frame is None:
            assert not reader.finished, f"only {len(taken)} of {count} frames"
            time.sleep(0.001)
        else:
            taken.append(int(frame.rgb[0, 0, 0]))
    return taken


def test_every_frame_once_in_order_then_finished(start):
    reader = start(Numbers(20), depth=3)
    assert take(reader, 20) == list(range(20))
    until(lambda: reader.finished)
    assert reader.take() is None
    assert reader.error is None


def test_loop_begins_again(start):
    reader = start(Numbers(3), loop=True)
    assert take(reader, 8) == [0, 1, 2, 0, 1, 2, 0, 1]
    assert not reader.finished


def test_no_more_than_depth_ahead(start):
    source = Numbers(100)
    reader = start(source, depth=4)
    until(lambda: source.given == 5)  # four waiting, the fifth in hand
    take(reader, 1)
    until(lambda: source.given == 6)
    assert source.given == 6


def test_not_ready_before_prepared(start):
    gate = threading.Event()
    reader = start(Numbers(1, gate=gate))
    assert not reader.ready
    assert not reader.finished
    gate.set()
    until(lambda: reader.ready)


def test_error_comes_after_the_frames_before_it(start):
    reader = start(Numbers(5, fail_at=2))
    assert take(reader, 2) == [0, 1]
    until(lambda: reader.finished)
    assert isinstance(reader.error, InputError)


def test_a_loop_over_nothing_ends(start):
    reader = start(Numbers(0), loop=True)
    until(lambda: reader.finished)
    assert "no frame can be read any more" in str(reader.error)


def test_stop_while_full(start):
    source = Numbers(100)
    reader = start(source, loop=True, depth=2)
    until(lambda: source.given == 3)
    reader.stop()
    assert not reader._thread.is_alive()


def test_stop_cancels_what_is_made_beforehand():
    gate = threading.Event()
    reader = ReadAhead(Numbers(3, gate=gate))
    assert not reader.ready
    reader.stop()
    assert gate.is_set()
    assert not reader._thread.is_alive()
    assert reader._source.given == 0
