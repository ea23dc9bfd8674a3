"""The shared encoder: any timm backbone, as a pyramid of feature maps."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from densemtl_core.errors import InputError

__all__ = ["Encoder"]


class Encoder(nn.Module):
    """A timm backbone that returns its five feature maps, finest first.

    Args:
        backbone: timm model name.
        output_stride: 32, or 16 to replace the last stride by dilation (as the published network does).

    Attributes:
        channels: channels of the five maps.
        strides: their strides: 2, 4, 8, 16, and the output stride.
    """

    def __init__(self, backbone: str, output_stride: int = 32) -> None:
        super().__init__()
        if not timm.is_model(backbone):
            near = ", ".join(timm.list_models(f"{backbone[:6]}*")[:5]) or "see timm.list_models()"
            raise InputError(f"unknown encoder {backbone!r}; timm names like it: {near}")
        stride: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}
        self.name = backbone
        self.body = timm.create_model(backbone, features_only=True, pretrained=False, **stride)
        info: Any = self.body.feature_info
        self.channels: list[int] = info.channels()
        self.strides: list[int] = info.reduction()
        if self.strides[:4] != [2, 4, 8, 16] or len(self.strides) != 5:
            raise InputError(
                f"encoder {backbone!r} has strides {self.strides}; the decoders need [2, 4, 8, 16, 16 or 32]"
            )

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, 3, H, W)`` normalised RGB to five maps; each side is the input's, divided by the stride, rounded up."""
        features: list[Tensor] = self.body(image)
        return features

    def load_backbone(self, state: dict[str, Tensor], origin: str) -> None:
        """Take over pretrained weights that carry timm's or torchvision's names.

        Torchvision's MobileNets and timm's name the same layers differently but store them in the same order, so
        where names do not agree the tensors are matched by order and shape, all of them or none.

        Args:
            state: the backbone's state dict; a classifier at its end is left out.
            origin: where it came from, for messages.

        Raises:
            InputError: the weights are of another architecture.
        """
        own = {k: v for k, v in self.body.state_dict().items() if not k.endswith("num_batches_tracked")}
        given = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        if set(own) <= set(given):
            matched = {k: given[k] for k in own}
        else:
            # a features-only body ends before the classifier, and before MobileNet's last 1x1 convolution
            matched = dict(zip(own, list(given.values())[: len(own)], strict=False))
        wrong = [k for k, v in own.items() if k not in matched or matched[k].shape != v.shape]
        if wrong:
            raise InputError(
                f"{origin}: these are not weights of this encoder: {len(wrong)} of {len(own)} tensors do not fit, "
                f"first {wrong[0]!r} {tuple(own[wrong[0]].shape)}"
            )
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(matched[name])
