"""The perception node as a process, computing with the fake predictor; ``--failing``: with one that is broken."""

from __future__ import annotations

import sys
from typing import Any

from densemtl_ros.perception_node import main
from fake_predictor import FakePredictor


def broken(image: Any) -> None:
    """Raise, as an engine does whose device is gone."""
    raise RuntimeError("broken engine")


if __name__ == "__main__":
    before = broken if "--failing" in sys.argv else None
    sys.exit(main(predictor_factory=lambda bundle, **options: FakePredictor(before=before)))
