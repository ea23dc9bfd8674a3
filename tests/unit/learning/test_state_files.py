from __future__ import annotations

import os

import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.learning.state_files import read_state, write_state
from densemtl_core.learning.written_files import UnwritableError

STATE = {
    "step": 3,
    "nested": {0: {"exp_avg": torch.arange(6.0).view(2, 3)}, "name": "x", "none": None, "flag": True},
    "list": [1.5, torch.tensor(2), (1, "two")],
    "empty": {},
}


def test_round_trip(tmp_path):
    read = read_state(write_state(tmp_path / "s", STATE))
    assert read["step"] == 3
    assert torch.equal(read["nested"][0]["exp_avg"], STATE["nested"][0]["exp_avg"])
    assert {k: v for k, v in read["nested"].items() if k != 0} == {"name": "x", "none": None, "flag": True}
    assert read["list"][0] == 1.5
    assert read["list"][1].item() == 2
    assert read["list"][2] == (1, "two")
    assert read["empty"] == {}


def test_tensors_that_share_memory(tmp_path):
    shared = torch.arange(4.0)
    read = read_state(write_state(tmp_path / "s", {"a": shared, "b": shared[:2]}))
    assert read["b"].tolist() == [0, 1]


def test_what_has_no_place_is_named(tmp_path):
    with pytest.raises(TypeError, match="state at /a/b is a set"):
        write_state(tmp_path / "s", {"a": {"b": {1}}})
    assert list(tmp_path.iterdir()) == []


def test_a_crash_leaves_the_old_state(tmp_path, monkeypatch):
    write_state(tmp_path / "s", {"step": 1})

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    told = r"/s cannot be written \(No space left on device, [\d.]+ MB are free of 0\.0 MB needed\)"
    with pytest.raises(UnwritableError, match=told):
        write_state(tmp_path / "s", {"step": 2})
    assert read_state(tmp_path / "s") == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("name", ["tensors.safetensors", "tree.json"])
def test_missing_and_damaged_files_are_told(tmp_path, name):
    folder = write_state(tmp_path / "s", STATE)
    (folder / name).write_bytes(b"{")
    with pytest.raises(InputError, match="is damaged"):
        read_state(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        read_state(folder)
