"""Scores. Every metric is an accumulator with ``update(prediction, label)`` and ``compute()``."""

from densemtl_core.metrics.absolute_error import MeanAbsoluteError
from densemtl_core.metrics.base import Metric, State, join_states
from densemtl_core.metrics.boundary import BoundaryF1
from densemtl_core.metrics.boundary_detection import BoundaryDetection
from densemtl_core.metrics.boundary_scores import BoundaryScores
from densemtl_core.metrics.center_detection import CenterDetection
from densemtl_core.metrics.depth_error import DepthError
from densemtl_core.metrics.mean_iou import MeanIoU
from densemtl_core.metrics.normal_error import NormalError
from densemtl_core.metrics.relative_gain import relative_gain

__all__ = [
    "BoundaryDetection",
    "BoundaryF1",
    "BoundaryScores",
    "CenterDetection",
    "DepthError",
    "MeanAbsoluteError",
    "MeanIoU",
    "Metric",
    "NormalError",
    "State",
    "join_states",
    "relative_gain",
]
