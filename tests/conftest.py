"""Being here puts ``tests/`` on the import path: several folders of tests share `native_layouts`."""

from __future__ import annotations

import pytest


@pytest.fixture
def one_thread():
    """Networks on one thread: two get in each other's way on a busy machine."""
    import torch  # only for the tests that ask: the ROS ones do without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
