"""How many threads a network takes where nobody says."""

from __future__ import annotations

import pytest

from training import train
from training.settings import read_settings


@pytest.mark.parametrize(
    ("config", "workers", "cores", "threads"),
    [
        ("street_first", 1, 8, 7),
        ("street_first", 0, 8, 8),
        ("street_first", 1, 1, 1),
        ("sim_to_real", 1, 8, 6),  # two data sets are loaded
    ],
)
def test_loading_keeps_its_cores(config, workers, cores, threads, monkeypatch):
    monkeypatch.setattr(train, "THREADS", cores)
    monkeypatch.setattr(train.torch, "get_num_threads", lambda: cores)
    settings = read_settings(f"training/configs/{config}.yaml", [f"run.workers={workers}"])
    assert train._free_threads(settings) == threads
    monkeypatch.setattr(train.torch, "get_num_threads", lambda: 1)
    assert train._free_threads(settings) == 1  # set by whoever calls
