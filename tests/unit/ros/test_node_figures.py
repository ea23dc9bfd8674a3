"""The arithmetic of the node's benchmarks: growth, where frames went, overhead."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "docs/benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    """Import a benchmark's module, as its folder's scripts import each other."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_growth_is_that_of_the_line_and_not_of_an_odd_sample(benchmark_module):
    growth = benchmark_module("soak").growth
    seconds = list(range(100))
    steady = [500.0] * 100
    steady[40] = 900.0
    assert growth(seconds, steady)["growth_percent"] == 0.0
    rising = [500.0 + t for t in seconds]
    rising[-1] = 0.0
    figures = growth(seconds, rising)
    assert figures["growth_percent"] == pytest.approx(100 * 99 / 548.5, rel=0.02)
    assert (figures["least"], figures["most"]) == (0.0, 598.0)


def test_every_frame_is_accounted_for(benchmark_module):
    account = benchmark_module("soak").account
    counts = {"received": 90, "processed": 40, "dropped": 44, "unwanted": 1, "rejected": 2, "inference_failures": 1}
    told = account(100, counts | {"lost_in_transport": 7})
    assert told["unexplained"] == 2
    assert told["missed"] == 3
    told = account(100, counts | {"lost_in_transport": 7, "overwritten_before_callback": 2})
    assert (told["overwritten"], told["missed"]) == (2, 1)


def test_a_process_is_looked_at_from_outside(benchmark_module, tmp_path):
    figures = benchmark_module("soak").process_figures
    before = figures(os.getpid())
    assert before["resident_mb"] > before["anonymous_mb"] > 1
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with (tmp_path / "file").open("w"):
        after = figures(os.getpid())
    stop.set()
    thread.join()
    assert after["threads"] == before["threads"] + 1
    assert after["open_files"] == before["open_files"] + 1


def test_overhead_is_counted_frame_by_frame(benchmark_module):
    report = benchmark_module("node_overhead").report
    # A slow network in one frame, a slow publisher in another: percentiles of differences, not the reverse.
    row = {"infer.infer": 0.05, "infer": 0.06, "age_at_input": 0.002, "total": 0.07, "age_at_publish": 0.075}
    slow_network = row | {"infer.infer": 0.5, "infer": 0.51, "age_at_publish": 0.525, "total": 0.52}
    floor = [{"kind": k, "age_at_input": 0.002, "fill": 0.001, "publish": p, "age_at_publish": 0.01} for k, p in
             (("messages", 0.004), ("serialised", 0.003)) for _ in range(10)]  # fmt: skip
    result = report([row, slow_network] * 10, floor)
    assert result["overhead_ms"]["p50"] == pytest.approx(25.0)
    assert result["overhead_without_predict_ms"]["p99"] == pytest.approx(15.0)
    assert result["stages_ms"]["waiting"]["p50"] == pytest.approx(3.0)
    assert result["floor"]["messages"]["publish"]["p50"] == pytest.approx(4.0)
    assert result["floor"]["serialised"]["publish"]["p50"] == pytest.approx(3.0)
