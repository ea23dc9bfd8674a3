"""A procedural street world: scenes of analytic primitives, rendered exactly with torch alone."""

from __future__ import annotations

from densemtl_core.data.street.world import StreetWorld

__all__ = ["StreetWorld"]
