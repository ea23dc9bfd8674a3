"""Samples and their batches."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.data.sample import Sample, collate
from densemtl_core.errors import InputError


def sample(value: float, *names: str, camera: bool = True) -> Sample:
    labels = {name: torch.full((1, 2, 3), value) for name in names}
    return Sample(torch.full((3, 2, 3), value), labels, torch.eye(3) * value if camera else None, f"s{value:g}")


def test_collate_stacks_every_field_in_order() -> None:
    batch = collate([sample(1, "depth"), sample(2, "depth")])
    assert batch.image.shape == (2, 3, 2, 3)
    assert batch.labels["depth"][:, 0, 0, 0].tolist() == [1, 2]
    assert batch.intrinsics is not None
    assert batch.intrinsics[1, 0, 0] == 2
    assert batch.name == "s1, s2"


def test_collate_keeps_only_what_every_sample_has() -> None:
    batch = collate([sample(1, "depth", "edges"), sample(2, "depth", camera=False)])
    assert set(batch.labels) == {"depth"}
    assert batch.intrinsics is None


def test_collate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        collate([])


def test_images_of_different_sizes_are_told_apart():
    samples = [Sample(torch.zeros(3, 4, 8), name="a.png"), Sample(torch.zeros(3, 6, 8), name="b.png")]
    with pytest.raises(InputError, match=r"b\.png is 8x6, a\.png 8x4.*set data\.size"):
        collate(samples)
