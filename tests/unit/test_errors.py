from __future__ import annotations

from densemtl_core.errors import did_you_mean


def test_the_nearest_known_name_is_offered():
    assert did_you_mean("encodng", ["name", "encoding"]) == "did you mean 'encoding'? "


def test_nothing_near_is_no_hint():
    assert did_you_mean("zzz", ["name", "encoding"]) == ""
    assert did_you_mean(None, []) == ""
