"""Every parameter of the viewer in one table: its declarations, the check of a value and the documentation follow."""

from __future__ import annotations

from densemtl_ros.parameters import Declaration

__all__ = ["VIEWER_PARAMETERS"]

VIEWER_PARAMETERS: tuple[Declaration, ...] = (
    Declaration(
        "host",
        "127.0.0.1",
        "Address to listen on; with any other than 127.0.0.1 everyone who reaches this computer sees the camera.",
        read_only=True,
    ),
    Declaration("port", 0, "Port to listen on; 0 = any free one, which is printed.", 0, 65535, read_only=True),
    Declaration("rate", 10.0, "Most pictures a second of each stream.", 0.1, 60.0, read_only=True),
    Declaration("width", 640, "Wider pictures are scaled down to so many pixels.", 64, 4096, read_only=True),
    Declaration("quality", 80, "Quality of the JPEG pictures.", 1, 100, read_only=True),
    Declaration(
        "cameras",
        "",
        "Full names of the perception nodes to show, separated by commas; empty = all that are found.",
        read_only=True,
    ),
    Declaration("depth_near", 1.0, "Depth in metres of the bright end of the colours.", 0.01, 10000.0, read_only=True),
    Declaration("depth_far", 80.0, "Depth in metres of their dark end.", 0.02, 20000.0, read_only=True),
)
"""All are fixed when the viewer starts."""
