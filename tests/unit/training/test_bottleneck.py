"""What a run is told about its own speed."""

from __future__ import annotations

import logging
import re

import pytest

from training.bottleneck import bottleneck, pace_text
from training.progress import ProgressLine


@pytest.mark.parametrize(
    ("waiting", "loading", "machine", "told"),
    [
        (0.4, 0.4, {"loaders": 0, "threads": 2, "cores": 2}, "bound by data.*run.workers=1"),
        (0.4, 0.4, {"loaders": 0, "threads": 1, "cores": 1}, "bound by data, and no core is free; data.cache"),
        (0.4, 1.0, {"loaders": 1, "threads": 1, "cores": 8}, "bound by data; 6 of 8 cores are free"),
        (0.4, 1.0, {"loaders": 1, "threads": 1, "cores": 2}, "bound by data, and no core is free; data.cache"),
        (0.4, 1.0, {"loaders": 1, "threads": 1, "cores": 2, "cached": True}, "bound by data; every sample's first"),
        (0.4, 1.0, {"loaders": 2, "threads": 8, "cores": 8, "gpu": True}, "bound by data; 5 of 8 cores are free"),
        (0.0, 0.9, {"loaders": 1, "threads": 1, "cores": 2}, "bound by the network$"),
        (0.0, 0.02, {"loaders": 1, "threads": 1, "cores": 2}, "bound by the network; loading takes 2 %.*--threads 2"),
        (0.0, 0.02, {"loaders": 1, "threads": 2, "cores": 2}, "bound by the network$"),
        (0.0, 0.02, {"loaders": 1, "threads": 1, "cores": 2, "gpu": True}, "bound by the network$"),
    ],
)
def test_the_line(waiting, loading, machine, told):
    line = bottleneck({"waiting": waiting, "loading": loading}, **machine)
    assert re.match(told, line), line


def test_progress_tells_speed_and_waiting(caplog):
    record = {"step": 20, "loss": 1.5, "steps_per_second": 2.0, "images_per_second": 16.04, "waiting": 0.034,
              "loading": 0.6}  # fmt: skip
    with caplog.at_level(logging.INFO, logger="densemtl.train"):
        ProgressLine(100).show(record)
    assert caplog.messages == ["step 20/100  loss 1.500  2.00 it/s, 16.0 images/s, waiting for data 3 %"]
    assert pace_text({"images_per_second": 0.26, "waiting": 1.0}) == "0.3 images/s, waiting for data 100 %"
