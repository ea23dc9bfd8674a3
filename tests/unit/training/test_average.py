"""Networks between two: the mean of both, refused where there is none."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.learning.checkpoint import load_checkpoint, save_checkpoint
from densemtl_core.models import ModelDescription, build_model
from densemtl_core.tasks import make_tasks
from training.average import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, tasks in (
        ("one", ["depth"]),
        ("two", ["depth"]),
        ("other", ["normals"]),
        ("near", [{"kind": "depth", "canonical_focal": 180.0}]),
    ):
        torch.manual_seed(len(name) + ord(name[0]))
        made = make_tasks(tasks)
        model = build_model("densemtl_edge_s", made)
        model(torch.rand(2, 3, 64, 64))  # statistics of batch normalisation that differ
        save_checkpoint(folder / name, model, ModelDescription("densemtl_edge_s", tuple(made), (64, 96)))
    return folder


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_value_is_the_mean_of_both(runs, tmp_path, share):
    out = tmp_path / "out"
    assert main([str(runs / "one"), str(runs / "two"), "--share", str(share), "--out", str(out)]) == 0
    (one, _), (two, _), (found, description) = (load_checkpoint(f) for f in (runs / "one", runs / "two", out))
    assert description.input_size == (64, 96)
    a, b = one.state_dict(), two.state_dict()
    assert any(not torch.equal(a[k], b[k]) for k in a if "running_mean" in k)
    for name, value in found.state_dict().items():
        expected = (1 - share) * a[name].double() + share * b[name].double() if value.is_floating_point() else b[name]
        torch.testing.assert_close(value.double(), expected.double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["one", "other", "--out", "new"],
            "one is of a task depth, other is of a task normals; give two of one path",
        ),
        (
            ["one", "near", "--out", "new"],
            "one is depth with canonical_focal 0.0, near is depth with canonical_focal 180.0",
        ),
        (["one", "two", "--share", "1.5", "--out", "new"], "--share is 1.5; give a number from 0"),
        (["one", "two", "--out", "one"], "exists already"),
        (["one", "none", "--out", "new"], "has no model.json"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(runs, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(runs)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (runs / "new").exists()
