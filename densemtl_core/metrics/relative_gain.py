"""Delta: how much better a multi-task model is than its single-task peers."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["relative_gain"]


def relative_gain(
    model: Mapping[str, float], baseline: Mapping[str, float], higher_is_better: Mapping[str, bool]
) -> float:
    """Mean signed relative gain over the single-task baselines, in percent.

    ``100 / T * sum_t s_t (M_t - B_t) / B_t`` with s_t = -1 where lower is better (Vandenhende et al., 2021, eq. 10).

    Args:
        model: task name to the model's primary score.
        baseline: task name to the single-task score, none of them zero.
        higher_is_better: task name to the direction of its score.

    Raises:
        ValueError: the three do not speak of the same tasks.
    """
    if not model or set(model) != set(baseline) or set(model) != set(higher_is_better):
        raise ValueError(f"relative_gain needs the same tasks everywhere: {sorted(model)} against {sorted(baseline)}")
    signs = {t: 1.0 if higher_is_better[t] else -1.0 for t in model}
    return 100.0 / len(model) * sum(signs[t] * (model[t] - baseline[t]) / baseline[t] for t in model)
