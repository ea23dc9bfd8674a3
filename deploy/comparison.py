"""Times of engines that ran in turns: percentiles, and ratios turn by turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deploy.latency import percentiles
from deploy.loaded_engine import LoadedEngine

__all__ = ["STAGES", "Row", "compare", "ratio", "spread"]

STAGES = ("preprocess", "infer", "postprocess", "total")
SPREAD = (10, 50, 90)

Times = Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Row:
    """An engine's times.

    Attributes:
        engine: whose.
        stages: stage to ``{"p50": ..., "p90": ..., "p99": ...}`` in milliseconds; without the stages it does not have.
        ratio: ``{"p10": ..., "p50": ..., "p90": ...}`` of its time over the first engine's of the same turn.
        compared: the stage of that ratio: ``total``, or ``infer`` where one of the two has no other.
    """

    engine: LoadedEngine
    stages: Mapping[str, Mapping[str, float]]
    ratio: Mapping[str, float]
    compared: str


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """How many times as long as the reference, and how sure that is.

    Frames of the same turn met the same state of the machine, so each turn gives a ratio of its own.

    Args:
        seconds: a frame each.
        reference: the same turns of the engine to compare with.

    Returns:
        ``{"p10": ..., "p50": ..., "p90": ...}``: 80 % of the turns lie between the outer two.
    """
    return spread(np.asarray(seconds, np.float64) / np.asarray(reference, np.float64))


def spread(values: ArrayLike) -> dict[str, float]:
    """``{"p10": ..., "p50": ..., "p90": ...}`` of some numbers."""
    return {f"p{p}": round(float(np.percentile(np.asarray(values, np.float64), p)), 4) for p in SPREAD}


def compare(engines: Sequence[LoadedEngine], times: Times) -> list[Row]:
    """One row an engine; the first is what the others are compared with.

    Args:
        engines: in the order of the table.
        times: of `deploy.latency.interleaved`: name to stage to seconds, one a turn.
    """
    first = times[engines[0].name]
    rows = []
    for engine in engines:
        own = times[engine.name]
        stages = {stage: percentiles(list(own[stage])) for stage in STAGES if stage in own}
        whole = "preprocess" in own and "preprocess" in first
        compared = "total" if whole or own is first else "infer"
        rows.append(Row(engine, stages, ratio(own[compared], first[compared]), compared))
    return rows
