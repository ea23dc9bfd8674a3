"""One loss with one backward pass and one optimiser does what was published as two, with two."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.learning.adaptation import Adaptation, AdaptationStep
from densemtl_core.learning.adversarial import AdversarialAlignment
from densemtl_core.learning.batch_stream import batch_stream
from densemtl_core.learning.optimisation import Optimisation, make_optimiser, set_rates
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.learning.trainer import RunSettings, Trainer
from densemtl_core.models import build_model
from densemtl_core.tasks import make_tasks

TASKS = make_tasks(["semantic", "depth", "normals"], num_classes=4)
WEIGHTS = {"semantic": 50.0, "depth": 1.0, "normals": 20.0}
PUBLISHED = Optimisation(
    optimiser="adam", lr=2.5e-4, encoder_lr=1.5e-5, betas=[0.9, 0.98], weight_decay=0.0, schedule="constant",
    warmup=0.0, clip=0.0,
)  # fmt: skip
STEPS, BATCH, SIZE = 4, 2, (64, 32)


class Frames(Dataset[Sample]):
    """Random frames of a domain; the target's have no labels at all."""

    def __init__(self, seed: int, labelled: bool, size: tuple[int, int] = SIZE) -> None:
        self.seed, self.labelled, self.size = seed, labelled, size

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Sample:
        g = torch.Generator().manual_seed(100 * self.seed + index)
        labels = {
            "semantic": torch.randint(0, 4, self.size, generator=g),
            "depth": 2 + 40 * torch.rand(1, *self.size, generator=g),
            "normals": F.normalize(torch.randn(3, *self.size, generator=g), dim=0),
        }
        return Sample(torch.rand(3, *self.size, generator=g), labels if self.labelled else {}, name=f"frame {index}")


class TwoHeads(nn.Module):
    """An encoder, and for each task a final head and one at half the resolution; no randomness, nothing redundant."""

    def __init__(self, tasks=TASKS) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.coarse = nn.ModuleDict({t.name: nn.Conv2d(6, t.channels, 3, padding=1) for t in tasks})
        self.final = nn.ModuleDict({t.name: nn.Conv2d(6, t.channels, 3, padding=1) for t in tasks})
        for heads in (self.coarse, self.final):
            if "depth" in heads:
                heads["depth"].bias.data.fill_(100.0)  # the published unit: about 6.5 metres

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        features = torch.tanh(self.encoder(image))
        wide = F.interpolate(features, scale_factor=2.0)
        return {name: [self.final[name](wide), self.coarse[name](features)] for name in self.final}


# The published procedure, written out --------------------------------------------------------------------------------


class Judge:
    """A discriminator as plain arrays: kernels, biases, and the two vectors of each kernel's power iteration."""

    def __init__(self, module: nn.Module) -> None:
        self.kernels, self.biases, self.vectors = [], [], []
        for layer in module.layers:
            kernel = layer.parametrizations.weight
            self.kernels.append(kernel.original.detach().clone().requires_grad_())
            self.biases.append(layer.bias.detach().clone().requires_grad_())
            self.vectors.append((kernel[0]._u.clone(), kernel[0]._v.clone()))

    def parameters(self) -> list[Tensor]:
        return [*self.kernels, *self.biases]

    def __call__(self, picture: Tensor, mirror: Tensor, frozen: bool = False) -> Tensor:
        x = torch.where(mirror, picture.flip(-1), picture)
        for i in range(5):
            kernel, bias = (p.detach() if frozen else p for p in (self.kernels[i], self.biases[i]))
            with torch.no_grad():
                u = F.normalize(kernel.flatten(1) @ self.vectors[i][1], dim=0, eps=1e-12)
                v = F.normalize(kernel.flatten(1).T @ u, dim=0, eps=1e-12)
                self.vectors[i] = (u, v)
            x = F.conv2d(x, kernel / (u @ (kernel.flatten(1) @ v)), bias, stride=2, padding=1)
            x = x if i == 4 else torch.where(x > 0, x, 0.2 * x)
        return x


def cross_entropy(logits: Tensor, domain: int) -> Tensor:
    """Of a judgement with one true answer: source 0, target 1."""
    return -(F.logsigmoid(logits) if domain else F.logsigmoid(-logits)).mean()


def pictures(outputs: dict[str, list[Tensor]], depth: Tensor) -> dict[tuple[str, int], Tensor]:
    """What the discriminators are published to see, at the size of the images."""
    seen = {}
    for head in (0, 1):
        raw = {n: F.interpolate(o[head], size=SIZE, mode="bilinear", align_corners=True) for n, o in outputs.items()}
        p = raw["semantic"].softmax(dim=1)
        seen["semantic", head] = -p * torch.log2(p) / math.log2(4)
        inverse = 65536 / (100 * depth + 1)
        seen["depth", head] = (raw["depth"].relu() - inverse.min()) / (inverse.max() - inverse.min())
        seen["normals", head] = raw["normals"] / raw["normals"].norm(dim=1, keepdim=True)
    return seen


