"""The place where each camera's newest frame wins, and the thread that empties it in turn."""

from __future__ import annotations

import threading
import time

import pytest
from densemtl_ros.frame_slot import FrameSlot
from densemtl_ros.worker import Worker


def test_a_newer_item_replaces_one_that_waits_and_is_counted():
    slot = FrameSlot()
    assert [slot.put("", n) for n in range(3)] == [False, True, True]
    assert slot.take() == [("", 2)]
    assert (slot.received, slot.taken, slot.dropped) == (3, 1, 2)


def test_cameras_do_not_replace_each_others_items():
    slot = FrameSlot(most=2)
    assert [slot.put(*item) for item in (("front", 1), ("rear", 2), ("front", 3))] == [False, False, True]
    assert slot.take() == [("front", 3), ("rear", 2)]
    assert slot.dropped == 1


def test_take_gives_each_item_once_and_nothing_when_time_is_over():
    slot = FrameSlot()
    slot.put("", "a")
    assert slot.take() == [("", "a")]
    assert slot.take(timeout=0.01) == []
    assert slot.taken == 1


def test_take_waits_for_an_item_of_another_thread():
    slot = FrameSlot()
    got = []
    taker = threading.Thread(target=lambda: got.extend(slot.take(timeout=10)))
    taker.start()
    slot.put("", "late")
    taker.join(10)
    assert got == [("", "late")]


def test_close_wakes_takers_drops_what_waits_and_refuses_more():
    slot = FrameSlot()
    got = []
    taker = threading.Thread(target=lambda: got.append(slot.take()))
    taker.start()
    slot.close()
    taker.join(10)
    assert got == [[]]
    assert slot.put("", "after") is False
    assert slot.take() == []
    assert slot.received == 0


# Several cameras ------------------------------------------------------------------------------------------------------


def test_the_camera_that_was_served_longest_ago_comes_first():
    slot = FrameSlot()
    for camera in "abc":
        slot.put(camera, camera)
    order = []
    for _ in range(9):
        ((camera, _),) = slot.take()
        order.append(camera)
        slot.put("a", "a")  # the fast one is always there again ...
        slot.put("a", "a")
        slot.put(camera, camera)
    assert order == list("abcabcabc"), "... and has its turn, not more"


def test_a_fast_camera_waits_only_for_those_that_have_something():
    slot = FrameSlot()
    slot.put("slow", 0)
    slot.put("fast", 0)
    assert slot.take() == [("slow", 0)]
    for n in range(3):
        slot.put("fast", n)
        assert slot.take() == [("fast", n)], "the slow one is silent, and holds nobody"
    slot.put("fast", 3)
    slot.put("slow", 1)
    assert slot.take() == [("slow", 1)], "it was served longer ago, although its item is younger"


def test_at_most_so_many_are_taken_together_and_the_rest_comes_first_then():
    slot = FrameSlot(most=2)
    for camera in "abc":
        slot.put(camera, 0)
    assert [camera for camera, _ in slot.take()] == ["a", "b"]
    slot.put("a", 1)
    slot.put("b", 1)
    assert [camera for camera, _ in slot.take()] == ["c", "a"]
    assert [camera for camera, _ in slot.take()] == ["b"]
    assert slot.taken == 5


def test_only_items_that_are_alike_are_taken_together():
    slot = FrameSlot(most=4, alike=len)
    for camera, item in (("a", "xx"), ("b", "y"), ("c", "zz"), ("d", "w")):
        slot.put(camera, item)
    assert slot.take() == [("a", "xx"), ("c", "zz")]
    assert slot.take() == [("b", "y"), ("d", "w")]


def test_the_interval_holds_for_each_camera_alone():
    slot = FrameSlot(interval=lambda: 60.0)
    slot.put("a", 1)
    slot.put("a", 2)
    slot.put("b", 1)
    assert slot.take(timeout=5) == [("a", 2)]
    slot.put("a", 3)
    assert slot.take(timeout=5) == [("b", 1)], "another camera need not wait"
    assert slot.take(timeout=0.02) == [], "a camera that was just served must"
    assert slot.put("a", 4), "and its newest item is the one that waits"


def test_the_interval_ends_by_itself_and_may_change():
    interval = [0.05]
    slot = FrameSlot(interval=lambda: interval[0])
    slot.put("a", 1)
    began = time.monotonic()
    slot.take()
    slot.put("a", 2)
    assert slot.take(timeout=10) == [("a", 2)]
    assert time.monotonic() - began >= 0.05
    interval[0] = 60.0
    slot.put("a", 3)
    assert slot.take(timeout=0.01) == []
    interval[0] = 0.0
    assert slot.take(timeout=0.01) == [("a", 3)]


def test_counts_hold_under_many_threads():
    slot = FrameSlot(most=2)
    taken = []

    def take():
        while items := slot.take():
            taken.extend(items)

    taker = threading.Thread(target=take)
    taker.start()
    putters = [threading.Thread(target=lambda c=camera: [slot.put(c, n) for n in range(500)]) for camera in "abc"]
    for thread in putters:
        thread.start()
    for thread in putters:
        thread.join(10)
    deadline = time.monotonic() + 10
    while slot.taken + slot.dropped < 1500 and time.monotonic() < deadline:
        threading.Event().wait(0.001)
    slot.close()
    taker.join(10)
    assert slot.received == 1500
    assert slot.taken == len(taken) == len(set(taken))
    assert slot.taken + slot.dropped == 1500
    for camera in "abc":
        assert [n for c, n in taken if c == camera] == sorted({n for c, n in taken if c == camera})
        assert (camera, 499) in taken, "the newest is never lost"


# The worker -----------------------------------------------------------------------------------------------------------


def test_worker_handles_the_newest_item_and_skips_those_overtaken():
    slot, handled, begun, go_on, done = FrameSlot(), [], threading.Event(), threading.Event(), threading.Event()

    def handle(items):
        handled.extend(items)
        begun.set()
        assert go_on.wait(10)
        if items == [("", 4)]:
            done.set()

    worker = Worker(slot, handle)
    worker.start()
    slot.put("", 0)
    assert begun.wait(10)
    for item in range(1, 5):
        slot.put("", item)
    go_on.set()
    assert done.wait(10)
    assert worker.stop(timeout=10)
    assert handled == [("", 0), ("", 4)]
    assert slot.dropped == 3


def test_worker_says_when_the_call_in_progress_does_not_end():
    slot, begun, release = FrameSlot(), threading.Event(), threading.Event()

    def stuck(items):
        begun.set()
        release.wait(20)

    worker = Worker(slot, stuck)
    worker.start()
    slot.put("", "frame")
    assert begun.wait(10)
    assert worker.stop(timeout=0.05) is False
    assert worker.stopping
    release.set()
    assert worker.stop(timeout=10)


def test_worker_stops_at_once_while_a_camera_must_wait():
    once = threading.Event()
    slot = FrameSlot(interval=lambda: 60.0)
    worker = Worker(slot, lambda items: once.set())
    worker.start()
    slot.put("", "first")
    assert once.wait(10)
    slot.put("", "second")
    assert worker.stop(timeout=5)
    assert slot.taken == 1


def test_worker_that_never_got_an_item_stops():
    worker = Worker(FrameSlot(), pytest.fail)
    worker.start()
    assert worker.stop(timeout=10)
