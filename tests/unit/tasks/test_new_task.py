"""Two tasks of somebody else's: one class each, and nothing else in the package changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import Dataset

from densemtl_core.data.sample import Sample
from densemtl_core.data.street import StreetWorld
from densemtl_core.learning.evaluation import evaluate
from densemtl_core.learning.optimisation import Optimisation
from densemtl_core.learning.run_files import read_history
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.learning.trainer import RunSettings, Trainer
from densemtl_core.metrics import Metric
from densemtl_core.models import ModelDescription, build_model
from densemtl_core.runtime import Predictor
from densemtl_core.tasks import Output, Task, make_tasks, masked_mean, register
from deploy.bundling import package


class AbsoluteError(Metric):
    primary = "MAE"
    higher_is_better = False

    def __init__(self) -> None:
        self.total, self.pixels = 0.0, 0

    def update(self, prediction: Tensor, label: Tensor) -> None:
        known = ~label.isnan()
        self.total += float((prediction - label)[known].abs().sum())
        self.pixels += int(known.sum())

    def compute(self) -> dict[str, float]:
        return {"MAE": self.total / self.pixels if self.pixels else float("nan")}


@register
@dataclass(frozen=True)
class PaintTask(Task):
    """Surface colour without light."""

    kind: ClassVar[str] = "paint"
    picture: ClassVar[str] = "rgb"
    name: str = "paint"

    @property
    def channels(self) -> int:
        return 3

    def outputs(self) -> tuple[Output, ...]:
        return (Output(self.name, 3, "float32", "linear RGB"),)

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        return {self.name: raw.sigmoid()}

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        known = ~label.isnan()
        return masked_mean((self.resize(raw, label.shape[-2:]).sigmoid() - label.nan_to_num()).abs(), known, weight)

    def metric(self) -> Metric:
        return AbsoluteError()


@register
@dataclass(frozen=True)
class ClearanceTask(Task):
    """Distance to the nearest edge, in shares of the image height."""

    kind: ClassVar[str] = "clearance"
    picture: ClassVar[str] = "scalar"
    name: str = "clearance"

    @property
    def channels(self) -> int:
        return 1

    def outputs(self) -> tuple[Output, ...]:
        return (Output(self.name, 1, "float32", "image heights"),)

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        return {self.name: raw[:, 0].relu()}

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        raw = self.resize(raw, label.shape[-2:])
        return masked_mean((raw - label.nan_to_num()).abs(), ~label.isnan(), weight)

    def metric(self) -> Metric:
        return AbsoluteError()

    def picture_options(self) -> dict[str, float]:
        return {"low": 0.0, "high": 0.5}


def clearance(edges: Tensor) -> Tensor:
    import cv2

    maps = [cv2.distanceTransform((e[0].numpy() == 0).astype(np.uint8), cv2.DIST_L2, 3) for e in edges]
    return torch.from_numpy(np.stack(maps))[:, None] / edges.shape[-2]


@pytest.fixture(scope="module")
def batch() -> Sample:
    sample = StreetWorld(seed=1, split="train", size=(64, 96), style="sim").batch(range(4))
    labels = {**sample.labels, "paint": sample.labels["albedo"], "clearance": clearance(sample.labels["edges"])}
    return Sample(sample.image, labels, sample.intrinsics, sample.name)


class Again(Dataset[Sample]):
    """A data set of one batch."""

    def __init__(self, whole: Sample) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole.image)

    def batch(self, indices: list[int]) -> Sample:
        return Sample(self.whole.image[indices], {k: v[indices] for k, v in self.whole.labels.items()})


def test_six_tasks_walk_the_whole_way(batch, tmp_path):
    """Network, losses, training, metrics, bundle, predictor, picture: with two tasks it never heard of."""
    torch.manual_seed(0)
    kinds = ["semantic", {"kind": "depth", "encoding": "log"}, "normals", "edges", "paint", "clearance"]
    tasks = make_tasks(kinds, num_classes=19)
    model = build_model("densemtl_edge_s", tasks)
    run = RunSettings(steps=12, batch=4, workers=0, log_every=1, checkpoint_every=12)
    fabric = Fabric(accelerator="cpu", devices=1)
    Trainer(fabric, model, SupervisedObjective(tasks), run, Optimisation(), tmp_path / "run").fit(Again(batch))
    history = read_history(tmp_path / "run")
    for name in ("paint", "clearance"):
        assert history[-1][name] < history[0][name]
    scores = evaluate(model, tasks, [batch])
    assert set(scores) == {t.name for t in tasks}
    assert all(np.isfinite(scores[n]["MAE"]) for n in ("paint", "clearance"))

    description = ModelDescription("densemtl_edge_s", tasks, (64, 96))
    bundle = package(model, description, tmp_path / "six.bundle")
    predictor = Predictor(bundle.path)
    predictions = predictor.predict(np.zeros((50, 70, 3), np.uint8))
    assert predictions["paint"].shape == (50, 70, 3)
    assert predictions["clearance"].shape == (50, 70)
    assert predictions.unit("clearance") == "image heights"
    for name in tasks:
        assert predictions.paint(name.name).shape == (50, 70, 3)