def publish(model: nn.Module, judges: dict[tuple[str, int], Judge], seed: int) -> list[tuple[float, float, float]]:
    """``STEPS`` iterations of the published trainer; the losses of each."""
    rest = [*model.coarse.parameters(), *model.final.parameters()]
    generator = torch.optim.Adam([{"params": rest}, {"params": model.encoder.parameters(), "lr": 1.5e-5}], 2.5e-4)
    for group in generator.param_groups:
        group["betas"] = (0.9, 0.98)
    told = [p for judge in judges.values() for p in judge.parameters()]
    discriminator = torch.optim.Adam(told, lr=1e-4, betas=(0.9, 0.99))
    order = [(name, head) for name in ("semantic", "depth", "normals") for head in (0, 1)]
    sources = batch_stream(Frames(0, True), BATCH, 0, range(STEPS))
    targets = batch_stream(Frames(1, False), BATCH, 1, range(STEPS))
    torch.manual_seed(seed)
    history = []
    for k, (source, target) in enumerate(zip(sources, targets, strict=True)):
        # The coins of the discriminators, thrown in the order in which the package throws them.
        mirrors = {at: [torch.rand(BATCH, 1, 1, 1) < 0.5 for _ in range(3)] for at in order}
        for group in discriminator.param_groups:
            group["lr"] = 1e-4 * (1 - k / STEPS) ** 0.9
        generator.zero_grad()
        discriminator.zero_grad()
        # 1. Source, supervised.
        outputs = model(source.image)
        supervised = sum(
            WEIGHTS[t.name] * sum(t.loss(raw, source.labels[t.name]) for raw in outputs[t.name]) / 2 for t in TASKS
        )
        supervised.backward()
        # 2. Target, to deceive discriminators that stand still.
        target_outputs = model(target.image)
        depth = source.labels["depth"]
        seen = pictures(target_outputs, depth)
        deceive = sum(0.005 * cross_entropy(judges[at](seen[at], mirrors[at][0], frozen=True), 0) for at in order)
        (deceive / len(order)).backward()
        assert all(p.grad is None for p in told)
        # 3. Discriminators, on what the network gave.
        was = pictures({n: [x.detach() for x in o] for n, o in outputs.items()}, depth)
        tell = 0.0
        for at in order:
            one = cross_entropy(judges[at](was[at], mirrors[at][1]), 0)
            one.backward()
            other = cross_entropy(judges[at](seen[at].detach(), mirrors[at][2]), 1)
            other.backward()
            tell += one.item() + other.item()
        # 4. All at once.
        generator.step()
        discriminator.step()
        history.append((supervised.item(), deceive.item() / 0.005 / len(order), tell / len(order)))
    return history


def same(ours: Tensor, theirs: Tensor, rate: float) -> None:
    """Adam divides a gradient by its size: where that is nearly zero, rounding is seen, as a share of a whole step."""
    off = (ours - theirs).detach().abs() / rate
    assert off.max() < 0.1
    assert off.mean() < 5e-4


def test_parameter_for_parameter_the_published_procedure(tmp_path):
    torch.manual_seed(0)
    model, alignment = TwoHeads(), AdversarialAlignment(TASKS, width=4)
    twin = TwoHeads()
    twin.load_state_dict(model.state_dict())
    judges = {(n, h): Judge(module) for n, heads in alignment.discriminators.items() for h, module in enumerate(heads)}
    before = {n: p.detach().clone() for n, p in [*model.named_parameters(), *alignment.named_parameters()]}
    records: list[dict[str, float]] = []
    trainer = Trainer(
        Fabric(accelerator="cpu", devices=1), model, SupervisedObjective(TASKS, WEIGHTS),
        RunSettings(steps=STEPS, batch=BATCH, workers=0, log_every=1, checkpoint_every=STEPS, seed=0),
        PUBLISHED, tmp_path, record=lambda r: records.append(dict(r)),
        adaptation=Adaptation({"adversarial": alignment}),
    )  # fmt: skip
    torch.manual_seed(7)
    trainer.fit(Frames(0, True), Frames(1, False))
    history = publish(twin, judges, seed=7)

    for record, (supervised, deceive, tell) in zip(records, history, strict=True):
        assert record["adversarial"] == pytest.approx(deceive, rel=1e-5)
        assert record["discriminator"] == pytest.approx(tell, rel=1e-5)
        assert record["loss"] == pytest.approx(supervised + 0.005 * deceive + 6 * tell, rel=1e-5)

    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        same(ours, theirs, 1.5e-5 if name.startswith("encoder") else 2.5e-4)
        assert not torch.equal(ours, before[name]), name
    for (name, head), judge in judges.items():
        for i, layer in enumerate(alignment.discriminators[name][head].layers):
            kernel = layer.parametrizations.weight
            same(kernel.original, judge.kernels[i], 1e-4)
            same(layer.bias, judge.biases[i], 1e-4)
            torch.testing.assert_close(kernel[0]._u, judge.vectors[i][0], atol=1e-4, rtol=0)
            started = before[f"discriminators.{name}.{head}.layers.{i}.parametrizations.weight.original"]
            assert (kernel.original - started).abs().max() > 1e-4


