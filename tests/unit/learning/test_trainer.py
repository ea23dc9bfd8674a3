"""The training loop: it learns, and a run that was interrupted gives the losses of one that was not."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from torch.utils.data import Dataset

from densemtl_core.data.sample import Sample, collate
from densemtl_core.data.transforms import Augmentation, TransformedDataset
from densemtl_core.errors import InputError
from densemtl_core.learning.batch_stream import batch_stream, step_indices
from densemtl_core.learning.evaluation import evaluate
from densemtl_core.learning.optimisation import Optimisation, make_optimiser, rate_factor
from densemtl_core.learning.pace import PACE_FIGURES
from densemtl_core.learning.run_files import checkpoints, read_history
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.learning.task_weights import UncertaintyWeights
from densemtl_core.learning.trainer import RunSettings, Trainer
from densemtl_core.learning.weight_average import WeightAverage
from densemtl_core.models import build_model
from densemtl_core.tasks import make_tasks

TASKS = make_tasks(["semantic", {"kind": "depth", "encoding": "log"}, "normals", "edges"], num_classes=4)


class Noise(Dataset[Sample]):
    """Random images with random labels; sample i is a function of i."""

    def __init__(self, length: int = 8, labels: tuple[str, ...] = ("semantic", "depth", "normals", "edges")) -> None:
        self.length, self.labels = length, labels

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        g = torch.Generator().manual_seed(index)
        labels = {
            "semantic": torch.randint(0, 4, (32, 64), generator=g),
            "depth": torch.rand(1, 32, 64, generator=g) * 50 + 1,
            "normals": torch.nn.functional.normalize(torch.randn(3, 32, 64, generator=g), dim=0),
            "edges": torch.randint(0, 2, (1, 32, 64), generator=g).float(),
        }
        return Sample(torch.rand(3, 32, 64, generator=g), {k: labels[k] for k in self.labels}, name=f"noise {index}")


def make_trainer(
    folder: Path,
    steps: int = 6,
    preset: str = "densemtl_edge_s",
    learned_weights: bool = False,
    precision: str = "32-true",
    optimisation: Optimisation | None = None,
    **settings,
) -> Trainer:
    torch.manual_seed(0)
    run = RunSettings(**{"steps": steps, "batch": 2, "workers": 0, "log_every": 1, "checkpoint_every": 2, **settings})
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    objective = SupervisedObjective(TASKS, UncertaintyWeights(TASKS) if learned_weights else None)
    return Trainer(fabric, build_model(preset, TASKS), objective, run, optimisation or Optimisation(), folder)


def interrupt_at(trainer: Trainer, step: int) -> None:
    if trainer.step == step:
        raise KeyboardInterrupt


def losses(folder: Path) -> list[tuple[float, ...]]:
    return [tuple(v for k, v in r.items() if k not in PACE_FIGURES) for r in read_history(folder)]


def test_learns_what_it_sees_again_and_again(tmp_path):
    trainer = make_trainer(tmp_path, steps=30, checkpoint_every=30)
    trainer.fit(Noise(2))
    history = read_history(tmp_path)
    assert [r["step"] for r in history] == list(range(1, 31))
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]


# densemtl_r18 has dropout: its random numbers must go on as well
@pytest.mark.parametrize("preset", ["densemtl_edge_s", "densemtl_r18"])
def test_resume_is_exact(tmp_path, preset):
    settings = {"preset": preset, "average": 0.9, "checkpoint_every": 4}  # densemtl_r18: 400 MB each
    whole = make_trainer(tmp_path / "whole", **settings)
    whole.fit(Noise())
    interrupted = make_trainer(tmp_path / "cut", **settings)
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(Noise(), after_checkpoint=lambda: interrupt_at(interrupted, 4))
    torch.manual_seed(99)  # another process, in another state
    resumed = make_trainer(tmp_path / "cut", **settings)
    torch.rand(7)
    resumed.resume()
    assert resumed.step == 4
    resumed.fit(Noise())
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    for a, b in ((whole.bare, resumed.bare), (whole.average.model, resumed.average.model)):
        state = b.state_dict()
        assert all(torch.equal(v, state[k]) for k, v in a.state_dict().items())


def test_a_step_is_the_plain_one(tmp_path):
    """What the trainer does for speed changes no bit: the same as forward, backward and update written out."""
    trainer = make_trainer(tmp_path, steps=3, average=0.9, checkpoint_every=3)
    trainer.fit(Noise())
    torch.manual_seed(0)
    objective, model, how = SupervisedObjective(TASKS), build_model("densemtl_edge_s", TASKS).train(), Optimisation()
    average = {name: x.clone() for name, x in model.state_dict().items()}
    encoder = list(model.encoder.parameters())
    rest = [p for p in model.parameters() if not any(p is q for q in encoder)]
    groups = [{"params": encoder, "peak": how.encoder_lr}, {"params": rest, "peak": how.lr}]
    optimiser = torch.optim.AdamW(groups, weight_decay=how.weight_decay)
    expected = []
    for step in range(3):
        batch = collate([Noise()[i] for i in step_indices(8, 2, 0, step)])
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * rate_factor(step, 3, how)
        total, _ = objective(model(batch.image), batch)
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), how.clip)
        optimiser.step()
        expected.append(total.item())
        share = 1 - min(0.9, (1 + step) / (10 + step))
        weights = {name for name, _ in model.named_parameters()}
        for name, x in model.state_dict().items():
            average[name].lerp_(x, share) if name in weights else average[name].copy_(x)
    assert [record["loss"] for record in read_history(tmp_path)] == expected
    state = trainer.average.model.state_dict()
    assert all(torch.equal(state[name], x) for name, x in average.items())


@pytest.mark.parametrize("fused", [False, True])
def test_resume_is_exact_in_another_memory_format_and_with_a_fused_update(tmp_path, fused):
    settings = {"channels_last": True, "optimisation": Optimisation(fused=fused)}
    whole = make_trainer(tmp_path / "whole", steps=4, **settings)
    whole.fit(Noise())
    cut = make_trainer(tmp_path / "cut", steps=4, **settings)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(Noise(), after_checkpoint=lambda: interrupt_at(cut, 2))
    resumed = make_trainer(tmp_path / "cut", steps=4, **settings)
    resumed.resume()
    resumed.fit(Noise())
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    state = resumed.bare.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in whole.bare.state_dict().items())
    plain = make_trainer(tmp_path / "plain", steps=1)
    plain.fit(Noise())
    first, other = losses(tmp_path / "whole")[0], losses(tmp_path / "plain")[0]
    assert first[1:] == pytest.approx(other[1:], rel=1e-3), "another rounding, not another network"


def test_what_the_objective_learns_goes_on_as_well(tmp_path):
    whole = make_trainer(tmp_path / "whole", learned_weights=True)
    whole.fit(Noise())
    cut = make_trainer(tmp_path / "cut", learned_weights=True)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(Noise(), after_checkpoint=lambda: interrupt_at(cut, 4))
    resumed = make_trainer(tmp_path / "cut", learned_weights=True)
    resumed.resume()
    assert any(p.abs() > 0 for p in resumed.objective.parameters()), "four steps have moved the uncertainties"
    resumed.fit(Noise())
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    state = resumed.objective.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in whole.objective.state_dict().items())


def test_validation_leaves_no_trace(tmp_path):
    """Neither in the random numbers of dropout nor in the mode of the network."""
    settings = {"preset": "densemtl_r18", "steps": 4, "checkpoint_every": 4}
    alone = make_trainer(tmp_path / "alone", **settings)
    alone.fit(Noise())
    seen = []

    def validate() -> None:
        seen.append(judged.step)
        evaluate(judged.judged, TASKS, [collate([Noise()[0], Noise()[1]])])

    judged = make_trainer(tmp_path / "judged", validate_every=1, **settings)
    judged.fit(Noise(), validate=validate)
    assert seen == [1, 2, 3], "the last step is judged by whoever called fit"
    assert losses(tmp_path / "judged") == losses(tmp_path / "alone")


def test_mixed_precision_learns_and_resumes(tmp_path):
    whole = make_trainer(tmp_path / "whole", steps=20, precision="bf16-mixed", checkpoint_every=10)
    whole.fit(Noise(2))
    full = make_trainer(tmp_path / "full", steps=20, checkpoint_every=20)
    full.fit(Noise(2))
    mixed, exact = losses(tmp_path / "whole"), losses(tmp_path / "full")
    assert mixed != exact, "bfloat16 rounds"
    assert mixed[0][1] == pytest.approx(exact[0][1], rel=0.02)
    assert mixed[-1][1] < 0.9 * mixed[0][1]
    assert all(p.dtype == torch.float32 for p in whole.bare.parameters()), "weights stay in full precision"
    resumed = make_trainer(tmp_path / "whole", steps=20, precision="bf16-mixed")
    resumed.resume(checkpoints(tmp_path / "whole")[0])
    assert resumed.step == 10
    resumed.fit(Noise(2))
    assert losses(tmp_path / "whole") == mixed


def test_flips_are_drawn_anew_every_epoch_and_go_on_after_a_resume(tmp_path):
    def flipped(steps: range, workers: int) -> list[list[bool]]:
        data = TransformedDataset(Noise(4), Augmentation(flip=0.5))
        plain = {f"noise {i}": Noise(4)[i].image for i in range(4)}
        stream = batch_stream(data, 4, 0, steps, workers=workers)
        return [[not torch.equal(image, plain[name]) for image, name in sorted_by_name(b)] for b in stream]

    def sorted_by_name(batch: Sample) -> list[tuple[torch.Tensor, str]]:
        return sorted(zip(batch.image, batch.name.split(", "), strict=True), key=lambda pair: pair[1])

    whole = flipped(range(8), workers=0)
    assert len({tuple(epoch) for epoch in whole}) > 3
    assert flipped(range(5, 8), workers=2) == whole[5:]


def test_records_after_the_checkpoint_are_written_anew(tmp_path):
    trainer = make_trainer(tmp_path, steps=5)
    trainer.fit(Noise())
    resumed = make_trainer(tmp_path, steps=5)
    resumed.resume(checkpoints(tmp_path)[0])
    assert resumed.step == 4
    assert [r["step"] for r in read_history(tmp_path)] == [1, 2, 3, 4]
    resumed.fit(Noise())
    assert [r["step"] for r in read_history(tmp_path)] == [1, 2, 3, 4, 5]


KILLED_RUN = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
import torch
torch.set_num_threads(1)
from test_trainer import Noise, make_trainer
trainer = make_trainer(Path({folder!r}), steps=8, checkpoint_every=1)
try:
    trainer.resume()
except Exception as error:
    assert "nothing to resume" in str(error), error
trainer.fit(Noise())
"""


