"""Networks. `build_model` is the door."""

from densemtl_core.models.densemtl import DenseMTL
from densemtl_core.models.description import ModelDescription
from densemtl_core.models.exchange import CrossTaskAttention, CrossTaskExchange
from densemtl_core.models.released import load_released
from densemtl_core.models.zoo import PRESETS, build_model

__all__ = [
    "PRESETS",
    "CrossTaskAttention",
    "CrossTaskExchange",
    "DenseMTL",
    "ModelDescription",
    "build_model",
    "load_released",
]
