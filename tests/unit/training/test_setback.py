"""A network that adaptation made worse is told, with what it was better in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.sim_to_real_report import setback, table

DOCS = Path(__file__).resolve().parents[3] / "docs/sim_to_real.md"
PRIMARY = {"semantic": ["mIoU", True], "depth": ["RMSE", False]}


def found(**rows: tuple[float, float] | None) -> dict:
    """Rows by mIoU and RMSE; None = nothing was judged."""
    scores = {
        name.replace("_", " "): {}
        if values is None
        else {"semantic": {"mIoU": values[0]}, "depth": {"RMSE": values[1]}}
        for name, values in rows.items()
    }
    judged = any(scores.values())
    return {"primary": PRIMARY if judged else {}, "rows": [{"method": m, "scores": s} for m, s in scores.items()]}


def test_every_task_that_lost_is_named_beside_what_was_better():
    told = setback(found(start=(0.512, 8.0), source_only=(0.50, 5.0), adapted=(0.498, 6.0)))
    assert told.startswith(
        "adapted is WORSE than source only in depth (RMSE 5.000 -> 6.000); and than start in semantic "
        "(mIoU 0.512 -> 0.498): keep that network, or try"
    )


@pytest.mark.parametrize(
    "rows",
    [
        {"start": (0.5, 8.0), "source_only": (0.5, 8.0), "adapted": (0.6, 7.0)},
        {"start": (0.5, 8.0), "adapted": (0.4951, 8.079)},  # less than one percent
        {"start": (0.5, 8.0), "source_only": (0.5, 8.0)},
        {"adapted": (0.5, 8.0)},
        {"start": (0.5, 8.0), "adapted": (float("nan"), 8.0)},
        {"start": None, "adapted": None},
    ],
)
def test_nothing_is_told_where_nothing_is_known_or_lost(rows):
    assert setback(found(**rows)) == ""


def test_the_advice_stands_where_it_is_said_to(tmp_path):
    anchor = re.search(r"docs/sim_to_real\.md#(\S+)$", setback(found(start=(0.5, 5.0), adapted=(0.4, 5.0))))[1]
    headings = [line[3:].lower().replace(" ", "-") for line in DOCS.read_text().splitlines() if line[:3] == "## "]
    assert anchor in headings


def test_without_labels_nothing_is_proved_and_what_would_is_named():
    told = table(found(start=None, adapted=None))
    assert "pictures alone cannot prove" in told
    assert "--target-val" in told
