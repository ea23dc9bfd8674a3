"""What a robot carries: verify a bundle, load it into an engine, turn camera images into predictions.

Importing this package imports NumPy and OpenCV, and no PyTorch; an engine's library comes with its backend.
"""

from densemtl_core.runtime.bundle import Bundle, default_bundle, write_bundle
from densemtl_core.runtime.manifest import BundleError, EngineInfo, FileInfo, Manifest, OutputInfo, TaskInfo
from densemtl_core.runtime.predictor import Predictions, Predictor

__all__ = [
    "Bundle",
    "BundleError",
    "EngineInfo",
    "FileInfo",
    "Manifest",
    "OutputInfo",
    "Predictions",
    "Predictor",
    "TaskInfo",
    "default_bundle",
    "write_bundle",
]
