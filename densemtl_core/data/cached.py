"""Samples that are made once and then read from disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError

__all__ = ["CachedDataset", "PreparedDataset"]

_IMAGE, _INTRINSICS, _LABEL = "image", "intrinsics", "label/"


class PreparedDataset(torch.utils.data.Dataset[Sample]):
    """Samples that all go through one deterministic function; a number of them, evenly spread, or all.

    Args:
        dataset: unbatched samples.
        prepare: from a sample to a sample.
        count: how many are kept; None or more than there are = all.
    """

    def __init__(
        self,
        dataset: torch.utils.data.Dataset[Sample],
        prepare: Callable[[Sample], Sample],
        count: int | None = None,
    ) -> None:
        self.dataset, self.prepare = dataset, prepare
        length = len(dataset)  # type: ignore[arg-type]
        count = length if count is None else min(count, length)
        # Evenly spread: the first n of a drive would all show the same street.
        self.indices = [i * length // count for i in range(count)]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.prepare(self.dataset[self.indices[index]])


class CachedDataset(torch.utils.data.Dataset[Sample]):
    """Keeps every sample that was asked for as a file, so that processes, epochs and runs share the work.

    Tensors come back bit for bit. The folder belongs to one data set with one preparation: give each its own.

    Args:
        dataset: unbatched samples, each a function of its index.
        folder: made if it does not exist.

    Raises:
        InputError: the folder cannot be written, now or later.
    """

    def __init__(self, dataset: torch.utils.data.Dataset[Sample], folder: Path) -> None:
        self.dataset, self.folder = dataset, folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error.strerror) from None

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        file = self.folder / f"{index:06d}.safetensors"
        try:
            return _read(file)
        except (FileNotFoundError, SafetensorError):  # not made yet, or the disk was full while it was written
            sample = self.dataset[index]
        tensors = {_IMAGE: sample.image, **{f"{_LABEL}{n}": x for n, x in sample.labels.items()}}
        if sample.intrinsics is not None:
            tensors[_INTRINSICS] = sample.intrinsics
        partial = file.with_name(f".{file.name}.{os.getpid()}")  # several processes may make the same sample
        try:
            safetensors.torch.save_file(
                {n: x.contiguous().clone() for n, x in tensors.items()}, partial, {"name": sample.name}
            )
            partial.replace(file)
        except (OSError, SafetensorError) as error:
            raise self._unwritable(str(error).splitlines()[0]) from None
        finally:
            partial.unlink(missing_ok=True)
        return sample

    def _unwritable(self, reason: str | None) -> InputError:
        return InputError(f"cache {self.folder} cannot be written ({reason}); give another data.cache, or null")


def _read(file: Path) -> Sample:
    with safe_open(file, framework="pt") as tensors:
        names: Sequence[str] = list(tensors.keys())
        sample = Sample(tensors.get_tensor(_IMAGE), name=tensors.metadata()["name"])
        return replace(
            sample,
            labels={n.removeprefix(_LABEL): tensors.get_tensor(n) for n in names if n.startswith(_LABEL)},
            intrinsics=tensors.get_tensor(_INTRINSICS) if _INTRINSICS in names else None,
        )
