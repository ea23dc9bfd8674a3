"""Which parts of the ground are taken."""

from __future__ import annotations

__all__ = ["Plot"]


class Plot:
    """Rectangles of ground that nothing else may overlap."""

    def __init__(self) -> None:
        self._taken: list[tuple[float, float, float, float]] = []

    def take(self, x: float, z: float, half_x: float, half_z: float) -> bool:
        """Claim a rectangle around (x, z); False when it meets one that is taken."""
        left, right, near, far = x - half_x, x + half_x, z - half_z, z + half_z
        for a, b, c, e in self._taken:
            if left < b and a < right and near < e and c < far:
                return False
        self._taken.append((left, right, near, far))
        return True
