"""What cannot be written is told with its name, and nothing half-written stays."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from densemtl_core.learning.written_files import UnwritableError, write_whole, writing


def fail(monkeypatch, code: int) -> None:
    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    # Where a full disk shows at the latest: before it, the bytes may have gone no farther than memory.
    monkeypatch.setattr(os, "fsync", full)


def test_a_file_is_written_in_a_new_folder_and_replaced(tmp_path):
    file = tmp_path / "a/b.txt"
    write_whole(file, "eins ä")
    write_whole(file, b"zwei")
    assert file.read_bytes() == b"zwei"
    assert [p.name for p in file.parent.iterdir()] == ["b.txt"]


def test_a_full_disk_is_told_with_the_file_and_the_room_that_is_left(tmp_path, monkeypatch):
    file = tmp_path / "scores.json"
    write_whole(file, "before")
    fail(monkeypatch, errno.ENOSPC)
    told = rf"^{file} cannot be written \(No space left on device, [\d.]+ MB are free of 0\.0 MB needed\); make room$"
    with pytest.raises(UnwritableError, match=told):
        write_whole(file, "after")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_room_is_no_remedy_for_other_faults(tmp_path, monkeypatch):
    fail(monkeypatch, errno.EACCES)
    with pytest.raises(UnwritableError, match=r"\(Permission denied\); check the folder and its permissions"):
        write_whole(tmp_path / "a", "")


def test_the_folder_need_not_exist_yet(tmp_path):
    with pytest.raises(UnwritableError, match="MB are free"), writing(tmp_path / "not/yet/there"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
def test_the_line_of_a_really_full_device():
    with (
        pytest.raises(UnwritableError, match=r"^/dev/full cannot be written \(No space left on device, "),
        writing(Path("/dev/full")),
        open("/dev/full", "w") as file,
    ):
        file.write("x")
