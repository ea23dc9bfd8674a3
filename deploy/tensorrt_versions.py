"""Which versions of torch, torch-tensorrt, TensorRT and JetPack go together. Needs no library."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["JETPACK_OF_L4T", "MATCHES", "Match", "match_of"]


class Match(NamedTuple):
    """What goes with a torch.

    Attributes:
        torch_tensorrt: the release that pins this torch.
        tensorrt: the versions of TensorRT which that release pins, for people.
    """

    torch_tensorrt: str
    tensorrt: str


MATCHES = {
    "2.8": Match("2.8.0", "10.3 on JetPack 6.2"),
    "2.11": Match("2.11.0", ">=10.15.1,<10.16"),
    "2.12": Match("2.12.1", ">=10.16.1,<10.17"),
    "2.13": Match("2.13.0", ">=11.0.0,<11.1"),
    "2.14": Match("2.14.0", ">=11.1.0,<11.2"),
}
"""``major.minor`` of torch to what goes with it; a torch that is not here has no match known."""

JETPACK_OF_L4T = {"36.4.3": "6.2", "36.4.4": "6.2.1", "38.2": "7.0", "38.2.1": "7.0", "38.4": "7.1", "39.2": "7.2"}
"""Release of Jetson Linux to the JetPack that it belongs to."""


def match_of(torch: str) -> Match | None:
    """What goes with an installed torch.

    Args:
        torch: its version, ``2.14.1+cu130`` say; empty where there is none.
    """
    return MATCHES.get(".".join(torch.partition("+")[0].split(".")[:2]))
