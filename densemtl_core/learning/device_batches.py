"""Batches on the device that trains: on a GPU the next one is copied there while the present one is worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError

__all__ = ["moved", "on_device"]


def moved(batch: Sample, device: torch.device, channels_last: bool = False) -> Sample:
    """A batch on a device; from page-locked memory the copy goes on after this has returned.

    Args:
        batch: with a batch dimension; where it lies there already, nothing is copied.
        device: to which.
        channels_last: the images' memory format.
    """

    def to(x: Tensor) -> Tensor:
        return x.to(device, non_blocking=True)

    memory = torch.channels_last if channels_last else torch.preserve_format
    return replace(
        batch,
        image=batch.image.to(device, non_blocking=True, memory_format=memory),
        labels={name: to(label) for name, label in batch.labels.items()},
        intrinsics=None if batch.intrinsics is None else to(batch.intrinsics),
    )


def on_device(batches: Iterable[Sample], device: torch.device, channels_last: bool = False) -> Iterator[Sample]:
    """The batches, in their order, on a device.

    On CUDA the batch after the one that is given out has been asked for, and its copy begun, in a stream of its own.

    Args:
        batches: each as `densemtl_core.data.sample.collate` makes it.
        device: to which.
        channels_last: the images' memory format.
    """
    if device.type != "cuda":
        for batch in batches:
            yield moved(batch, device, channels_last)
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    before: tuple[Sample, torch.cuda.Event] | None = None
    failed: InputError | None = None
    try:
        for batch in batches:
            if batch.image.is_cuda:  # rendered there, in the stream that trains
                copy, done = moved(batch, device, channels_last), torch.cuda.current_stream(device).record_event()
            else:
                with torch.cuda.stream(copying):
                    copy, done = moved(batch, device, channels_last), copying.record_event()
            if before is not None:
                yield _arrived(*before)
            before = copy, done
    except InputError as error:  # of a sample after the one that waits, which comes first
        failed = error
    if before is not None:
        yield _arrived(*before)
    if failed is not None:
        raise failed


def _arrived(batch: Sample, done: torch.cuda.Event) -> Sample:
    """The batch, for the present stream, which waits for the copy; the process does not."""
    stream = torch.cuda.current_stream(batch.image.device)
    stream.wait_event(done)
    for x in (batch.image, batch.intrinsics, *batch.labels.values()):
        if x is not None:
            x.record_stream(stream)  # its memory may not be given to the copying stream before this one is done with it
    return batch
