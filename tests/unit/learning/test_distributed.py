"""Two processes that share a batch train like one process that has all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from densemtl_core.learning.pace import PACE_FIGURES
from densemtl_core.learning.state_files import read_state

RUN = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
import torch
from torch import nn
from lightning.fabric import Fabric
from densemtl_core.learning.optimisation import Optimisation
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.learning.trainer import RunSettings, Trainer
from densemtl_core.tasks import make_tasks
from test_trainer import Noise
torch.set_num_threads(1)
# Their losses are plain means over pixels, so a batch's is the mean of its halves'; berHu and the edges' weights look
# at what is in a process's own share.
TASKS = make_tasks(["semantic", "normals"], num_classes=4)

class Small(nn.Module):
    # Without batch normalisation, whose statistics are those of a process's own share of the batch.
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout({dropout}))
        self.heads = nn.ModuleDict({{t.name: nn.Conv2d(8, t.channels, 1) for t in TASKS}})

    def forward(self, image):
        x = self.encoder(image)
        return {{name: [head(x)] for name, head in self.heads.items()}}

several = "ddp_find_unused_parameters_true"  # as the command does
fabric = Fabric(accelerator="cpu", devices={devices}, strategy=several if {devices} > 1 else "auto")
fabric.launch()
torch.manual_seed(0)
settings = RunSettings(steps=4, batch=4, workers=0, log_every=1, checkpoint_every=2)
# plain descent: Adam would turn the last digits of a tiny gradient into its sign
how = Optimisation(optimiser="sgd", lr=0.1, encoder_lr=0.1)
trainer = Trainer(fabric, Small(), SupervisedObjective(TASKS), settings, how, Path({folder!r}))
torch.manual_seed(fabric.global_rank)  # dropout differs between processes
if {resume}:
    trainer.resume(Path({folder!r}) / "checkpoints/step_00000002")

class Partly(Noise):
    # The second process finds no normals in its share.
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        if fabric.global_rank == 1:
            sample.labels.pop("normals")
        return sample

trainer.fit(Partly() if {partly} else Noise())
"""
HERE = str(Path(__file__).parent)


def train(
    folder: Path, devices: int, dropout: float = 0.0, resume: bool = False, partly: bool = False
) -> list[dict[str, float]]:
    script = folder.with_suffix(".py")
    script.write_text(
        RUN.format(here=HERE, devices=devices, folder=str(folder), dropout=dropout, resume=resume, partly=partly)
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=240)
    records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in PACE_FIGURES} for r in records]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    one, two = (train(tmp_path / f"on_{devices}", devices) for devices in (1, 2))
    assert [r["step"] for r in two] == [1, 2, 3, 4]
    for a, b in zip(one, two, strict=True):
        assert {k: b[k] for k in ("loss", "semantic", "normals")} == pytest.approx(
            {k: a[k] for k in ("loss", "semantic", "normals")}, rel=1e-5
        )
    weights = [read_state(tmp_path / f"on_{n}/checkpoints/step_00000004")["model"] for n in (1, 2)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_task_that_one_process_has_no_labels_of_is_the_mean_of_the_others(tmp_path):
    """Its figures have other names; reducing them one by one would pair up different ones, or wait for ever."""
    for record in train(tmp_path / "run", 2, partly=True):
        assert set(record) == {"step", "loss", "semantic", "normals"}
        # Both lose semantic, one of them normals: its figure is that one's, not half of it.
        assert record["loss"] == pytest.approx(record["semantic"] + record["normals"] / 2, rel=1e-5)


@pytest.mark.slow
def test_every_process_goes_on_with_its_own_random_numbers(tmp_path):
    whole = train(tmp_path / "run", 2, dropout=0.5)
    assert train(tmp_path / "run", 2, dropout=0.5, resume=True) == whole


JUDGE = """
import json, sys
sys.path.insert(0, {here!r})
from pathlib import Path
import torch
from lightning.fabric import Fabric
from torch.utils.data import Subset
from densemtl_core.data.sample import collate
from densemtl_core.learning.evaluation import gather_metrics, judge
from densemtl_core.models import build_model
from test_trainer import TASKS, Noise
torch.set_num_threads(1)
fabric = Fabric(accelerator="cpu", devices={devices}, strategy="ddp" if {devices} > 1 else "auto")
fabric.launch()
torch.manual_seed(0)
model = build_model("densemtl_edge_s", TASKS)
part = range(fabric.global_rank, 5, fabric.world_size)  # three samples and two
metrics = judge(model, TASKS, [collate([Noise()[i]]) for i in part])
gather_metrics(fabric, metrics)
scores = {{name: metric.compute() for name, metric in metrics.items()}}
Path({folder!r}, f"{{fabric.world_size}}_{{fabric.global_rank}}.json").write_text(json.dumps(scores))
"""


@pytest.mark.slow
def test_two_processes_judge_like_one(tmp_path):
    for devices in (1, 2):
        script = tmp_path / f"judge_{devices}.py"
        script.write_text(JUDGE.format(here=HERE, devices=devices, folder=str(tmp_path)))
        subprocess.run([sys.executable, str(script)], check=True, timeout=240)
    one, first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("1_0", "2_0", "2_1"))
    assert set(one) == {"semantic", "depth", "normals", "edges"}
    assert first == second == one, "to the last bit, on every process"
