"""A slow network sees the newest frame, and nothing else waits for it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from camera_rig import picture
from fake_predictor import FakePredictor
from rcl_interfaces.srv import GetParameters
from rclpy.duration import Duration
from test_malformed import good_frame_is_right


def test_frames_that_were_overtaken_are_dropped_and_the_newest_is_computed(start_rig):
    permits = threading.Semaphore(0)
    seen = []

    def wait(image):
        seen.append(int(image[0, 0, 0]))
        assert permits.acquire(timeout=20)

    rig = start_rig(FakePredictor(before=wait))
    rig.activate("depth/image")
    for number in range(6):
        rig.camera.publish(rig.message(np.full((48, 64, 3), number, np.uint8)))
        rig.until(lambda n=number: rig.count("received") == n + 1, "the frame arrives")
        if number == 0:
            rig.until(rig.predictor.in_progress.is_set, "the first frame is in work")
    assert rig.count("dropped") == 4
    for results in (1, 2):
        permits.release()
        rig.until(lambda n=results: len(rig.received["depth/image"]) == n, f"result {results}")
    rig.until(lambda: rig.count("processed") == 2, "two frames counted")
    assert seen == [0, 5]
    assert rig.count("received") == rig.count("processed") + rig.count("dropped")


def test_a_result_is_never_older_than_one_frame_and_one_inference(start_rig):
    delay, period, frames = 0.12, 1 / 30, 60
    rig = start_rig(FakePredictor(delay=delay))
    rig.activate("depth/image")
    ages = []
    begin = time.monotonic()
    for number in range(frames):
        rig.until(lambda n=number: time.monotonic() >= begin + n * period, "the next frame is due")
        rig.camera.publish(rig.message(picture(240, 320)))
    rig.until(lambda: rig.count("processed") + rig.count("dropped") == rig.count("received"), "the last frame")
    ages = [float(rig.values()[f"age_at_publish_ms_{p}"]) / 1e3 for p in ("p50", "p99")]
    # Half an inference of grace for a busy machine; a queue of one stale frame would cost a whole one.
    assert ages[0] < period + 1.5 * delay
    assert ages[1] < period + 2.5 * delay
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in rig.received["depth/image"]]
    assert stamps == sorted(set(stamps)), "results are in order and never repeated"
    assert rig.count("dropped") > rig.count("processed") > frames * period / delay * 0.7


def test_max_rate_holds_and_takes_the_newest(start_rig):
    rig = start_rig(max_rate=10.0)
    rig.activate("depth/image")
    begin = time.monotonic()
    for number in range(60):
        rig.until(lambda n=number: time.monotonic() >= begin + n / 60, "the next frame is due")
        rig.camera.publish(rig.message(picture()))
    took = time.monotonic() - begin
    assert rig.count("processed") <= took * 10 + 1
    assert rig.count("processed") >= took * 10 * 0.6
    # A higher limit takes effect at once.
    assert rig.set_parameters(max_rate=0.0) == [""]
    good_frame_is_right(rig)


def test_the_callback_hands_a_720p_frame_over_in_less_than_a_millisecond(start_rig):
    rig = start_rig(FakePredictor(delay=0.02))
    rig.activate("depth/image")
    message = rig.message(picture(720, 1280), "bgr8")
    for number in range(40):
        rig.camera.publish(message)
        rig.until(lambda n=number: len(rig.received["depth/image"]) == n + 1, "the result")
    assert float(rig.values()["hand_over_ms_p50"]) < 1.0


def test_services_parameters_and_diagnostics_answer_while_the_worker_is_busy(start_rig):
    release = threading.Event()
    rig = start_rig(FakePredictor(before=lambda image: release.wait(30)))
    rig.activate("depth/image")
    rig.camera.publish(rig.message(picture()))
    rig.until(rig.predictor.in_progress.is_set, "the frame is in work")
    times = []
    for _ in range(20):
        begin = time.monotonic()
        assert rig.state() == "active"
        rig.call(GetParameters, "get_parameters", GetParameters.Request(names=["max_rate"]))
        times.append(time.monotonic() - begin)
    assert rig.set_parameters(max_rate=5.0) == [""]
    already = len(rig.statuses)
    rig.until(lambda: len(rig.statuses) >= already + 2, "two more statuses")
    assert np.median(times) < 0.25
    assert rig.received["depth/image"] == []
    release.set()
    rig.until(lambda: rig.received["depth/image"], "the frame that was in work")


def test_deactivation_waits_for_the_frame_in_work_and_publishes_nothing_after(start_rig):
    ended = []

    def end_only_after_the_request_to_stop(image):
        worker = rig.node._worker
        while not worker.stopping:
            threading.Event().wait(0.005)
        ended.append(rig.state_without_asking())

    rig = start_rig(FakePredictor(before=end_only_after_the_request_to_stop))
    rig.activate("depth/image")
    rig.camera.publish(rig.message(picture()))
    rig.until(rig.predictor.in_progress.is_set, "the frame is in work")
    assert rig.transition("deactivate")
    assert ended == ["deactivating"]
    assert rig.count("processed") == 0
    rig.predictor.before = None
    assert rig.transition("activate")
    rig.connect("depth/image")
    good_frame_is_right(rig)
    assert len(rig.received["depth/image"]) == 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_frames(start_rig):
    rig = start_rig()
    rig.activate("semantic/image", "depth/image")
    message = rig.message(picture(480, 640))
    sizes = []
    for _ in range(3):
        for _ in range(200):
            rig.camera.publish(message)
            rig.until(lambda: rig.received["semantic/image"] and rig.received["depth/image"], "a result")
            rig.received.clear()
        sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
    # One leaked VGA frame in a hundred would be more than this.
    assert sizes[2] - sizes[1] < 200 * 480 * 640 * 3 / 100


def test_diagnostics_go_on_while_simulated_time_stands_still(start_rig):
    rig = start_rig(use_sim_time=True)
    assert rig.node.get_clock().now().nanoseconds == 0
    rig.until(lambda: len(rig.statuses) >= 2, "two statuses")


def test_frames_that_the_middleware_replaced_before_the_node_took_them_are_counted(start_rig):
    """With a queue of one, what arrives while the executor is busy replaces what came before: no frame may vanish."""
    rig = start_rig()
    rig.activate("depth/image")
    rig.camera.publish(rig.message(picture()))
    rig.until(lambda: rig.count("received") == 1, "the first frame")
    busy, go_on = threading.Event(), threading.Event()
    callback = rig.node.create_guard_condition(lambda: (busy.set(), go_on.wait(10)))
    callback.trigger()
    assert busy.wait(10)
    for seed in range(5):
        rig.camera.publish(rig.message(picture(seed=seed)))
    assert rig.camera.wait_for_all_acked(Duration(seconds=10))
    go_on.set()
    rig.until(
        lambda: rig.count("received") + rig.count("overwritten_before_callback") == 6, "all six are accounted for"
    )
    assert rig.count("overwritten_before_callback") >= 1
    assert rig.count("lost_in_transport") == 0
