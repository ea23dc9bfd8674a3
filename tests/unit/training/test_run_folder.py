"""A run's folder belongs to one process, and says what is true."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from densemtl_core.errors import InputError
from training.run_folder import flat, open_run, refuse_unfit, tell_changes, write_settings
from training.settings import Settings


def test_a_second_training_is_refused_while_the_first_goes_on(tmp_path):
    with (
        open_run(tmp_path / "run", fresh=True),
        pytest.raises(InputError, match="another process is training into"),
        open_run(tmp_path / "run", fresh=True),
    ):
        pass
    with open_run(tmp_path / "run", fresh=True):
        pass  # free again


def test_what_an_attempt_without_a_checkpoint_left_is_removed(tmp_path):
    (tmp_path / "history.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    with open_run(tmp_path, fresh=False):
        assert (tmp_path / "history.jsonl").exists()
    with open_run(tmp_path, fresh=True):
        assert not (tmp_path / "history.jsonl").exists()
        assert not (tmp_path / "tensorboard").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_is_no_folder(tmp_path, place):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file, or lies below one"):
        refuse_unfit(tmp_path / place, fresh=True)


def test_the_current_directory_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="current directory"):
        refuse_unfit(Path(""), fresh=True)


def test_changes_are_told_one_by_one(tmp_path, caplog):
    write_settings(tmp_path, Settings(preset="densemtl_edge_s"))
    changed = Settings(preset="densemtl_edge_s")
    changed.run.steps, changed.optimisation.lr = 7, 0.5
    with caplog.at_level(logging.WARNING):
        tell_changes(changed, tmp_path)
    assert [r.getMessage() for r in caplog.records] == [
        "resumed with another setting: optimisation.lr was 0.001, is now 0.5",
        "resumed with another setting: run.steps was 1000, is now 7",
    ]


def test_flat_keeps_lists_whole():
    assert flat(OmegaConf.create({"a": {"b": [1, 2], "c": {}}, "d": None})) == {"a.b": [1, 2], "a.c": {}, "d": None}
