from __future__ import annotations

import pytest
import torch

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint, save_checkpoint
from densemtl_core.learning.evaluation import evaluate
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.models import ModelDescription, build_model
from densemtl_core.tasks import make_tasks

TASKS = make_tasks(["semantic", {"kind": "depth", "encoding": "log"}, "normals", "edges"], num_classes=4)


def batch(seed: int = 0, without: tuple[str, ...] = ()) -> Sample:
    generator = torch.Generator().manual_seed(seed)
    labels = {
        "semantic": torch.randint(0, 4, (2, 32, 64), generator=generator),
        "depth": torch.rand(2, 1, 32, 64, generator=generator) * 50 + 1,
        "normals": torch.nn.functional.normalize(torch.randn(2, 3, 32, 64, generator=generator), dim=1),
        "edges": torch.randint(0, 2, (2, 1, 32, 64), generator=generator).float(),
    }
    return Sample(torch.rand(2, 3, 32, 64, generator=generator), {k: v for k, v in labels.items() if k not in without})


def make_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model("densemtl_edge_s", TASKS)


class TestSupervisedObjective:
    def test_is_the_weighted_sum_of_scale_means(self):
        objective = SupervisedObjective(TASKS, {"semantic": 100.0, "edges": 0.0})
        data = batch()
        outputs = {t.name: [torch.randn(2, t.channels, 16, 32), torch.randn(2, t.channels, 8, 16)] for t in TASKS}
        total, parts = objective(outputs, data)
        expected = {t.name: sum(t.loss(o, data.labels[t.name]) for o in outputs[t.name]) / 2 for t in TASKS}
        assert {k: v.item() for k, v in parts.items()} == pytest.approx({k: v.item() for k, v in expected.items()})
        assert total.item() == pytest.approx(
            (100 * expected["semantic"] + expected["depth"] + expected["normals"]).item(), rel=1e-5
        )

    def test_a_missing_label_adds_nothing(self):
        data = batch(without=("depth", "normals"))
        raw = {t.name: [torch.randn(2, t.channels, 16, 32, requires_grad=True)] for t in TASKS}
        total, parts = SupervisedObjective(TASKS)(raw, data)
        assert set(parts) == {"semantic", "edges"}
        total.backward()
        assert raw["depth"][0].grad is None
        assert raw["edges"][0].grad.any()

    @pytest.mark.parametrize("weights", [{"flow": 1.0}, {"depth": -1.0}])
    def test_bad_weights_are_refused(self, weights):
        with pytest.raises(InputError, match="must be >= 0 and name one of"):
            SupervisedObjective(TASKS, weights)


def test_evaluate_judges_every_task_and_keeps_the_mode():
    model = make_model().train()
    scores = evaluate(model, TASKS, [batch(), batch(1, without=("edges",))])
    assert model.training
    assert {t: set(s) >= {m.primary} for t, s, m in ((t.name, scores[t.name], t.metric()) for t in TASKS)} == {
        t.name: True for t in TASKS
    }
    assert 0 <= scores["semantic"]["mIoU"] <= 1
    assert scores["depth"]["RMSE"] > 0


class TestCheckpoint:
    def test_round_trip(self, tmp_path):
        model = make_model()
        description = ModelDescription("densemtl_edge_s", TASKS, (32, 64))
        save_checkpoint(tmp_path / "run", model, description)
        again, read = load_checkpoint(tmp_path / "run")
        assert read == description
        assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["model.json", "model.safetensors"]
        state = again.state_dict()
        assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())

    def test_missing_file(self, tmp_path):
        with pytest.raises(InputError, match=r"has no model\.json"):
            load_checkpoint(tmp_path)

    def test_damaged_weights(self, tmp_path):
        save_checkpoint(tmp_path, make_model(), ModelDescription("densemtl_edge_s", TASKS, (32, 64)))
        (tmp_path / "model.safetensors").write_bytes(b"\x00" * 64)
        with pytest.raises(InputError, match=r"model\.safetensors cannot be read"):
            load_checkpoint(tmp_path)

    def test_weights_of_another_network(self, tmp_path):
        save_checkpoint(tmp_path, make_model(), ModelDescription("densemtl_edge_s", TASKS[:2], (32, 64)))
        with pytest.raises(InputError, match="the weights are not those of densemtl_edge_s with tasks semantic, depth"):
            load_checkpoint(tmp_path)

    @pytest.mark.parametrize("text", ["", "[]", '{"format": 9}', '{"format": 1, "preset": "densemtl_edge_s"}'])
    def test_damaged_description(self, tmp_path, text):
        save_checkpoint(tmp_path, make_model(), ModelDescription("densemtl_edge_s", TASKS, (32, 64)))
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(InputError, match=r"model\.json"):
            load_checkpoint(tmp_path)
