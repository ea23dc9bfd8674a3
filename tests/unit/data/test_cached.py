"""Samples that are prepared once and kept as files."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.data.cached import CachedDataset, PreparedDataset
from densemtl_core.data.sample import Sample, collate
from densemtl_core.errors import InputError


class Counted(torch.utils.data.Dataset):
    """Random samples, and how often each was made; in its odd ones the camera is unknown."""

    def __init__(self, length: int = 5) -> None:
        self.made: list[int] = []
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        self.made.append(index)
        g = torch.Generator().manual_seed(index)
        depth = torch.rand(1, 4, 6, generator=g)
        depth[0, 0, 0], depth[0, 0, 1] = torch.nan, torch.inf
        labels = {"semantic": torch.randint(0, 255, (4, 6), generator=g), "depth": depth, "pose+1": torch.eye(4)}
        K = None if index % 2 else torch.rand(3, 3, generator=g)
        return Sample(torch.rand(3, 4, 6, generator=g), labels, K, f"frame {index}")


def same(a: Sample, b: Sample) -> bool:
    if (a.name, a.labels.keys(), a.intrinsics is None) != (b.name, b.labels.keys(), b.intrinsics is None):
        return False
    pairs = [(a.image, b.image), *((a.labels[n], b.labels[n]) for n in a.labels)]
    if a.intrinsics is not None:
        pairs.append((a.intrinsics, b.intrinsics))
    return all(x.dtype == y.dtype and torch.equal(x.nan_to_num(-1), y.nan_to_num(-1)) for x, y in pairs)


def test_made_once_and_the_same_bit_for_bit(tmp_path):
    source = Counted()
    first = CachedDataset(source, tmp_path / "cache")
    wanted = [first[i] for i in (0, 1, 0, 1, 1)]
    assert source.made == [0, 1]
    fresh = Counted()
    again = CachedDataset(fresh, tmp_path / "cache")
    assert all(same(again[i], sample) for i, sample in zip((0, 1), wanted, strict=False))
    assert fresh.made == []
    assert same(again[-1], Counted()[4])
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [f"00000{n}.safetensors" for n in (0, 1, 4)]


def test_a_cut_file_is_made_again(tmp_path):
    data = CachedDataset(Counted(), tmp_path)
    sample = data[2]
    file = tmp_path / "000002.safetensors"
    for size in (0, 5, file.stat().st_size - 3):
        file.write_bytes(file.read_bytes()[:size])
        assert same(data[2], sample)
        assert same(CachedDataset(Counted(), tmp_path)[2], sample)


def test_an_index_outside_ends_iteration(tmp_path):
    assert len(list(CachedDataset(Counted(3), tmp_path))) == 3


def test_several_processes_share_one_folder(tmp_path):
    data = CachedDataset(Counted(8), tmp_path)
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2, collate_fn=collate)
    names = [batch.name for batch in loader]
    assert names == [f"frame {n}, frame {n + 1}" for n in (0, 2, 4, 6)]
    assert len(list(tmp_path.iterdir())) == 8


def test_a_place_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache .*file/here cannot be written \(.+\); give another data\.cache"):
        CachedDataset(Counted(), tmp_path / "file/here")
    data = CachedDataset(Counted(), tmp_path / "cache")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("densemtl_core.data.cached.safetensors.torch.save_file", full)
    with pytest.raises(InputError, match="No space left on device"):
        data[0]
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("count", "expected"), [(None, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4]), (2, [0, 2]), (1, [0]), (3, [0, 1, 3])]
)
def test_prepared_samples_are_spread_evenly(count, expected):
    source = Counted()
    data = PreparedDataset(source, lambda sample: Sample(sample.image * 0, name=sample.name.upper()), count)
    found = list(data)
    assert source.made == expected
    assert [sample.name for sample in found] == [f"FRAME {n}" for n in expected]
    assert all(not sample.image.any() for sample in found)
