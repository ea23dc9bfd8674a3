"""Batches on their way to the device: the same, in the same order."""

from __future__ import annotations

import pytest
import torch
from test_trainer import Noise

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.learning.batch_stream import _Loaded, batch_stream
from densemtl_core.learning.device_batches import on_device


def equal(a: Sample, b: Sample) -> bool:
    return (
        a.name == b.name
        and torch.equal(a.image.cpu(), b.image.cpu())
        and a.labels.keys() == b.labels.keys()
        and all(torch.equal(a.labels[n].cpu(), b.labels[n].cpu()) for n in a.labels)
    )


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_same_batches_in_the_same_order(channels_last):
    plain = list(batch_stream(Noise(), 2, 0, range(3)))
    there = list(on_device(batch_stream(Noise(), 2, 0, range(3)), torch.device("cpu"), channels_last))
    assert len(there) == 3
    assert all(equal(a, b) for a, b in zip(plain, there, strict=True))
    memory = torch.channels_last if channels_last else torch.contiguous_format
    assert all(b.image.is_contiguous(memory_format=memory) for b in there)


def test_on_a_cpu_no_batch_is_asked_for_early():
    asked = []

    def batches():
        for number, batch in enumerate(batch_stream(Noise(), 2, 0, range(3))):
            asked.append(number)
            yield batch

    stream = on_device(batches(), torch.device("cpu"))
    next(stream)
    assert asked == [0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_gpu_gets_the_same_batches_one_ahead(workers):
    device = torch.device("cuda")
    plain = list(batch_stream(Noise(), 2, 0, range(4)))
    stream = batch_stream(Noise(), 2, 0, range(4), workers=workers, pinned=True)
    there = list(on_device(stream, device))
    assert len(there) == 4
    assert all(b.image.is_cuda for b in there)
    assert all(equal(a, b) for a, b in zip(plain, there, strict=True))


def test_what_could_not_be_made_is_not_pinned():
    broken = _Loaded(InputError("a file is cut"), 0.1)
    assert broken.pin_memory() is broken
