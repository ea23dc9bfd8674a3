"""A long command says where it is: lines in a file, a line that changes on a terminal."""

from __future__ import annotations

import io

import pytest

from deploy.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_stage_has_the_time_since_the_start(clock):
    stream = io.StringIO()
    progress = Progress(stream, clock=clock)
    progress.stage("export")
    clock.now += 83
    progress.stage("judge", 32)
    progress.tell("done")
    assert stream.getvalue() == "[   0 s] export ...\n[  83 s] judge: 32 frames ...\ndone\n"


def test_in_a_file_a_count_is_a_line_now_and_then(clock):
    stream = io.StringIO()
    progress = Progress(stream, every=10, clock=clock)
    progress.stage("judge", 32)
    for count in range(1, 33):
        clock.now += 1
        progress.done(count)
    counted = stream.getvalue().splitlines()[1:]
    assert counted == [f"[{n:4} s] judge: {n} of 32 frames" for n in (10, 20, 30)]


def test_on_a_terminal_it_is_a_line_that_changes_and_goes(clock):
    stream = Terminal()
    progress = Progress(stream, clock=clock)
    progress.stage("judge", 2)
    progress.done(1)
    progress.done(2)
    progress.tell("int8")
    first, *rest = stream.getvalue().split("\r\033[K")
    assert first == "[   0 s] judge: 2 frames ...\n"
    assert rest == ["[   0 s] judge: 1 of 2 frames", "[   0 s] judge: 2 of 2 frames", "int8\n"]


def test_without_a_stream_nothing_is_told(capsys):
    progress = Progress()
    progress.stage("judge", 2)
    progress.done(1)
    progress.tell("int8")
    assert capsys.readouterr() == ("", "")