@pytest.mark.slow
def test_killed_anywhere_and_resumed_gives_the_same_losses(tmp_path):
    """SIGKILL right after a checkpoint has appeared, and while one is being written."""
    whole = make_trainer(tmp_path / "whole", steps=8, checkpoint_every=1)
    torch.set_num_threads(1)
    whole.fit(Noise())
    folder = tmp_path / "killed"
    code = KILLED_RUN.format(here=str(Path(__file__).parent), folder=str(folder))
    kills = 0
    for sign in ("step_00000002", ".step_00000004.*", "step_00000006", None):
        process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        while process.poll() is None:
            if sign and list((folder / "checkpoints").glob(sign)):
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                break
            time.sleep(0.001)  # a poll: the file system has no event to wait for
    assert kills == 3
    assert process.returncode == 0
    assert losses(folder) == losses(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_a_scheduler_ends_the_step_and_keeps_it(number, tmp_path):
    whole = make_trainer(tmp_path / "whole", steps=6, checkpoint_every=6)
    whole.fit(Noise())
    stopped = make_trainer(tmp_path / "run", steps=6, checkpoint_every=6)
    before = signal.getsignal(number)

    def press(record) -> None:
        if record["step"] == 3:
            os.kill(os.getpid(), number)

    stopped.record = press
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(Noise())
    assert signal.getsignal(number) is before
    assert [c.name for c in checkpoints(tmp_path / "run")] == ["step_00000003"]
    resumed = make_trainer(tmp_path / "run", steps=6, checkpoint_every=6)
    resumed.resume()
    resumed.fit(Noise())
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path, caplog):
    make_trainer(tmp_path, steps=4).fit(Noise())
    old, new = checkpoints(tmp_path)
    (new / "tensors.safetensors").unlink()
    resumed = make_trainer(tmp_path, steps=4)
    with caplog.at_level(logging.WARNING):
        resumed.resume()
    assert resumed.step == 2
    assert "taking the one before" in caplog.text
    with pytest.raises(InputError, match=r"tensors\.safetensors is missing"):
        make_trainer(tmp_path, steps=4).resume(new)  # asked for by name
    (old / "tree.json").unlink()
    with pytest.raises(InputError, match=r"tree\.json is missing"):
        make_trainer(tmp_path, steps=4).resume()


