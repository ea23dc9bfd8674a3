"""An endless stream of batches whose order is a pure function of the seed: any step can be the first."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from densemtl_core.data.sample import Sample, collate
from densemtl_core.errors import InputError
from densemtl_core.learning.interruption import STOPPING

__all__ = ["BatchStream", "batch_stream", "step_indices"]


def step_indices(length: int, batch: int, seed: int, step: int, rank: int = 0, ranks: int = 1) -> list[int]:
    """The samples that one process sees at one step.

    Epoch after epoch is a fresh permutation of the data set, cut into global batches; a rank takes every ``ranks``-th
    sample of a global batch. Nothing has to be remembered to go on after an interruption but the step.

    Args:
        length: of the data set, at least ``batch``.
        batch: global batch size, a multiple of ``ranks``.
        seed: of the order.
        step: counted from 0.
        rank: of this process.
        ranks: number of processes.
    """
    per_epoch = length // batch  # the last, incomplete batch of an epoch is left out: batches keep their size
    epoch, position = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    order = torch.randperm(length, generator=generator)
    return order[position * batch : (position + 1) * batch][rank::ranks].tolist()


class _Steps(torch.utils.data.Sampler[tuple[int, list[int]]]):
    def __init__(self, length: int, batch: int, seed: int, steps: range, rank: int, ranks: int) -> None:
        self.length, self.batch, self.seed, self.steps, self.rank, self.ranks = length, batch, seed, steps, rank, ranks

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        for step in self.steps:
            indices = step_indices(self.length, self.batch, self.seed, step, self.rank, self.ranks)
            yield step // (self.length // self.batch), indices

    def __len__(self) -> int:
        return len(self.steps)


@dataclass
class _Loaded:
    """What comes from a loading process: a batch, or what kept it from being made, and the seconds that it took."""

    batch: Sample | InputError
    seconds: float

    def pin_memory(self) -> _Loaded:
        """A loader calls it: from page-locked memory a GPU copies without keeping this process waiting."""
        if isinstance(self.batch, InputError):
            return self
        sample = self.batch
        pinned = replace(
            sample,
            image=_pinned(sample.image),
            labels={name: _pinned(label) for name, label in sample.labels.items()},
            intrinsics=None if sample.intrinsics is None else _pinned(sample.intrinsics),
        )
        return _Loaded(pinned, self.seconds)


def _pinned(x: Tensor) -> Tensor:
    return x.pin_memory() if x.device.type == "cpu" else x


class _Batches(Dataset[Any]):
    """Whole batches by (epoch, indices); uses a data set's own ``batch`` and ``set_epoch`` where it has them.

    The epoch travels with the indices: a loader's process cannot be told of it in any other way. An `InputError`
    travels back as a value: a loader would hide its one line in the traceback of its process.
    """

    def __init__(self, dataset: Dataset[Sample]) -> None:
        self.dataset = dataset

    def __getitem__(self, item: tuple[int, Sequence[int]]) -> _Loaded:
        begun = time.perf_counter()
        epoch, indices = item
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)
        own: Any = getattr(self.dataset, "batch", None)
        try:
            made: Sample | InputError = own(indices) if own else collate([self.dataset[i] for i in indices])
        except InputError as error:
            made = error
        return _Loaded(made, time.perf_counter() - begun)


class BatchStream(Iterator[Sample]):
    """The batches of `batch_stream`, one after the other.

    Attributes:
        making: seconds that making the batches took so far that were handed out, in whatever process.
    """

    def __init__(self, loader: Iterable[_Loaded]) -> None:
        self._loader = loader
        self._loaded: Iterator[_Loaded] | None = None
        self.making = 0.0

    def __next__(self) -> Sample:
        if self._loaded is None:
            self._loaded = iter(self._loader)  # starts the processes
        one = next(self._loaded)
        self.making += one.seconds
        if isinstance(one.batch, InputError):
            raise one.batch
        return one.batch

    def close(self) -> None:
        """End the loading processes. They do not heed the signals with which Python would end them as it exits."""
        loaded, self._loaded = self._loaded, None
        # The loader does it as soon as nobody refers to it; a traceback may. It has no public name for it.
        end = getattr(loaded, "_shutdown_workers", None)
        if end is not None:
            end()


def batch_stream(
    dataset: Dataset[Sample],
    batch: int,
    seed: int,
    steps: range,
    *,
    workers: int = 0,
    rank: int = 0,
    ranks: int = 1,
    what: str = "the data set",
    pinned: bool = False,
) -> BatchStream:
    """Batches for a range of steps.

    Args:
        dataset: of unbatched samples, with a length.
        batch: global batch size.
        seed: of the order.
        steps: ``range(first, last)``; the first batch is that of step ``first``.
        workers: processes that load ahead.
        rank: of this process.
        ranks: number of processes.
        what: the data set's name in messages.
        pinned: in page-locked memory, from which a GPU copies beside other work.

    Raises:
        InputError: fewer samples than a batch, or a batch that the ranks cannot share; while it runs, what the data
            set raises.
    """
    length = len(dataset)  # type: ignore[arg-type]
    if length < batch:
        raise InputError(
            f"{what} has {length} samples, fewer than one batch of {batch}; lower run.batch or give more samples"
        )
    if batch % ranks:
        raise InputError(f"the global batch of {batch} cannot be shared by {ranks} processes")
    sampler = _Steps(length, batch, seed, steps, rank, ranks)
    # The sampler gives whole batches of indices: batch_size=None hands them on as they are.
    loader = DataLoader(
        _Batches(dataset),
        batch_size=None,
        sampler=sampler,  # type: ignore[arg-type]
        num_workers=workers,
        worker_init_fn=_begin_worker,
        # Its own: a loader that drew its workers' seed from the global generator would shift dropout after a resume.
        generator=torch.Generator().manual_seed(seed),
        persistent_workers=False,
        pin_memory=pinned,
    )
    return BatchStream(loader)


def _begin_worker(_: int) -> None:
    torch.set_num_threads(1)
    # A terminal's Ctrl-C and a scheduler's SIGTERM reach every process of the group; the trainer alone decides when to
    # stop, and then needs no batch more.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
