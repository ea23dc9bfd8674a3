"""The code passes flake8, where ament_flake8 is installed."""

from pathlib import Path

import pytest

flake8 = pytest.importorskip("ament_flake8.main")


@pytest.mark.flake8
@pytest.mark.linter
def test_flake8():
    status, errors = flake8.main_with_errors(argv=["--config", str(Path(__file__).with_name("flake8.ini"))])
    assert status == 0, "\n".join(errors)
