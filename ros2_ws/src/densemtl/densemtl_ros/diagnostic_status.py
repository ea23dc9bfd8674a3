"""The node's reports as a `diagnostic_msgs` message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from densemtl_ros.frame_statistics import Report

__all__ = ["describe_engine", "to_message", "to_status"]


def describe_engine(predictor: Any) -> list[tuple[str, str]]:
    """Key / value pairs that tell which model runs where."""
    manifest = predictor.manifest
    return [
        ("bundle", manifest.name),
        ("bundle_sha256", manifest.sha256),
        ("precision", predictor.precision),
        ("backend", predictor.backend),
        ("device", str(predictor.device)),
    ]


def to_status(report: Report, name: str, hardware_id: str) -> DiagnosticStatus:
    """Write a report as a status.

    Args:
        report: what to say.
        name: of the status.
        hardware_id: what it is about.
    """
    return DiagnosticStatus(
        # The field is a byte, which rclpy wants as bytes of length one.
        level=bytes([report.level]),
        name=name,
        message=report.message,
        hardware_id=hardware_id,
        values=_pairs(report.values),
    )


def to_message(statuses: Sequence[DiagnosticStatus], stamp: Any) -> DiagnosticArray:
    """Put statuses, one a camera, under a stamp (`builtin_interfaces/Time`)."""
    message = DiagnosticArray(status=list(statuses))
    message.header.stamp = stamp
    return message


def _pairs(values: Sequence[tuple[str, str]]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in values]