def test_the_gradients_of_a_real_network_are_those_of_the_two_backward_passes():
    """With dropout's, normalisation's and attention's layers between; each side alone, then both at once."""
    source, target = (next(iter(batch_stream(Frames(i, i == 0), BATCH, 0, range(1)))) for i in (0, 1))
    torch.manual_seed(0)
    model, alignment = build_model("densemtl_edge_s", TASKS), AdversarialAlignment(TASKS, width=2)
    alignment.eval()  # neither mirrors nor the power iteration: two passes see the same discriminators
    objective = SupervisedObjective(TASKS, WEIGHTS)

    def gradients(supervised: bool, adversarial: bool, weight: float) -> list[Tensor]:
        alignment.weight = weight
        parameters = [*model.parameters(), *alignment.parameters()]
        for parameter in parameters:
            parameter.grad = None
        outputs = model(source.image)
        total = objective(outputs, source)[0] * float(supervised)
        if adversarial:
            total = total + alignment(AdaptationStep(model, source, outputs, target))[0]
        total.backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]

    count = len(list(model.parameters()))
    first = gradients(True, False, 0.0)
    second = gradients(False, True, 0.7)
    both = gradients(True, True, 0.7)
    telling = gradients(False, True, 0.0)
    assert not any(g.any() for g in telling[:count]), "what the discriminators learn is not the network's affair"
    for i, (a, b, c) in enumerate(zip(first, second, both, strict=True)):
        torch.testing.assert_close(a + b, c, atol=1e-5 * max(1.0, float(c.abs().max())), rtol=1e-4)
        if i >= count:
            torch.testing.assert_close(b, telling[i], msg="what deceives is not the discriminators' affair")
    assert sum(float(g.abs().sum()) for g in second[:count]) > 0


# The rest ------------------------------------------------------------------------------------------------------------


def a_step(source: Sample | None = None, size: tuple[int, int] = SIZE, model: nn.Module | None = None):
    model = model or TwoHeads()
    batches = [next(iter(batch_stream(Frames(i, i == 0, size), BATCH, 0, range(1)))) for i in (0, 1)]
    source = source or batches[0]
    return AdaptationStep(model, source, model(source.image), batches[1])


def test_a_guess_costs_ln_2_and_2_ln_2():
    alignment = AdversarialAlignment(TASKS, width=2)
    # A kernel of zeros would have no gain to be divided by: the verdicts are replaced.
    for heads in alignment.discriminators.values():
        for judge in heads:
            judge.forward = lambda picture: picture.mean() * 0 + torch.zeros(len(picture), 1, 2, 1)
    total, figures = alignment(a_step())
    assert figures["adversarial"].item() == pytest.approx(math.log(2))
    assert figures["discriminator"].item() == pytest.approx(2 * math.log(2))
    assert total.item() == pytest.approx(0.005 * math.log(2) + 6 * 2 * math.log(2)), "six discriminators, each in full"


def test_figures_carry_no_gradient():
    total, figures = AdversarialAlignment(TASKS, width=2)(a_step())
    assert total.requires_grad
    assert not any(figure.requires_grad for figure in figures.values())


def test_smaller_pictures_for_the_discriminators():
    sizes = []
    alignment = AdversarialAlignment(TASKS, width=2, downscale=2)
    for heads in alignment.discriminators.values():
        for judge in heads:
            judge.register_forward_pre_hook(lambda _, given: sizes.append(tuple(given[0].shape)))
    alignment(a_step(size=(64, 96)))
    assert {size[-2:] for size in sizes} == {(32, 48)}
    assert sorted({size[1] for size in sizes}) == [1, 3, 4]
    assert len(sizes) == 3 * 2 * 3, "three tasks, two heads, three judgements"


def test_one_head_looks_at_the_final_output_alone():
    alignment = AdversarialAlignment(TASKS, heads=1, width=2)
    step = a_step()
    alignment(step)[0].backward()
    assert all(p.grad is None for p in step.model.coarse.parameters())
    assert all(p.grad is not None for p in step.model.final.parameters())


