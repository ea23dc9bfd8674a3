"""The perception node as a process whose fake predictor does what the picture asks for.

``--delay SECONDS``: what each prediction takes. The red of the top left pixel is the command; see `Command`.
"""

from __future__ import annotations

import argparse
import sys
import threading
from enum import IntEnum
from typing import Any

import fake_predictor
import numpy as np
from densemtl_ros.perception_node import main


class Command(IntEnum):
    """Red of the top left pixel. Any other value: compute."""

    RAISE = 241
    HANG = 242
    HANG_FOR_EVER = 243
    NOT_A_NUMBER = 244


HANG_SECONDS = 2.0
_compute = fake_predictor.expected


def obey(image: Any) -> None:
    """Raise or wait, as a driver does that stumbles."""
    command = image[0, 0, 0]
    if command == Command.RAISE:
        raise RuntimeError("the engine stumbled")
    if command in (Command.HANG, Command.HANG_FOR_EVER):
        threading.Event().wait(HANG_SECONDS if command == Command.HANG else None)


def answer(image: np.ndarray) -> dict[str, np.ndarray]:
    """The fake's answer; on command nothing but NaN, as of weights that training has ruined."""
    outputs = _compute(image)
    if image[0, 0, 0] == Command.NOT_A_NUMBER:
        for values in outputs.values():
            if values.dtype == np.float32:
                values[...] = np.nan
    return outputs


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    delay = parser.parse_known_args()[0].delay
    fake_predictor.expected = answer
    sys.exit(main(predictor_factory=lambda bundle, **options: fake_predictor.FakePredictor(delay, obey)))
