"""Footage with a few frames that cannot be read: others stand in, always the same ones, and each is told once."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from densemtl_core.data.folder import ImageFolder
from densemtl_core.data.image_files import glance, read_rgb
from densemtl_core.data.readable_frames import ReadableFrames
from densemtl_core.data.sample import Sample
from densemtl_core.data.video import Video
from densemtl_core.errors import InputError
from densemtl_core.learning.batch_stream import batch_stream


class Drive(Dataset[Sample]):
    """Frame n is n everywhere; some cannot be read."""

    def __init__(self, length: int, bad: set[int]) -> None:
        self.length, self.bad = length, bad

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if index in self.bad:
            raise InputError(f"drive {id(self)}, frame {index}: cannot be decoded")
        return Sample(torch.full((3, 2, 2), float(index)), name=str(index))


def test_the_next_frame_stands_in_and_the_first_for_the_last(caplog):
    frames = ReadableFrames(Drive(100, {3, 4, 99}))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert [frames[n].name for n in (2, 3, 4, 5, 99, -1)] == ["2", "5", "5", "5", "0", "0"]
    assert len(frames) == 100
    told = [record.getMessage().rpartition("frame ")[2] for record in caplog.records]
    assert told == ["3: cannot be decoded", "4: cannot be decoded", "99: cannot be decoded"], "each once"


def test_any_process_and_any_first_step_sees_the_same():
    def names(first: int, workers: int) -> list[str]:
        frames = ReadableFrames(Drive(40, {7, 30}))
        return [batch.name for batch in batch_stream(frames, 4, 1, range(first, 12), workers=workers)]

    whole = names(0, 0)
    assert names(0, 1) == whole
    assert names(5, 0) == whole[5:]
    assert "8, " in ", ".join(whole)


def test_more_than_a_twentieth_is_refused_when_it_turns_out():
    frames = ReadableFrames(Drive(60, {0, 1, 2, 3}))
    assert frames[1].name == "4"
    with pytest.raises(InputError, match=r"at least 4 of 60 frames cannot be read, more than the 5%.*, frame 0: "):
        frames[0]
    with pytest.raises(InputError, match="at least 2 of 6 frames"):
        ReadableFrames(Drive(6, set(range(6))))[0]
    with pytest.raises(InputError, match="frame 0: cannot be decoded"):
        ReadableFrames(Drive(1, {0}))[0]


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    for n in range(64):
        assert cv2.imwrite(str(tmp_path / f"{n:02d}.{'png' if n % 2 else 'jpg'}"), noise)
    return tmp_path


def cut(file) -> str:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    return str(file)


def test_files_that_were_cut_off_are_found_before_anything_is_drawn(folder, caplog):
    bad = [cut(folder / "04.jpg"), cut(folder / "11.png")]
    (folder / "20.jpg").write_bytes(b"")
    data = ImageFolder(root=folder, frames=(-1, 1))
    with caplog.at_level(logging.WARNING):
        frames = ReadableFrames(data, data.broken())
    told = [record.getMessage() for record in caplog.records]
    assert [line.partition(": ")[2] for line in told] == [
        f"{bad[0]}: not a readable image (the JPEG ends early); copy the file again",
        f"{bad[1]}: not a readable image (the PNG ends early); copy the file again",
        f"{folder / '20.jpg'}: not a readable image (the file is empty); copy the file again",
    ]
    # One file spoils three samples, but is one file.
    assert [frames[n].name[-6:] for n in range(1, 6)] == ["02.jpg", "06.jpg", "06.jpg", "06.jpg", "06.jpg"]
    assert len(frames.broken) == 3
    cut(folder / "50.jpg")
    with pytest.raises(InputError, match="at least 4 of 62 frames"):
        ReadableFrames(data, data.broken())


@pytest.mark.parametrize("damage", [lambda whole: whole, lambda whole: whole + b"\0" * 2000])
@pytest.mark.parametrize("name", ["00.jpg", "01.png"])
def test_a_glance_passes_what_can_be_read(folder, name, damage):
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    assert glance(folder / name) == ""
    assert read_rgb(folder / name).shape == (3, 40, 60)


def test_a_glance_says_what_reading_says(folder):
    for name in ("02.jpg", "03.png"):
        cut(folder / name)
    (folder / "04.jpg").unlink()
    (folder / "04.jpg").mkdir()
    (folder / "05.png").write_bytes(b"")
    for name in ("02.jpg", "03.png", "04.jpg", "05.png"):
        with pytest.raises(InputError) as refused:
            read_rgb(folder / name)
        assert glance(folder / name) == str(refused.value)


def test_a_frame_of_a_video_that_cannot_be_decoded(tmp_path, caplog, monkeypatch):
    file = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 25, (32, 16))
    for n in range(30):
        writer.write(np.full((16, 32, 3), 8 * n, np.uint8))
    writer.release()
    video = Video(root=file)
    decode = video._decode
    monkeypatch.setattr(video, "_decode", lambda number: None if number == 4 else decode(number))
    with caplog.at_level(logging.WARNING):
        assert ReadableFrames(video)[4].name == f"{file}#5"
    assert f"{file}: frame 4 cannot be decoded" in caplog.text
