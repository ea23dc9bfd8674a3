"""Signals and who heeds them; that a run is saved by one is in test_trainer."""

from __future__ import annotations

import os
import signal

import pytest

from densemtl_core.learning.interruption import STOPPING, Interruption


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_asks_and_the_second_raises(number, caplog):
    before = signal.getsignal(number)
    with Interruption(alone=True) as interruption:
        assert not interruption.asked
        signal.raise_signal(number)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert len(caplog.records) == 1
    assert signal.getsignal(number) is before


def test_a_child_that_inherits_the_handler_says_and_does_nothing(monkeypatch, caplog):
    """A loading process that is just starting: the terminal's Ctrl-C reaches it as well."""
    with Interruption(alone=True) as interruption:
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert not interruption.asked
    assert not caplog.records


def test_of_several_processes_none_listens():
    before = signal.getsignal(signal.SIGTERM)
    with Interruption(alone=False):
        assert signal.getsignal(signal.SIGTERM) is before
