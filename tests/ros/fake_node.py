"""The perception node as a process, computing with the fake predictor."""

from __future__ import annotations

import sys

from densemtl_ros.perception_node import main
from fake_predictor import FakePredictor

if __name__ == "__main__":
    sys.exit(main(predictor_factory=lambda bundle, **options: FakePredictor()))
