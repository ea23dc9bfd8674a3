"""A disk that fills while a network trains: one line with the place, and what was written before is still good."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
import torch
from tensorboard.summary.writer.record_writer import RecordWriter

from densemtl_core.learning.run_files import checkpoints
from densemtl_core.learning.state_files import read_state
from densemtl_core.learning.written_files import UnwritableError
from training import train
from training.curves import Curves

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = str(Path(__file__).resolve().parents[3] / "training/configs/street_first.yaml")
TINY = ["preset=densemtl_edge_s", "encoder_weights=null", "tasks=[edges]", "data.size=[32,64]", "data.train=4"]
TINY += ["data.validation=0", "run.batch=2", "run.workers=0", "run.log_every=1", "run.checkpoint_every=1"]


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def command(out: Path, *arguments: str) -> list[str]:
    return ["--config", CONFIG, "--out", str(out), "--threads", "1", *TINY, "run.steps=2", *arguments]


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before_and_the_run_goes_on_from_it(
    tmp_path, monkeypatch, capsys
):
    out, flush = tmp_path / "run", os.fsync

    def fills_up(number: int) -> None:
        full() if "step_00000002" in os.readlink(f"/proc/self/fd/{number}") else flush(number)

    monkeypatch.setattr(os, "fsync", fills_up)
    assert train.main(command(out)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {out}/checkpoints/step_00000002 cannot be written (No space left on device, ")
    assert line.endswith(f" MB needed); make room, then go on with the same command and --resume last --out {out}")
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step_00000001"], "nothing half-written"
    assert read_state(checkpoints(out)[0])["step"] == 1
    monkeypatch.undo()
    assert train.main(command(out, "--resume", "last")) == 0
    assert checkpoints(out)[-1].name == "step_00000002"


def test_before_the_first_checkpoint_there_is_nothing_to_go_on_with(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "fsync", full)
    assert train.main(command(tmp_path / "run")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {tmp_path}/run/config.yaml cannot be written (No space left on device, ")
    assert line.endswith("; make room, then begin again: no checkpoint had been written")


@pytest.mark.parametrize("when", ["first", "later", "last"])
def test_curves_that_find_no_room(tmp_path, monkeypatch, capfd, when):
    """Their thread would print a traceback, and the system's error names no file."""
    hook, told = threading.excepthook, rf"^{tmp_path}/tensorboard cannot be written \(No space left on device, "
    if when == "first":
        monkeypatch.setattr(RecordWriter, "write", full)

    def draw() -> None:
        with Curves(tmp_path) as curves:
            curves.losses({"step": 1, "loss": 1.0})
            monkeypatch.setattr(RecordWriter, "write" if when == "later" else "flush", full)
            for step in range(2, 30 if when == "later" else 3):
                curves.losses({"step": step, "loss": 1.0})

    with pytest.raises(UnwritableError, match=told):
        draw()
    assert threading.excepthook is hook
    assert capfd.readouterr().err == ""


def test_what_ended_a_run_is_told_and_not_that_its_curves_cannot_be_closed(tmp_path, monkeypatch):
    curves = Curves(tmp_path)
    with pytest.raises(KeyError), curves:
        raise monkeypatch.setattr(RecordWriter, "flush", full) or KeyError


def test_a_gpu_that_is_too_small_is_one_line(tmp_path, monkeypatch, capsys):
    def small(*args, **kwargs) -> None:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"
        )

    monkeypatch.setattr(train, "run", small)
    assert train.main(command(tmp_path / "run")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(
        "error: CUDA out of memory; lower run.batch or data.size, or give precision=bf16-mixed, then"
    )
