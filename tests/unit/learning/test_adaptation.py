"""A run that adapts to a target domain: exact after an interruption, blind to the target's labels, one target pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from lightning.fabric import Fabric
from test_trainer import TASKS, Noise, interrupt_at, losses
from torch import Tensor, nn

from densemtl_core.data.sample import Sample, collate
from densemtl_core.errors import InputError
from densemtl_core.learning.adaptation import Adaptation, AdaptationStep, AdaptationTerm, TargetObjective, predict
from densemtl_core.learning.adversarial import AdversarialAlignment
from densemtl_core.learning.cross_task_consistency import EdgeAgreement, NormalAgreement
from densemtl_core.learning.fourier_style import fourier_style
from densemtl_core.learning.objective import Objective
from densemtl_core.learning.optimisation import Optimisation
from densemtl_core.learning.pace import PACE_FIGURES
from densemtl_core.learning.run_files import checkpoints, read_history
from densemtl_core.learning.self_training import SelfTraining
from densemtl_core.learning.state_files import read_state
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.learning.trainer import Learner, RunSettings, Trainer
from densemtl_core.models import build_model

SEMANTIC, DEPTH, NORMALS, EDGES = TASKS
pytestmark = pytest.mark.usefixtures("one_thread")


class Target(Noise):
    """Frames that the source has not; what labels they have is up to the test."""

    def __init__(self, length: int = 6, poison: bool = False) -> None:
        super().__init__(length)
        self.poison = poison

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(1000 + index)
        labels = {n: torch.full_like(x, -7 if n == "semantic" else math.nan) for n, x in sample.labels.items()}
        return Sample(sample.image, labels if self.poison else {}, name=f"target {index}")


def all_terms() -> dict[str, AdaptationTerm]:
    return {
        "adversarial": AdversarialAlignment(TASKS, width=2),
        "self_training": SelfTraining(TASKS, threshold=0.1),
        "normals": NormalAgreement(DEPTH, NORMALS, 0.1),
        "edges": EdgeAgreement(EDGES, SEMANTIC, DEPTH, 0.1),
    }


class Tiny(nn.Module):
    """Normalisation with running statistics, dropout, and two heads a task: what a run has to keep, at no cost."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.Dropout(0.2))
        self.heads = nn.ModuleDict({t.name: nn.Conv2d(6, 2 * t.channels, 3, padding=1) for t in TASKS})

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        features = torch.tanh(self.encoder(image))
        return {name: list(head(features).chunk(2, dim=1)) for name, head in self.heads.items()}


def make_trainer(
    folder, terms=all_terms, steps: int = 4, average: float = 0.9, preset: str | None = None, **settings
) -> Trainer:
    """``terms`` makes them, or is None: no adaptation."""
    torch.manual_seed(0)
    run = {"steps": steps, "batch": 2, "workers": 0, "log_every": 1, "checkpoint_every": 2, **settings}
    model = build_model(preset, TASKS) if preset else Tiny()
    adaptation = None if terms is None else Adaptation(terms(), restyle=0.05)
    fabric = Fabric(accelerator="cpu", devices=1)
    return Trainer(
        fabric, model, SupervisedObjective(TASKS), RunSettings(**run, average=average), Optimisation(), folder,
        adaptation=adaptation,
    )  # fmt: skip


