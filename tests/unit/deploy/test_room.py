"""Room is asked for before the work."""

from __future__ import annotations

import shutil

import pytest

from densemtl_core.errors import InputError
from deploy.room import bundle_bytes, require_room


def test_more_is_written_for_more_engines():
    sizes = [bundle_bytes(9_000_000, *what) for what in (("eager", "fp32"), ("onnx", "fp32"), ("onnx", "int8"))]
    assert sizes == sorted(sizes)
    assert 9_000_000 < sizes[0] < 11_000_000


@pytest.mark.parametrize("full", ["out", "work"])
def test_too_little_room(tmp_path, monkeypatch, full):
    (tmp_path / "out").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "work"))
    plenty = shutil.disk_usage(tmp_path)._replace(free=10**12)
    monkeypatch.setattr("shutil.disk_usage", lambda place: plenty._replace(free=1) if place.name == full else plenty)
    with pytest.raises(InputError, match="--out" if full == "out" else "TMPDIR"):
        require_room(tmp_path / "out/my.bundle", 10**7, 10**7)


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *args: False)
    with pytest.raises(InputError, match="cannot be written"):
        require_room(tmp_path / "my.bundle", 1, 1)
