"""Shared memory of dead processes is removed, and nothing else."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time

from densemtl_ros.shared_memory import free_bytes, remove_abandoned

DEAD, LIVE, YOUNG = (f"fastdds_{digit * 16}" for digit in "abc")
LOCK_AND_TELL = (
    "import fcntl,sys; f=open(sys.argv[1]); fcntl.flock(f,fcntl.LOCK_EX); print('locked',flush=True); input()"
)


def segment(folder, name, age=1000.0):
    (folder / name).write_bytes(bytes(8192))
    (folder / f"{name}_el").touch()
    os.utime(folder / f"{name}_el", (time.time() - age,) * 2)


def test_only_an_old_segment_whose_owner_is_dead_goes(tmp_path):
    for name, age in ((DEAD, 1000.0), (LIVE, 1000.0), (YOUNG, 1.0)):
        segment(tmp_path, name, age)
    with (tmp_path / f"{LIVE}_el").open() as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert remove_abandoned(tmp_path) >= 8192
        assert {path.name for path in tmp_path.iterdir()} == {LIVE, f"{LIVE}_el", YOUNG, f"{YOUNG}_el"}
        assert remove_abandoned(tmp_path) == 0


def test_a_segment_is_abandoned_when_its_process_is_killed(tmp_path):
    segment(tmp_path, DEAD)
    command = [sys.executable, "-c", LOCK_AND_TELL, str(tmp_path / f"{DEAD}_el")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "locked\n"
        assert remove_abandoned(tmp_path) == 0
        owner.kill()
        owner.wait()
        assert remove_abandoned(tmp_path) > 0
    assert not list(tmp_path.iterdir())


def test_other_files_links_and_pipes_are_let_alone(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("fastdds_port7410", "fastdds_short", f"other_{'a' * 16}"):
        segment(tmp_path, name)
    (tmp_path / DEAD).symlink_to(precious)
    (tmp_path / f"{DEAD}_el").symlink_to(precious)
    (tmp_path / f"{LIVE}_el").touch()  # a lock without its segment
    os.mkfifo(tmp_path / f"{YOUNG}_el")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert remove_abandoned(tmp_path, older_than=-1.0) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert precious.read_text() == "mine"


def test_without_the_folder_nothing_happens(tmp_path):
    assert remove_abandoned(tmp_path / "none") == 0
    assert free_bytes(tmp_path / "none") == 0
    assert free_bytes(tmp_path) > 0