def same_state(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return one.state_dict().keys() == state.keys() and all(
        torch.equal(v, state[k]) for k, v in one.state_dict().items()
    )


class TestRun:
    @pytest.mark.parametrize("preset", [None, "densemtl_edge_s"])
    def test_resume_is_exact(self, tmp_path, preset):
        """Network, discriminators with their power iterations, teacher; mirrors, mixes, colours and dropout."""
        whole = make_trainer(tmp_path / "whole", preset=preset)
        whole.fit(Noise(), Target())
        cut = make_trainer(tmp_path / "cut", preset=preset)
        with pytest.raises(KeyboardInterrupt):
            cut.fit(Noise(), Target(), after_checkpoint=lambda: interrupt_at(cut, 2))
        resumed = make_trainer(tmp_path / "cut", preset=preset)
        torch.manual_seed(99)  # another process, in another state
        torch.rand(7)
        resumed.resume()
        assert resumed.step == 2
        assert same_state(resumed.adaptation, cut.adaptation)
        assert not same_state(resumed.adaptation, whole.adaptation)
        resumed.fit(Noise(), Target())
        assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
        for part in ("bare", "adaptation", "objective"):
            assert same_state(getattr(resumed, part), getattr(whole, part)), part
        assert same_state(resumed.average.model, whole.average.model)

    def test_the_history_tells_of_every_term(self, tmp_path):
        make_trainer(tmp_path, steps=1).fit(Noise(), Target())
        (record,) = read_history(tmp_path)
        supervised = {"semantic", "depth", "normals", "edges"}
        assert set(record) == {"step", "loss", *PACE_FIGURES, "adversarial", "discriminator", "believed"} | {
            "agreement_normals", "agreement_edges", "class_change_outside_edges",
        } | supervised | {f"student_{name}" for name in supervised}  # fmt: skip
        assert all(math.isfinite(value) for value in record.values())

    def test_the_targets_labels_are_never_read(self, tmp_path):
        for name, poison in (("clean", False), ("poisoned", True)):
            make_trainer(tmp_path / name, steps=2).fit(Noise(), Target(poison=poison))
        assert losses(tmp_path / "clean") == losses(tmp_path / "poisoned")

    def test_the_targets_frames_are(self, tmp_path):
        class Bright(Target):
            def __getitem__(self, index: int) -> Sample:
                sample = super().__getitem__(index)
                return Sample(sample.image.sqrt(), name=sample.name)

        make_trainer(tmp_path / "dark", steps=1).fit(Noise(), Target())
        make_trainer(tmp_path / "bright", steps=1).fit(Noise(), Bright())
        dark, bright = (read_history(tmp_path / name)[0] for name in ("dark", "bright"))
        assert all(dark[key] != bright[key] for key in ("adversarial", "student_depth", "agreement_normals", "depth"))

    def test_a_target_smaller_than_a_batch_is_named(self, tmp_path):
        with pytest.raises(InputError, match=r"^the target has 1 samples, fewer than one batch of 2"):
            make_trainer(tmp_path).fit(Noise(), Target(1))
        with pytest.raises(InputError, match=r"^the data set has 1 samples, fewer than one batch of 2"):
            make_trainer(tmp_path).fit(Noise(1), Target())

    def test_source_and_target_pair_up_anew_every_epoch(self, tmp_path):
        pairs = []

        class Names(AdaptationTerm):
            def forward(self, step: AdaptationStep) -> tuple[Tensor, dict[str, Tensor]]:
                pairs.append((step.source.name, step.target.name))
                return step.source.image.new_zeros(()), {}

        class Nothing(nn.Module):  # a network costs time
            def __init__(self) -> None:
                super().__init__()
                self.encoder = nn.Linear(1, 1)

            def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
                return {"depth": [self.encoder(image.mean(dim=1)[..., None])[..., 0][:, None]]}

        run = RunSettings(steps=12, batch=2, workers=0, log_every=12, checkpoint_every=12)
        Trainer(
            Fabric(accelerator="cpu", devices=1), Nothing(), SupervisedObjective([DEPTH]), run, Optimisation(),
            tmp_path, adaptation=Adaptation({"names": Names()}),
        ).fit(Noise(4), Target(4))  # fmt: skip
        sources = [{int(n.split()[1]) for n in source.split(", ")} for source, _ in pairs]
        targets = [{int(n.split()[1]) for n in target.split(", ")} for _, target in pairs]
        for epoch in range(0, 12, 2):
            assert sources[epoch] | sources[epoch + 1] == targets[epoch] | targets[epoch + 1] == set(range(4))
        assert any(s != t for s, t in zip(sources, targets, strict=True)), "another order than the source's"

    def test_target_and_adaptation_go_together(self, tmp_path):
        with pytest.raises(ValueError, match="go together"):
            make_trainer(tmp_path, terms=None).fit(Noise(), Target())
        with pytest.raises(ValueError, match="go together"):
            make_trainer(tmp_path).fit(Noise())

    def test_checkpoints_with_and_without(self, tmp_path):
        make_trainer(tmp_path / "with", steps=1).fit(Noise(), Target())
        make_trainer(tmp_path / "without", terms=None, steps=1).fit(Noise())
        with pytest.raises(InputError, match="was made with adaptation; resume with the same settings"):
            make_trainer(tmp_path / "with", terms=None).resume()
        with pytest.raises(InputError, match="was made without adaptation; resume with the same settings"):
            make_trainer(tmp_path / "without").resume()

    def test_a_checkpoint_of_other_terms(self, tmp_path):
        make_trainer(tmp_path, steps=1).fit(Noise(), Target())
        with pytest.raises(InputError, match="of another network or optimiser"):
            make_trainer(tmp_path, terms=lambda: {"adversarial": AdversarialAlignment(TASKS, width=4)}).resume()

    def test_a_loss_that_is_not_finite_names_both_batches(self, tmp_path):
        class Broken(Target):
            def __getitem__(self, index: int) -> Sample:
                sample = super().__getitem__(index)
                return Sample(sample.image * math.nan, name=sample.name)

        trainer = make_trainer(tmp_path, terms=lambda: {"mean": TargetObjective(MeanOf("depth"))})
        trainer.adaptation.restyle = None
        with pytest.raises(FloatingPointError, match=r"samples noise \d, noise \d and target \d, target \d"):
            trainer.fit(Noise(), Broken())

    def test_workers_change_nothing(self, tmp_path):
        make_trainer(tmp_path / "none", steps=2).fit(Noise(), Target())
        make_trainer(tmp_path / "one", steps=2, workers=1).fit(Noise(), Target())
        assert losses(tmp_path / "none") == losses(tmp_path / "one")

    def test_a_teacher_lags_behind_and_does_not_learn(self, tmp_path):
        trainer = make_trainer(tmp_path, steps=2, average=0.99)
        before = {n: p.clone() for n, p in trainer.average.model.named_parameters()}
        trainer.fit(Noise(), Target())
        teacher = trainer.average.model
        assert not teacher.training
        assert all(p.grad is None for p in teacher.parameters())
        assert not any(n.startswith("_teacher") or "average" in n for n in trainer.learner.state_dict())
        moved = [not torch.equal(p, before[n]) for n, p in teacher.named_parameters()]
        assert sum(moved) > 0.9 * len(moved)
        assert not same_state(teacher, trainer.bare)

    def test_the_newest_checkpoint_holds_discriminators_and_teacher(self, tmp_path):
        make_trainer(tmp_path, steps=1).fit(Noise(), Target())
        (newest,) = checkpoints(tmp_path)
        state = read_state(newest)
        names = [n for n in state["adaptation"] if n.startswith("terms.adversarial.discriminators.")]
        assert sum(n.endswith(".original") for n in names) == 4 * 2 * 5
        assert sum(n.endswith("._u") for n in names) == 4 * 2 * 5
        groups = state["optimiser"]["param_groups"]
        assert [g.get("schedule") for g in groups] == [None, None, "poly"]


class MeanOf(Objective):
    """An objective that needs no labels: the mean of a task's final output."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.bias = name, nn.Parameter(torch.zeros(()))

    def forward(self, outputs, batch: Sample) -> tuple[Tensor, dict[str, Tensor]]:
        loss = outputs[self.name][0].mean() + self.bias
        return loss, {"mean": loss.detach()}


class Counted(nn.Module):
    """One number a task, and what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        self.seen.append(image)
        grey = self.scale * image.mean(dim=1, keepdim=True)
        shades = [t.channels for t in TASKS]
        return {
            t.name: [torch.cat([grey * (k + 1) for k in range(c)], dim=1)] * 2
            for t, c in zip(TASKS, shades, strict=True)
        }


def pair() -> tuple[Sample, Sample]:
    return collate([Noise()[0], Noise()[1]]), collate([Target()[0], Target()[1]])


def fields(sample: Sample):
    return sample.image, sample.labels, sample.intrinsics, sample.name


class TestStep:
    def run(self, terms: dict[str, AdaptationTerm], restyle: float | None = None, teacher: nn.Module | None = None):
        model, (source, target) = Counted(), pair()
        learner = Learner(model, SupervisedObjective(TASKS), Adaptation(terms, restyle), teacher)
        total, parts = learner(fields(source), fields(target))
        return model, source, target, total, parts

    def test_terms_share_one_pass_over_the_target(self):
        terms = {
            "adversarial": AdversarialAlignment(TASKS, width=2),
            "normals": NormalAgreement(DEPTH, NORMALS, 0.1),
            "edges": EdgeAgreement(EDGES, SEMANTIC, DEPTH, 0.1),
            "mean": TargetObjective(MeanOf("depth")),
        }
        model, source, target, total, _ = self.run(terms)
        assert len(model.seen) == 2
        assert torch.equal(model.seen[0], source.image)
        assert torch.equal(model.seen[1], target.image)
        total.backward()
        assert model.scale.grad.isfinite()

    def test_a_term_that_does_not_look_costs_no_pass(self):
        teacher = Counted()
        model, *_ = self.run({"self_training": SelfTraining(TASKS)}, teacher=teacher)
        assert len(model.seen) == 2, "the source, and the student's mixed picture; not the target as it is"
        assert len(teacher.seen) == 2, "upright and mirrored"

    def test_without_a_term_nothing_is_added(self):
        model, source, _, total, parts = self.run({})
        alone, own = SupervisedObjective(TASKS)(model(source.image), source)
        assert total.item() == alone.item()
        assert parts.keys() == own.keys()

    def test_terms_add_up_and_figures_that_share_a_name_are_told_apart(self):
        terms: dict[str, AdaptationTerm] = {
            "one": TargetObjective(MeanOf("depth")), "other": TargetObjective(MeanOf("semantic"))
        }  # fmt: skip
        model, source, target, total, parts = self.run(terms)
        supervised = SupervisedObjective(TASKS)(model(source.image), source)[0].item()
        means = {n: raws[0].mean().item() for n, raws in model(target.image).items()}
        assert parts["mean"].item() == pytest.approx(means["depth"])
        assert parts["other/mean"].item() == pytest.approx(means["semantic"])
        assert total.item() == pytest.approx(supervised + means["depth"] + means["semantic"])

    def test_restyled_sources_keep_their_labels(self):
        source, target = pair()
        torch.manual_seed(3)
        styled = Adaptation({}, restyle=0.2).restyled(source, target)
        torch.manual_seed(3)
        share = 0.2 * float(torch.rand(()))
        assert torch.equal(styled.image, fourier_style(source.image, target.image, share))
        assert not torch.allclose(styled.image, source.image, atol=0.01)
        assert styled.labels is source.labels
        assert Adaptation({}).restyled(source, target) is source

    def test_supervision_and_terms_see_the_restyled_source(self):
        seen = []

        class Looks(AdaptationTerm):
            def forward(self, step: AdaptationStep) -> tuple[Tensor, dict[str, Tensor]]:
                seen.append(step.source.image)
                return step.source.image.new_zeros(()), {}

        model, source, *_ = self.run({"looks": Looks()}, restyle=0.2)
        assert torch.equal(seen[0], model.seen[0])
        assert not torch.equal(seen[0], source.image)

    def test_a_lower_precision_is_the_networks_alone(self):
        model = nn.Conv2d(3, 2, 3)
        types = []
        model.register_forward_hook(lambda _, given, result: types.append(result.dtype))

        def network(image: Tensor) -> dict[str, Sequence[Tensor]]:
            return {"semantic": [model(image)]}

        image = torch.rand(1, 3, 8, 8)
        exact, rounded = (predict(network, image, kind)["semantic"][0] for kind in (None, torch.bfloat16))
        assert types == [torch.float32, torch.bfloat16]
        assert exact.dtype == rounded.dtype == torch.float32
        torch.testing.assert_close(rounded, exact, atol=0.03, rtol=0)
        assert not torch.equal(rounded, exact)


class TestParameters:
    def test_discriminators_have_their_group_and_the_rest_the_objectives(self, tmp_path):
        def terms() -> dict[str, AdaptationTerm]:
            return {
                "adversarial": AdversarialAlignment(TASKS, width=2, lr=7e-5),
                "mean": TargetObjective(MeanOf("depth")),
            }

        trainer = make_trainer(tmp_path, terms=terms)
        trainer.fit(Noise(), Target())
        adversarial, mean = trainer.adaptation.terms["adversarial"], trainer.adaptation.terms["mean"].objective
        groups = trainer.optimiser.param_groups
        assert {id(p) for p in groups[-1]["params"]} == {id(p) for p in adversarial.parameters()}
        assert groups[-1]["peak"] == 7e-5
        assert [id(p) for p in groups[-2]["params"]] == [id(mean.bias)]
        everything = [id(p) for g in groups for p in g["params"]]
        assert len(everything) == len(set(everything))
        assert mean.bias.item() < 0, "it was trained"

    @pytest.mark.parametrize("restyle", [-0.01, 0.51])
    def test_restyle_out_of_range(self, restyle):
        with pytest.raises(InputError, match=rf"restyle is {restyle}; it must be in 0..0.5"):
            Adaptation({}, restyle)
