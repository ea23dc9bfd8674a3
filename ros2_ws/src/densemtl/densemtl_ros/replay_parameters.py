"""Every parameter of the replay node in one table: its declarations, the check of a value and the docs follow."""

from __future__ import annotations

from densemtl_ros.frame_sources import STREET_SCENE
from densemtl_ros.parameters import Declaration

__all__ = ["REPLAY_PARAMETERS"]

REPLAY_PARAMETERS: tuple[Declaration, ...] = (
    Declaration(
        "source", "street", "What to play: 'street', a video file, a folder of images or a bag.", read_only=True
    ),
    Declaration(
        "width",
        0,
        "Width in pixels to scale to, aspect kept; 0 = as it is, else at least 16. Not of a bag.",
        0,
        8192,
        read_only=True,
    ),
    Declaration(
        "rate",
        0.0,
        "Frames in a second; 0 = the source's own; of a bag, each frame when it was recorded.",
        0.0,
        1000.0,
        read_only=True,
    ),
    Declaration("street_frames", 48, "Frames of the street that are made beforehand.", 2, 1000, read_only=True),
    Declaration("street_scene", STREET_SCENE, "Which street is driven.", 0, 9999, read_only=True),
    Declaration(
        "street_budget", 20.0, "Seconds after which making the street stops early.", 0.1, 3600.0, read_only=True
    ),
    Declaration("loop", False, "Start again after the last frame.", read_only=True),
    Declaration(
        "frame_id", "camera_optical_frame", "Frame of the images; those of a bag keep their own.", read_only=True
    ),
    Declaration("topic", "", "Images of a bag to play; empty = its only image topic.", read_only=True),
    Declaration(
        "keep_stamps",
        False,
        "Publish a bag under its recorded stamps; false = each frame under the time of its publishing.",
        read_only=True,
    ),
    Declaration(
        "clock",
        False,
        "Publish a bag's time on /clock, for nodes with use_sim_time; needs keep_stamps.",
        read_only=True,
    ),
    Declaration("reliability", "reliable", "Of both topics.", choices=("reliable", "best_effort"), read_only=True),
    Declaration(
        "wait_for_subscribers",
        1,
        "Subscribers of the images to wait for before the first frame.",
        0,
        100,
        read_only=True,
    ),
    Declaration("wait_timeout", 60.0, "Seconds to wait for them at most.", 0.0, 86400.0, read_only=True),
)
"""All are fixed when the node starts."""
