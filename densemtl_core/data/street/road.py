"""Draw the road's cross-section and its paint."""

from __future__ import annotations

from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.scene import MARKINGS, Ground

__all__ = ["sample_ground"]


def sample_ground(
    d: Draws, country: bool, borders: list[float], divide: float | None, left: float, right: float
) -> Ground:
    """Draw a road's surroundings and paint.

    Args:
        d: random numbers.
        country: no kerbs and sidewalks.
        borders: x of the lanes' borders from left to right, metres.
        divide: x of the border between the directions, None = one direction only.
        left: x of the left edge of the road.
        right: x of the right edge.
    """
    lines: list[tuple[float, float, float]] = []  # x, solid, yellow
    marked, yellow = d.chance(0.9), float(d.chance(0.25))
    for x in borders:
        outer, middle = x in (borders[0], borders[-1]), divide is not None and abs(x - divide) < 0.1
        if not marked or (outer and not country and d.chance(0.6)):
            continue
        solid = float(d.chance(0.8) if outer else middle and d.chance(0.5))
        if middle and d.chance(0.3):
            lines += [(x - 0.14, 1.0, yellow), (x + 0.14, solid, yellow)]
        else:
            lines.append((x, solid, yellow if middle else 0.0))
    lines = (lines + [(1e6, 0.0, 0.0)] * MARKINGS)[:MARKINGS]
    grassy = d.pick(((0.08, 0.14, 0.03), (0.1, 0.15, 0.05), (0.16, 0.16, 0.06), (0.28, 0.23, 0.1), (0.06, 0.1, 0.03)))
    walk = [0.0, 0.0] if country else [d.uniform(1.5, 4.5), d.uniform(1.5, 4.5)]
    verge = [0.0, 0.0] if country else [d.pick((0.0, 0.0, 1.2, 2.5)), d.pick((0.0, 0.0, 1.2, 2.5))]
    return Ground(
        left=left,
        right=right,
        kerb=0.02 if country else d.uniform(0.06, 0.16),
        verge_left=verge[0],
        verge_right=verge[1],
        walk_left=walk[0],
        walk_right=walk[1],
        paved=float(not country and d.chance(0.5)),
        slab=d.pick((0.4, 0.6, 1.0, 2.0)),
        crossing=d.uniform(6, 60) if not country and d.chance(0.25) else 1e6,
        road_colour=d.grey(0.05, 0.28) if d.chance(0.8) else d.grey(0.2, 0.45),
        walk_colour=d.jitter(
            d.pick(((0.28, 0.28, 0.27), (0.4, 0.38, 0.34), (0.18, 0.17, 0.17), (0.3, 0.17, 0.13))), 0.3
        ),
        grass_colour=d.jitter(grassy, 0.3),
        soil_colour=d.jitter((0.22, 0.17, 0.1), 0.4),
        bare=d.uniform(0, 0.6),
        paint_colour=d.jitter((0.7, 0.7, 0.68), 0.2),
        wear=d.uniform(0, 0.8),
        patches=d.uniform(0, 0.6),
        dash=d.pick((4.0, 6.0, 9.0, 12.0)),
        line_x=tuple(e[0] for e in lines),
        line_solid=tuple(e[1] for e in lines),
        line_yellow=tuple(e[2] for e in lines),
        line_width=d.uniform(0.1, 0.2),
    )
