"""Convolutions that torch does not have ready made."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


class SeparableConv2d(nn.Module):
    """Depthwise separable convolution: one filter per input channel, then a 1x1 convolution that mixes them.

    F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017 (arXiv 1610.02357). Computes
    what Keras's `SeparableConv2D` computes: nothing between the two steps, and a bias on the pointwise step only.

    Args:
        in_channels: channels of the input, C.
        out_channels: channels of the output, F.
        kernel_size: height and width of the depthwise filters.
        stride: step of the depthwise filters.
        padding: zero padding on each side, or "same" (stride 1 only), or "valid".
        depth_multiplier: depthwise filters per input channel, M.
        bias: whether the pointwise step has one.

    Shapes:
        (B, C, H, W) -> (B, F, H', W'), with H' and W' those of a convolution with the same kernel, stride and padding.

    Example:
        >>> import torch
        >>> SeparableConv2d(3, 8)(torch.zeros(2, 3, 10, 10)).shape
        torch.Size([2, 8, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: int | Literal["same", "valid"] = 0,
        depth_multiplier: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        between = in_channels * depth_multiplier
        self.depthwise = nn.Conv2d(
            in_channels, between, kernel_size, stride=stride, padding=padding, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(between, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F, H', W')."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out