def test_another_optimiser_is_refused(tmp_path):
    make_trainer(tmp_path, steps=2).fit(Noise())
    other = make_trainer(tmp_path, steps=2)
    other.optimisation = Optimisation(optimiser="adam")
    with pytest.raises(InputError, match=r"was made with optimisation\.optimiser=adamw, not adam"):
        other.resume()


def test_a_damaged_checkpoint_is_refused(tmp_path):
    trainer = make_trainer(tmp_path, steps=2)
    trainer.fit(Noise())
    (checkpoints(tmp_path)[-1] / "tensors.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="is damaged"):
        make_trainer(tmp_path, steps=2).resume()


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    make_trainer(tmp_path, steps=2).fit(Noise())
    with pytest.raises(InputError, match="of another network"):
        make_trainer(tmp_path, steps=2, preset="densemtl_r18").resume()


def test_nothing_to_resume(tmp_path):
    with pytest.raises(InputError, match="nothing to resume"):
        make_trainer(tmp_path).resume()


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    make_trainer(tmp_path, steps=6, checkpoint_every=1, keep=2).fit(Noise())
    assert [p.name for p in checkpoints(tmp_path)] == ["step_00000005", "step_00000006"]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step_00000005", "step_00000006"]


def test_trains_on_partial_labels(tmp_path):
    make_trainer(tmp_path, steps=2).fit(Noise(labels=("depth",)))
    assert set(read_history(tmp_path)[0]) == {"step", "loss", "depth", *PACE_FIGURES}


def test_a_loss_that_is_not_finite_names_step_losses_and_samples(tmp_path):
    class Broken(Noise):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            return Sample(sample.image * math.nan, sample.labels, name=sample.name)

    with pytest.raises(FloatingPointError, match=r"step 1: the loss is nan .*noise \d"):
        make_trainer(tmp_path).fit(Broken())


class TestBatchStream:
    def test_an_epoch_shows_every_sample_once(self):
        seen = [i for step in range(4) for i in step_indices(8, 2, 0, step)]
        assert sorted(seen) == list(range(8))
        assert [i for step in range(4, 8) for i in step_indices(8, 2, 0, step)] != seen

    def test_ranks_share_a_batch(self):
        whole = step_indices(16, 4, 3, 5)
        assert sorted(step_indices(16, 4, 3, 5, 0, 2) + step_indices(16, 4, 3, 5, 1, 2)) == sorted(whole)

    def test_starts_anywhere(self):
        names = [b.name for b in batch_stream(Noise(), 2, 0, range(6))]
        assert [b.name for b in batch_stream(Noise(), 2, 0, range(3, 6))] == names[3:]

    def test_workers_change_nothing(self):
        names = [b.name for b in batch_stream(Noise(), 2, 0, range(6))]
        assert [b.name for b in batch_stream(Noise(), 2, 0, range(6), workers=2)] == names

    def test_too_few_samples(self):
        with pytest.raises(ValueError, match="fewer than one batch"):
            batch_stream(Noise(1), 2, 0, range(1))


class TestOptimisation:
    def test_a_fused_update_is_adams(self):
        def after(fused: bool, channels_last: bool) -> list[torch.Tensor]:
            torch.manual_seed(0)
            model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3))
            model.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
            optimiser = make_optimiser(Optimisation(fused=fused), [], model.parameters())
            for _ in range(3):
                model(torch.randn(2, 3, 8, 8)).square().mean().backward()
                optimiser.step()
                optimiser.zero_grad()
            return [p.detach().clone() for p in model.parameters()]

        plain = after(fused=False, channels_last=False)
        for how in ((True, False), (True, True)):
            for a, b in zip(after(*how), plain, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("schedule", ["cosine", "poly"])
    def test_rises_then_falls_to_nothing(self, schedule):
        how = Optimisation(schedule=schedule, warmup=0.1)
        rates = [rate_factor(s, 100, how) for s in range(100)]
        assert rates[:10] == sorted(rates[:10])
        assert max(rates) == pytest.approx(1.0)
        assert rates[10:] == sorted(rates[10:], reverse=True)
        assert rates[-1] < 0.05

    def test_the_published_step(self):
        how = Optimisation(schedule="step", warmup=0.0)
        assert [rate_factor(s, 40_000, how) for s in (0, 29_999, 30_000, 39_999)] == [1, 1, 0.1, 0.1]

    def test_unknown_names_are_refused(self):
        model = build_model("densemtl_edge_s", ("depth",))
        with pytest.raises(InputError, match="known: adamw, adam, sgd"):
            make_optimiser(Optimisation(optimiser="lion"), model.encoder.parameters(), [])


class TestWeightAverage:
    def test_by_hand(self):
        model = torch.nn.Linear(1, 1, bias=False)
        model.weight.data.fill_(1.0)
        average = WeightAverage(model, 0.5)
        model.weight.data.fill_(2.0)
        average.update(model)  # first decay is 1/10
        assert average.model.weight.item() == pytest.approx(0.1 * 1 + 0.9 * 2)

    def test_follows_running_statistics(self):
        model = torch.nn.BatchNorm2d(2)
        average = WeightAverage(model, 0.9)
        model(torch.randn(4, 2, 3, 3))
        average.update(model)
        assert torch.equal(average.model.running_mean, model.running_mean)

    def test_what_was_learnt_before_is_not_forgotten_at_once(self):
        model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(model.weight, 1.0)
        kept, forgotten = WeightAverage(model, 0.9, forget=False), WeightAverage(model, 0.9)
        torch.nn.init.constant_(model.weight, 2.0)
        for average in (kept, forgotten):
            average.update(model)
        assert kept.model.weight.item() == pytest.approx(0.9 * 1 + 0.1 * 2)
        assert forgotten.model.weight.item() == pytest.approx(0.1 * 1 + 0.9 * 2)

    @pytest.mark.parametrize("decay", [0.0, 1.0])
    def test_decay_out_of_range(self, decay):
        with pytest.raises(ValueError, match="must be in"):
            WeightAverage(torch.nn.Linear(1, 1), decay)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path):
    class Rooted(SupervisedObjective):
        """The root's slope at zero is infinite, and times zero no number; the loss stays what it was."""

        def forward(self, outputs, batch):
            total, parts = super().forward(outputs, batch)
            return total + (outputs["depth"][0] * 0).sum().sqrt(), parts

    for clip in (10.0, 0.0):
        trainer = make_trainer(tmp_path / str(clip), checkpoint_every=1)
        trainer.objective = trainer.learner.module.objective = Rooted(TASKS)
        trainer.optimisation.clip = clip
        before = {name: value.clone() for name, value in trainer.bare.named_parameters()}
        with pytest.raises(FloatingPointError, match=r"step 1: the gradient's norm is nan, the loss \d.*no checkpoint"):
            trainer.fit(Noise())
        assert all(torch.equal(value, before[name]) for name, value in trainer.bare.named_parameters())


