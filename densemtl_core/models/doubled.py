"""A 3x3 convolution over a map enlarged twofold, computed on the map as it is.

Enlarging by nearest neighbour repeats every row and column, so of the nine values under the kernel only four differ,
and which ones repeat depends on whether the output's row and column are even or odd. With the kernel's weights
``w0 w1 w2`` along one axis:

    output 2i       w0 x[i-1] + (w1 + w2) x[i]
    output 2i + 1   (w0 + w1) x[i] + w2 x[i+1]

So four 2x2 kernels, one a parity of row and column, give the same numbers with 4/9 of the products, and the enlarged
map is never written. Reflection at the border of the enlarged map is repetition at the border of the small one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densemtl_core.models.decoder import ConvBlock, upsample_to

__all__ = ["DoubledBlock", "DoubledHead", "InPlaceBlock", "parity_kernels"]

BORDER = (1, 1, 1, 1)


def parity_kernels(weight: Tensor) -> Tensor:
    """The four 2x2 kernels that a 3x3 kernel becomes on the map before it is enlarged.

    Args:
        weight: ``(outputs, inputs, 3, 3)``.

    Returns:
        ``(4 * outputs, inputs, 2, 2)``; the first quarter gives even rows and even columns, the second even rows and
        odd columns, then odd rows.
    """
    # (parity, tap, original tap)
    sums = weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
    kernels = torch.einsum("apr,bqs,oirs->aboipq", sums, sums, weight)
    return kernels.reshape(-1, weight.shape[1], 2, 2)


class InPlaceBlock(nn.Module):
    """`ConvBlock` with its activation in place."""

    def __init__(self, block: ConvBlock) -> None:
        super().__init__()
        self.conv = block.conv

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        mode = "reflect" if min(x.shape[-2:]) > 1 else "replicate"
        return F.elu_(self.conv(F.pad(x, BORDER, mode=mode)))


class DoubledBlock(nn.Module):
    """What `ConvBlock` makes of a map enlarged to the size of a skip map, followed by that skip map.

    Args:
        block: the trained block; its convolution is shared, for sizes that are not twice the map's.
        inputs: channels of the map; the rest of the block's are the skip's.
    """

    def __init__(self, block: ConvBlock, inputs: int) -> None:
        super().__init__()
        self.plain = InPlaceBlock(block)
        weight, outputs = block.conv.weight, block.conv.out_channels
        self.small = nn.Conv2d(inputs, 4 * outputs, 2, bias=False)
        self.skip = nn.Conv2d(block.conv.in_channels - inputs, outputs, 3)
        with torch.no_grad():
            self.small.weight.copy_(parity_kernels(weight[:, :inputs]))
            self.skip.weight.copy_(weight[:, inputs:])
            _bias(self.skip).copy_(_bias(block.conv))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` and ``(B, rest, H, W)`` to ``(B, outputs, H, W)``."""
        h, w = x.shape[-2:]
        if skip.shape[-2:] != (2 * h, 2 * w):
            joined: Tensor = self.plain(torch.cat([upsample_to(x, skip.shape[-2:]), skip], dim=1))
            return joined
        out: Tensor = self.skip(F.pad(skip, BORDER, mode="reflect"))
        quarters = self.small(F.pad(x, BORDER, mode="replicate")).chunk(4, dim=1)
        for k, quarter in enumerate(quarters):
            row, column = divmod(k, 2)
            out[:, :, row::2, column::2] += quarter[:, :, row : row + h, column : column + w]
        return F.elu_(out)


class DoubledHead(nn.Module):
    """What `ConvBlock` and a 1x1 head make of a map enlarged to the image's size.

    The head, too, reads the four parities where they are; only its few channels are brought to full size.

    Args:
        block: the trained block; its convolution is shared, for sizes that are not twice the map's.
        head: the head that reads it.
    """

    def __init__(self, block: ConvBlock, head: nn.Conv2d) -> None:
        super().__init__()
        self.plain, self.head = InPlaceBlock(block), head
        self.small_head = nn.Linear(head.in_channels, head.out_channels)
        outputs = block.conv.out_channels
        self.small = nn.Conv2d(block.conv.in_channels, 4 * outputs, 2)
        with torch.no_grad():
            self.small.weight.copy_(parity_kernels(block.conv.weight))
            _bias(self.small).copy_(_bias(block.conv).repeat(4))
            self.small_head.weight.copy_(head.weight.flatten(1))
            self.small_head.bias.copy_(_bias(head))

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """``(B, inputs, h, w)`` to raw output ``(B, outputs, H, W)`` of ``size``."""
        h, w = x.shape[-2:]
        if size != (2 * h, 2 * w):
            whole: Tensor = self.head(self.plain(upsample_to(x, size)))
            return whole
        quarters = F.elu_(self.small(F.pad(x, BORDER, mode="replicate")))
        # (B, h + 1, w + 1, 4, C): a view where channels lie together
        quarters = torch.unflatten(quarters.permute(0, 2, 3, 1), 3, (4, -1))
        raw = self.small_head(quarters)
        out = raw.new_empty(raw.shape[0], raw.shape[-1], *size)
        for k in range(4):
            row, column = divmod(k, 2)
            out[:, :, row::2, column::2] = raw[:, row : row + h, column : column + w, k].permute(0, 3, 1, 2)
        return out


def _bias(conv: nn.Conv2d) -> Tensor:
    if conv.bias is None:
        raise ValueError("the published decoder's convolutions have a bias; this one has none")
    return conv.bias
