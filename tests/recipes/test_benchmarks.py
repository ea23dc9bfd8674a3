"""The benchmark scripts run, and the claims of the README that do not depend on a quiet machine hold."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs/benchmarks"


@pytest.fixture(scope="module")
def network():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)  # where the scripts find each other when they are run
        return importlib.import_module("network")


@pytest.mark.slow
def test_attention_needs_a_tenth_of_the_explicit_matrix(network):
    report = network.attention(repeats=1)
    assert report["max_difference"] < 1e-5
    assert report["extra_peak_MiB"]["explicit"] > 250, "the explicit form holds no n x n matrix: no test"
    assert report["memory_ratio"] <= 0.1


def test_sizes_of_the_presets(network):
    sizes = network.sizes()
    assert sizes["densemtl_edge_s"]["gflop"] <= 25
    assert sizes["densemtl_r101"]["gflop"] == pytest.approx(2748, rel=0.01)
