"""How long a frame takes: engines side by side in one process, turn by turn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densemtl_core.runtime import Predictor

__all__ = ["PERCENTILES", "interleaved", "percentiles"]

PERCENTILES = (50, 90, 99)


def interleaved(
    predictors: Mapping[str, Predictor], image: NDArray[Any], *, runs: int = 30, warm_up: int = 3
) -> dict[str, dict[str, list[float]]]:
    """Time predictors frame by frame in turns, so that whatever else the machine does meets all of them.

    Args:
        predictors: by name.
        image: ``(H, W, 3)`` uint8 RGB.
        runs: timed frames each.
        warm_up: frames before these that do not count.

    Returns:
        Name to stage (``preprocess``, ``infer``, ``postprocess``, ``total``) to seconds, one a frame.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in predictors}
    for frame in range(warm_up + runs):
        for name, predictor in predictors.items():
            start = time.perf_counter()
            stages = dict(predictor.predict(image).seconds)
            stages["total"] = time.perf_counter() - start
            if frame >= warm_up:
                for stage, seconds in stages.items():
                    found[name].setdefault(stage, []).append(seconds)
    return found


def percentiles(seconds: list[float]) -> dict[str, float]:
    """``{"p50": ..., "p90": ..., "p99": ...}`` in milliseconds."""
    return {f"p{p}": round(float(np.percentile(seconds, p)) * 1e3, 3) for p in PERCENTILES}
