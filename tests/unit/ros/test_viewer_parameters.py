"""The viewer's parameters start from what its pictures start from; their table is in test_parameter_tables."""

from __future__ import annotations

from densemtl_ros.viewer_parameters import VIEWER_PARAMETERS
from densemtl_ros.viewer_pictures import Look


def test_defaults_are_those_of_the_pictures():
    defaults = {declaration.name: declaration.default for declaration in VIEWER_PARAMETERS}
    look = Look()
    for name in ("width", "quality", "depth_near", "depth_far"):
        assert defaults[name] == getattr(look, name)


def test_it_listens_on_this_computer_only():
    assert {d.name: d.default for d in VIEWER_PARAMETERS}["host"] == "127.0.0.1"
