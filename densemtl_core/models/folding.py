"""Fold batch normalisation into the convolution before it: the same numbers, one pass over memory less."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["fold_batch_norm"]

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def fold_batch_norm(model: AnyModule) -> AnyModule:
    """A copy of an evaluation-mode network without the batch normalisations that directly follow a convolution.

    Two neighbours are folded when they are consecutive in an ``nn.Sequential``, or when a module names them as timm
    and torchvision do (``conv1``/``bn1``, ``conv_dw``/``bn1``, ...): there the following activation, which timm keeps
    inside its normalisation layers, stays.

    Args:
        model: in evaluation mode.

    Returns:
        The folded copy; its outputs equal the original's up to rounding.
    """
    if model.training:
        raise ValueError("fold_batch_norm needs a network in evaluation mode; call model.eval() first")
    folded = copy.deepcopy(model)
    for module in folded.modules():
        children = [(n, m) for n, m in module.named_children() if not isinstance(m, nn.Identity)]
        for (first, conv), (second, norm) in itertools.pairwise(children):
            if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
                continue
            if not (isinstance(module, nn.Sequential) or (first.startswith("conv") and second.startswith("bn"))):
                continue
            if conv.out_channels != norm.num_features:
                continue
            # timm's BatchNormAct2d is a BatchNorm2d with dropout and activation of its own
            rest = [getattr(norm, n) for n in ("drop", "act") if isinstance(getattr(norm, n, None), nn.Module)]
            setattr(module, first, fuse_conv_bn_eval(conv, _plain(norm)))
            setattr(module, second, nn.Sequential(*(m for m in rest if not isinstance(m, nn.Identity))))
    return folded


def _plain(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    plain = nn.BatchNorm2d(norm.num_features, eps=norm.eps).eval()
    with torch.no_grad():
        plain.load_state_dict({k: v for k, v in norm.state_dict().items() if k in plain.state_dict()})
    return plain
