"""What a training step of the published network costs: attention without its matrix against attention with it.

    OMP_NUM_THREADS=1 python docs/benchmarks/training_step.py       # writes docs/benchmarks/training_step.json
    python docs/benchmarks/training_step.py --device cuda      # writes docs/benchmarks/training_step_cuda.json

Forward, the tasks' losses at both heads, backward; `densemtl_r101`, batch of one (so ASPP's image-level branch, which
cannot normalise a batch of one, uses its running statistics). The two variants are one network: the explicit one has
`attend` replaced by ``softmax(q k / sqrt(C)) v`` written out.

Times: one process, the variants in turns, the order swapped each round; on a CPU the process's own seconds, which a
busy machine lengthens less than those on the wall. Memory: each variant in a process of its own, the growth of the
resident set at its peak over its level before the step (on CUDA: of the allocator's).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from measuring import extra_peak, resident
from torch import Tensor, nn

from densemtl_core.data.sample import Sample
from densemtl_core.data.street import StreetWorld
from densemtl_core.models import build_model, exchange
from densemtl_core.tasks import Task, make_tasks

TASK_WEIGHTS = {  # the paper's
    "semantic,depth": {"semantic": 50.0, "depth": 1.0},
    "semantic,depth,normals,edges": {"semantic": 100.0, "depth": 1.0, "normals": 100.0, "edges": 50.0},
}
TWO, FOUR = TASK_WEIGHTS
VARIANTS = ("fused", "explicit")


def explicit_attend(queries: list[Tensor], keys: list[Tensor], values: list[Tensor]) -> list[Tensor]:
    """`densemtl_core.models.exchange.attend` with the n x n matrix of every direction."""
    mixed = []
    for query, key, value in zip(queries, keys, values, strict=True):
        q, k, v = query.flatten(2), key.flatten(2), value.flatten(2)
        matrix = torch.softmax(q.transpose(1, 2) @ k / q.shape[1] ** 0.5, dim=-1)
        mixed.append((v @ matrix.transpose(1, 2)).view_as(query))
    return mixed


@contextmanager
def attention(variant: str) -> Iterator[None]:
    """The exchange with one of the variants."""
    ours = exchange.attend
    if variant == "explicit":
        exchange.attend = explicit_attend
    try:
        yield
    finally:
        exchange.attend = ours


class TrainingStep:
    """The network, a labelled frame of the street world, and one step with them.

    Args:
        tasks: a key of `TASK_WEIGHTS`.
        size: ``(H, W)`` of the frame.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, tasks: str, size: tuple[int, int], device: str) -> None:
        torch.manual_seed(0)
        self.weights = TASK_WEIGHTS[tasks]
        self.device = torch.device(device)
        self.tasks: tuple[Task, ...] = make_tasks(tuple(self.weights), num_classes=19)
        self.model = build_model("densemtl_r101", self.tasks)
        for name, parameter in self.model.named_parameters():
            if name.endswith("alpha"):  # zero at the start: attention would have neither influence nor gradient
                nn.init.uniform_(parameter, 0.5, 1.5)
        self.model.to(self.device).train()
        for name, module in self.model.named_modules():
            if name.endswith("pooled"):  # ASPP's image-level branch: its batch normalisation needs two images
                module.eval()
        world = StreetWorld(seed=0, split="train", size=size, style="mixed", length=1)
        frame = world.batch([0])
        labels = {name: frame.labels[name].to(self.device) for name in self.weights}
        self.batch = Sample(frame.image.to(self.device), labels)

    def run(self, variant: str) -> dict[str, list[Tensor]]:
        """Forward, loss, backward; gradients replace those of the step before."""
        torch.manual_seed(1)  # the same dropout in every step
        self.model.zero_grad(set_to_none=True)
        with attention(variant):
            outputs: dict[str, list[Tensor]] = self.model(self.batch.image)
            losses = {t.name: [t.loss(raw, self.batch.labels[t.name]) for raw in outputs[t.name]] for t in self.tasks}
            torch.stack([self.weights[n] * torch.stack(scales).mean() for n, scales in losses.items()]).sum().backward()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return outputs

    def gradients(self) -> dict[str, Tensor]:
        """A copy of every parameter's gradient, by name."""
        named = self.model.named_parameters()
        return {name: p.grad.detach().clone() for name, p in named if p.grad is not None}


def peak_of_a_step(tasks: str, size: tuple[int, int], device: str, variant: str) -> dict[str, float]:
    """MiB before the step and by how much it grows at most; nothing but this variant ran in the process."""
    step = TrainingStep(tasks, size, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
        step.run(variant)
        return {"before_MiB": before, "extra_peak_MiB": torch.cuda.max_memory_allocated() / 2**20 - before}
    before = resident()
    return {"before_MiB": before, "extra_peak_MiB": extra_peak(lambda: step.run(variant))}


def peaks(given: argparse.Namespace, tasks: str) -> dict[str, object]:
    """`peak_of_a_step` of both variants, each in a fresh interpreter."""
    figures: dict[str, dict[str, float]] = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, "--size", given.size, "--device", given.device]
        command += ["--threads", str(given.threads), "--memory-of", tasks, variant]
        # Freed tensors go back to the system at once, so that what is resident is what is in use.
        env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)  # noqa: S603
        figures[variant] = json.loads(answer.stdout)
    fused, explicit = (figures[variant]["extra_peak_MiB"] for variant in VARIANTS)
    return {**figures, "saved_MiB": explicit - fused, "ratio": fused / explicit}


