"""Which networks are worth taking: those that no other beats in both cost and accuracy."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["beaten_by"]


def beaten_by(points: Mapping[str, tuple[float, float]]) -> dict[str, str | None]:
    """Find the Pareto front.

    Args:
        points: name to ``(cost, score)``; less cost and more score are better.

    Returns:
        Name to None on the front; else to the best scored of those that cost no more and score no less. Of equals the
        first stays on the front.
    """
    found: dict[str, str | None] = {}
    names = list(points)
    for place, name in enumerate(names):
        cost, score = points[name]
        better = []
        for other_place, other in enumerate(names):
            other_cost, other_score = points[other]
            equal = points[other] == points[name]
            if other_cost <= cost and other_score >= score and (not equal or other_place < place):
                better.append(other)
        found[name] = max(better, key=lambda other: points[other][1], default=None)
    return found
