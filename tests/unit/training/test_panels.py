"""The picture of a run: predictions beside labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densemtl_core import render
from densemtl_core.data.sample import Sample
from densemtl_core.models import build_model
from densemtl_core.tasks import make_tasks
from training.panels import sample_panel

BAR = 24


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    tasks = make_tasks(["semantic", "depth", "normals"], class_names=("a", "b"), palette=((255, 0, 0), (0, 0, 255)))
    return build_model("densemtl_edge_s", tasks), tasks


def sample(**labels: torch.Tensor) -> Sample:
    return Sample(torch.full((3, 32, 64), 0.5), labels, None, "x")


def cell(panel: np.ndarray, row: int, column: int) -> np.ndarray:
    return panel[row * (32 + BAR) + BAR : (row + 1) * (32 + BAR), column * 64 : (column + 1) * 64]


def test_a_row_a_sample_with_label_beside_prediction(network):
    model, tasks = network
    labelled = sample(semantic=torch.ones(32, 64, dtype=torch.int64), normals=torch.zeros(3, 32, 64) - 1.0)
    panel = sample_panel(model, tasks, [labelled, sample()], width=64)
    assert panel.dtype == np.uint8
    assert panel.shape == (2 * (32 + BAR), (1 + 3 + 2) * 64, 3)  # nobody has a depth label
    assert (cell(panel, 0, 0) == 128).all()
    assert (cell(panel, 0, 2) == (0, 0, 255)).all()
    assert (cell(panel, 1, 2) == 0).all()  # a label that only the other sample has
    predicted = cell(panel, 0, 1).reshape(-1, 3)
    assert {tuple(colour) for colour in np.unique(predicted, axis=0).tolist()} <= {(255, 0, 0), (0, 0, 255)}


def test_the_network_stays_in_its_mode_and_draws_nothing(network):
    model, tasks = network
    for training in (True, False):
        model.train(training)
        torch.manual_seed(3)
        before = torch.get_rng_state()
        statistics = {n: b.clone() for n, b in model.named_buffers()}
        sample_panel(model, tasks, [sample()])
        assert model.training is training
        assert torch.equal(torch.get_rng_state(), before)
        assert all(torch.equal(b, statistics[n]) for n, b in model.named_buffers())


def test_samples_of_several_sizes(network):
    model, tasks = network
    other = Sample(torch.rand(3, 48, 40), {}, None, "y")
    assert sample_panel(model, tasks, [sample(), other], width=64).shape == (2 * (32 + BAR), 4 * 64, 3)


def test_a_long_name_keeps_its_end(network, monkeypatch):
    titles: list[str] = []
    panel = render.panel

    def noted(cells, **how):
        titles.extend(title for title, _ in cells)
        return panel(cells, **how)

    monkeypatch.setattr(render, "panel", noted)
    model, tasks = network
    names = [f"/data/drives/a_long_name_of_a_drive/image_02/data/00000000{n:02}.png" for n in (12, 13)]
    samples = [Sample(torch.rand(3, 32, 64), {}, None, name) for name in (*names, "short")]
    picture = sample_panel(model, tasks, samples, width=256)
    first, second, short = titles[::4]
    assert (short, first == second) == ("short", False)
    assert first.startswith("...")
    assert first.endswith("0000000012.png")
    bar = picture[:BAR, :256]
    assert (bar[:, 8:248] != 24).any()
    assert (bar[:, 253:] == 24).all()  # it ends before the next picture's title