def test_it_learns_to_tell_and_the_network_to_deceive():
    """Of one step's pictures: the discriminators alone become sure; the network alone makes them doubt."""
    torch.manual_seed(0)
    alignment, step = AdversarialAlignment(TASKS, width=4), a_step()
    optimiser = torch.optim.Adam(alignment.parameters(), lr=2e-3)
    first = alignment(step)[1]["discriminator"].item()
    for _ in range(40):
        optimiser.zero_grad()
        total, figures = alignment(step)
        total.backward(retain_graph=True)
        optimiser.step()
    assert figures["discriminator"].item() < 0.9 * first
    alignment.eval()
    before = alignment(step)[1]["adversarial"].item()
    network = torch.optim.Adam(step.model.parameters(), lr=1e-2)
    for _ in range(20):
        network.zero_grad()
        fresh = AdaptationStep(step.model, step.source, step.model(step.source.image), step.target)
        deceive = alignment(fresh)
        deceive[0].backward()
        network.step()
    assert deceive[1]["adversarial"].item() < before


class TestRates:
    def test_the_discriminators_fall_polynomially_beside_a_constant_network(self):
        model, alignment = TwoHeads(), AdversarialAlignment(TASKS, width=2, lr=3e-4)
        rest = [*model.coarse.parameters(), *model.final.parameters()]
        optimiser = make_optimiser(PUBLISHED, model.encoder.parameters(), rest, [], alignment.groups())
        encoder, others, judges = optimiser.param_groups
        assert (judges["betas"], judges["weight_decay"]) == ((0.9, 0.99), 0.0)
        assert (encoder["betas"], others["betas"]) == ((0.9, 0.98), (0.9, 0.98))
        for step in (0, 1, 450, 899):
            set_rates(optimiser, step, 900, PUBLISHED)
            assert judges["lr"] == pytest.approx(3e-4 * (1 - step / 900) ** 0.9)
            assert (encoder["lr"], others["lr"]) == (1.5e-5, 2.5e-4)

    def test_neither_the_networks_warm_up_nor_its_decay_is_theirs(self):
        how = Optimisation(schedule="cosine", warmup=0.5, weight_decay=0.1)
        alignment = AdversarialAlignment(TASKS, width=2)
        optimiser = make_optimiser(how, TwoHeads().parameters(), [], [], alignment.groups())
        set_rates(optimiser, 0, 100, how)
        network, judges = optimiser.param_groups
        assert network["lr"] < 0.1 * network["peak"]
        assert judges["lr"] == 1e-4
        assert (network["weight_decay"], judges["weight_decay"]) == (0.1, 0.0)

    def test_sgd_is_refused(self):
        alignment = AdversarialAlignment(TASKS, width=2)
        with pytest.raises(InputError, match=r"optimiser is sgd; .*adam or adamw"):
            make_optimiser(Optimisation(optimiser="sgd"), TwoHeads().parameters(), [], [], alignment.groups())


class TestRefusals:
    def test_no_task(self):
        with pytest.raises(InputError, match="of no task"):
            AdversarialAlignment([])

    @pytest.mark.parametrize(
        ("argument", "value"), [("weight", -1.0), ("lr", 0.0), ("downscale", 0), ("heads", 0), ("width", 0)]
    )
    def test_arguments_out_of_range(self, argument, value):
        with pytest.raises(InputError, match=rf"{argument} {value}"):
            AdversarialAlignment(TASKS, **{argument: value})

    def test_a_label_that_the_source_lacks(self):
        whole = Frames(0, True)[0]
        labels = {n: x[None].repeat(2, *[1] * x.ndim) for n, x in whole.labels.items() if n != "depth"}
        source = Sample(whole.image[None].repeat(2, 1, 1, 1), labels, name="frame 0, frame 0")
        with pytest.raises(InputError, match="of depth: frame 0, frame 0 has no such label"):
            AdversarialAlignment(TASKS, width=2)(a_step(source))

    def test_images_too_small_to_judge(self):
        with pytest.raises(InputError, match=r"images of 96x62 are 48x31 .*need 32x32; lower adversarial.downscale"):
            AdversarialAlignment(TASKS, width=2, downscale=2)(a_step(size=(62, 96)))

    def test_a_network_with_fewer_heads(self):
        step = a_step()
        step.source_outputs = {n: o[:1] for n, o in step.source_outputs.items()}
        step.target_outputs = {n: o[:1] for n, o in step.target_outputs.items()}
        with pytest.raises(InputError, match="of semantic: 2 heads are to be aligned, but the network has 1"):
            AdversarialAlignment(TASKS, width=2)(step)


def test_the_folder_of_a_run_holds_the_discriminators(tmp_path: Path):
    alignment = AdversarialAlignment(TASKS, width=2)
    names = set(Adaptation({"adversarial": alignment}).state_dict())
    assert sum(name.endswith("weight.original") for name in names) == 3 * 2 * 5
