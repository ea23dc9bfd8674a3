"""The place where the newest frame wins, and the thread that empties it."""

from __future__ import annotations

import threading
import time

import pytest
from densemtl_ros.frame_slot import FrameSlot
from densemtl_ros.worker import Worker


def test_a_newer_item_replaces_one_that_waits_and_is_counted():
    slot = FrameSlot()
    assert [slot.put(n) for n in range(3)] == [False, True, True]
    assert slot.take() == 2
    assert (slot.received, slot.taken, slot.dropped) == (3, 1, 2)


def test_take_gives_each_item_once_and_none_when_time_is_over():
    slot = FrameSlot()
    slot.put("a")
    assert slot.take() == "a"
    assert slot.take(timeout=0.01) is None
    assert slot.taken == 1


def test_take_waits_for_an_item_of_another_thread():
    slot = FrameSlot()
    got = []
    taker = threading.Thread(target=lambda: got.append(slot.take(timeout=10)))
    taker.start()
    slot.put("late")
    taker.join(10)
    assert got == ["late"]


def test_close_wakes_takers_drops_what_waits_and_refuses_more():
    slot = FrameSlot()
    got = []
    taker = threading.Thread(target=lambda: got.append(slot.take()))
    taker.start()
    slot.close()
    taker.join(10)
    assert got == [None]
    assert slot.put("after") is False
    assert slot.take() is None
    assert slot.received == 0


def test_counts_hold_under_many_threads():
    slot = FrameSlot()
    taken = []

    def take():
        while (item := slot.take()) is not None:
            taken.append(item)

    taker = threading.Thread(target=take)
    taker.start()
    putters = [
        threading.Thread(target=lambda base=base: [slot.put(base + n) for n in range(500)]) for base in (1, 1001)
    ]
    for thread in putters:
        thread.start()
    for thread in putters:
        thread.join(10)
    deadline = time.monotonic() + 10
    while slot.taken + slot.dropped < 1000 and time.monotonic() < deadline:
        threading.Event().wait(0.001)
    slot.close()
    taker.join(10)
    assert slot.received == 1000
    assert slot.taken == len(taken) == len(set(taken))
    assert slot.taken + slot.dropped == 1000


def test_worker_handles_the_newest_item_and_skips_those_overtaken():
    slot, handled, begun, go_on, done = FrameSlot(), [], threading.Event(), threading.Event(), threading.Event()

    def handle(item):
        handled.append(item)
        begun.set()
        assert go_on.wait(10)
        if item == 4:
            done.set()

    worker = Worker(slot, handle)
    worker.start()
    slot.put(0)
    assert begun.wait(10)
    for item in range(1, 5):
        slot.put(item)
    go_on.set()
    assert done.wait(10)
    assert worker.stop(timeout=10)
    assert handled == [0, 4]
    assert slot.dropped == 3


def test_worker_says_when_the_call_in_progress_does_not_end():
    slot, begun, release = FrameSlot(), threading.Event(), threading.Event()

    def stuck(item):
        begun.set()
        release.wait(20)

    worker = Worker(slot, stuck)
    worker.start()
    slot.put("frame")
    assert begun.wait(10)
    assert worker.stop(timeout=0.05) is False
    assert worker.stopping
    release.set()
    assert worker.stop(timeout=10)


def test_worker_keeps_the_interval_and_stops_at_once_while_waiting():
    slot, starts, two = FrameSlot(), [], threading.Event()

    def handle(item):
        starts.append(time.monotonic())
        if len(starts) == 2:
            two.set()
        slot.put("next")

    interval = [0.1]
    worker = Worker(slot, handle, lambda: interval[0])
    worker.start()
    slot.put("first")
    assert two.wait(10)
    interval[0] = 60.0
    assert starts[1] - starts[0] >= 0.1
    assert worker.stop(timeout=5)


def test_worker_that_never_got_an_item_stops():
    worker = Worker(FrameSlot(), pytest.fail)
    worker.start()
    assert worker.stop(timeout=10)
