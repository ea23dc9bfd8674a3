"""What bounds a run's speed, from its own figures, and what would help."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["bottleneck", "pace_text"]

WAITING = 0.1
"""From this share of the time on, waiting for data is worth doing something about."""

IDLE = 0.25
"""Loading that takes less than this share of a core leaves the rest of it to the network."""


def pace_text(figures: Mapping[str, float]) -> str:
    """Speed and waiting for people: ``7.1 images/s, waiting for data 3 %``."""
    return f"{figures['images_per_second']:.1f} images/s, waiting for data {100 * figures['waiting']:.0f} %"


def bottleneck(
    figures: Mapping[str, float], *, loaders: int, threads: int, cores: int, gpu: bool = False, cached: bool = False
) -> str:
    """What a run is bound by, in a line.

    Args:
        figures: ``waiting`` and ``loading`` of `densemtl_core.learning.pace.Pace`.
        loaders: loading processes.
        threads: CPU threads of the network.
        cores: that this process may use.
        gpu: the network is on one; it then needs a single core.
        cached: the data set keeps what was made (``data.cache``).
    """
    busy = loaders + (1 if gpu else threads)
    if figures["waiting"] >= WAITING:
        if loaders == 0 and cores > 1:
            return "bound by data, which is loaded between the steps; run.workers=1 loads beside them"
        if busy < cores:
            return f"bound by data; {cores - busy} of {cores} cores are free: give more run.workers than {loaders}"
        if not cached:
            return "bound by data, and no core is free; data.cache=FOLDER makes every sample once"
        return "bound by data; every sample's first reading is the slow one, later epochs have it in the cache"
    load = figures["loading"] * loaders
    if not gpu and loaders and load < IDLE and threads < cores:
        return f"bound by the network; loading takes {100 * load:.0f} % of a core: try --threads {threads + 1}"
    return "bound by the network"