def test_a_resumed_run_learns_at_the_rate_that_is_asked_for(tmp_path):
    make_trainer(tmp_path, steps=2).fit(Noise())
    asked = Optimisation(lr=1e-5, encoder_lr=1e-6, weight_decay=0.5, betas=[0.5, 0.9])
    resumed = make_trainer(tmp_path, steps=4, optimisation=asked)
    resumed.resume()
    assert [group["peak"] for group in resumed.optimiser.param_groups] == [1e-6, 1e-5]
    assert {(group["weight_decay"], group["betas"]) for group in resumed.optimiser.param_groups} == {(0.5, (0.5, 0.9))}
    assert all(state["step"] == 2 for state in resumed.optimiser.state.values()), "the moments are the checkpoint's"


def test_going_back_to_an_older_checkpoint_sets_the_later_ones_aside(tmp_path, caplog):
    make_trainer(tmp_path, steps=6, checkpoint_every=3).fit(Noise())
    old, _ = checkpoints(tmp_path)
    back = make_trainer(tmp_path, steps=6, checkpoint_every=1, keep=1)
    back.resume(old)
    assert "step_00000006 is now abandoned_step_00000006" in caplog.text
    assert checkpoints(tmp_path) == [old]
    back.step = 4
    back.save()
    assert [c.name for c in checkpoints(tmp_path)] == ["step_00000004"]
    again = make_trainer(tmp_path, steps=6)
    again.resume()
    assert again.step == 4


def test_what_a_killed_process_left_is_removed(tmp_path):
    trainer = make_trainer(tmp_path, steps=2, checkpoint_every=2)
    for name in (".step_00000001.k3x", ".step_00000001.old"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    trainer.fit(Noise())
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step_00000002"]


@pytest.mark.slow
def test_a_signal_to_the_whole_group_leaves_a_checkpoint(tmp_path):
    """Slurm, systemd and timeout(1) signal the loading processes too."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_trainer import *\n"
        f"trainer = make_trainer(Path({str(tmp_path)!r}), steps=10_000, checkpoint_every=10_000, workers=1)\n"
        "trainer.fit(Noise())\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        while not (tmp_path / "history.jsonl").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)  # a poll: the file system has no event to wait for
        os.killpg(process.pid, signal.SIGTERM)
        _, told = process.communicate(timeout=120)
    finally:
        process.kill()
    assert "DataLoader worker" not in told
    assert len(checkpoints(tmp_path)) == 1, told
