"""The docstrings follow Google's convention, where ament_pep257 is installed."""

import pytest

pep257 = pytest.importorskip("ament_pep257.main")


@pytest.mark.pep257
@pytest.mark.linter
def test_pep257():
    # The class's docstring tells what __init__ takes.
    assert pep257.main(argv=["densemtl_ros", "--convention", "google", "--add-ignore", "D105", "D107"]) == 0