def seconds(call: Callable[[], object], device: str) -> float:
    """Duration of a call: the processor's seconds spent on it, or on CUDA those of the device's own clock."""
    if device == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1000
    begin = time.process_time()
    call()
    return time.process_time() - begin


def differences(step: TrainingStep) -> dict[str, float]:
    """How far the variants' outputs and gradients are apart, as shares of their own size.

    For the gradients: the norm of the difference over the norm, of all parameters together and of the parameters of
    the exchange alone.
    """
    outputs = {v: step.run(v) for v in VARIANTS}
    flat = {v: torch.cat([o.detach().flatten() for scales in outputs[v].values() for o in scales]) for v in VARIANTS}
    gradients = {}
    for variant in VARIANTS:
        step.run(variant)
        gradients[variant] = step.gradients()

    def apart(names: list[str]) -> float:
        one, other = (torch.cat([gradients[v][n].flatten().double() for n in names]) for v in VARIANTS)
        return float((one - other).norm() / other.norm())

    names = sorted(gradients["fused"])
    inner = [n for n in names if n.startswith("exchange")]
    return {
        "output_max_difference": float((flat["fused"] - flat["explicit"]).abs().max()),
        "output_max": float(flat["explicit"].abs().max()),
        "gradient_difference": apart(names),
        "gradient_difference_in_the_exchange": apart(inner),
    }


def times(calls: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, object]:
    """Seconds of the variants in turns."""
    taken: dict[str, list[float]] = {variant: [] for variant in calls}
    for k in range(rounds):
        for variant in VARIANTS if k % 2 == 0 else VARIANTS[::-1]:
            taken[variant].append(seconds(calls[variant], device))
    ratios = [a / b for a, b in zip(taken["fused"], taken["explicit"], strict=True)]
    return {
        "seconds": {
            v: {"median": statistics.median(t), "min": min(t), "max": max(t), "runs": len(t)} for v, t in taken.items()
        },
        "fused_over_explicit": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
    }


def attention_alone(size: tuple[int, int], rounds: int, device: str) -> dict[str, object]:
    """One direction's attention, forward and backward, without the network around it."""
    maps = [torch.randn(1, 128, size[0] // 8, size[1] // 8, device=device, requires_grad=True) for _ in range(3)]

    def run(variant: str) -> None:
        for one in maps:
            one.grad = None
        with attention(variant):
            exchange.attend(*([one] for one in maps))[0].square().sum().backward()

    calls = {variant: partial(run, variant) for variant in VARIANTS}
    for call in calls.values():
        call()
    return times(calls, rounds, device)


def size_of(text: str) -> tuple[int, int]:
    """``HEIGHTxWIDTH``, both multiples of 32."""
    height, width = (int(v) for v in text.split("x"))
    if height % 32 or width % 32:
        raise SystemExit(f"--size is {text}; give multiples of 32")
    return height, width


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size", default="320x1024", help="HEIGHTxWIDTH (default: %(default)s, the paper's on VKITTI2)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", type=Path, help="default: beside this script, training_step[_cuda].json")
    parser.add_argument("--memory-of", nargs=2, metavar=("TASKS", "VARIANT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    size = size_of(given.size)
    if given.memory_of:
        tasks, variant = given.memory_of
        print(json.dumps(peak_of_a_step(tasks, size, given.device, variant)))
        return
    memory = {tasks: peaks(given, tasks) for tasks in TASK_WEIGHTS}  # first: this process is small yet
    step = TrainingStep(TWO, size, given.device)
    positions = (size[0] // 8) * (size[1] // 8)
    report = {
        "command": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python docs/benchmarks/training_step.py "
        f"--size {given.size} --rounds {given.rounds} --threads {given.threads} --device {given.device}",
        "machine": {
            "processor": torch.cuda.get_device_name() if given.device == "cuda" else platform.machine(),
            "threads": given.threads,
            "torch": torch.__version__,
        },
        "step": {"preset": "densemtl_r101", "batch": 1, "size": given.size},
        "positions": positions,
        "matrix_MiB_a_direction": positions**2 * 4 / 2**20,
        "memory": memory,
        "agreement": {"tasks": TWO, **differences(step)},
        "time": {"tasks": TWO, **times({v: partial(step.run, v) for v in VARIANTS}, given.rounds, given.device)},
        "time_of_attention_alone": attention_alone(size, given.rounds, given.device),
    }
    out = given.out or Path(__file__).with_name(f"training_step{'_cuda' if given.device == 'cuda' else ''}.json")
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
