"""Inception modules."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InceptionModule(nn.Module):
    """Four branches that look at several scales at once, joined along the channels.

    C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015 (arXiv 1409.4842), figure 2b: 1x1; 1x1 then 3x3; 1x1
    then 5x5; 3x3 max pooling then 1x1. Every convolution is followed by a relu.

    Args:
        in_channels: channels of the input, C.
        filters: how many filters the convolutions have: (1x1, before 3x3, 3x3, before 5x5, 5x5, after pooling).
        norm: batch normalisation between each convolution and its relu (S. Ioffe, C. Szegedy, arXiv 1502.03167), in
            place of the bias.

    Shapes:
        (B, C, H, W) -> (B, out_channels, H, W), where out_channels = filters[0] + filters[2] + filters[4] + filters[5].

    Example:
        >>> module = InceptionModule(64, (32, 48, 64, 8, 16, 16))
        >>> module.out_channels, module(torch.zeros(2, 64, 8, 8)).shape
        (128, torch.Size([2, 128, 8, 8]))
    """

    def __init__(self, in_channels: int, filters: tuple[int, int, int, int, int, int], *, norm: bool = False) -> None:
        super().__init__()
        direct, before3, three, before5, five, after_pool = filters
        self.out_channels = direct + three + five + after_pool
        self.branch1 = _conv(in_channels, direct, 1, norm)
        self.branch2 = nn.Sequential(_conv(in_channels, before3, 1, norm), _conv(before3, three, 3, norm))
        self.branch3 = nn.Sequential(_conv(in_channels, before5, 1, norm), _conv(before5, five, 5, norm))
        self.branch4 = _conv(in_channels, after_pool, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H, W)."""
        pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(pooled)), dim=1)


def _conv(in_channels: int, out_channels: int, kernel_size: int, norm: bool) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=not norm)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU()) if norm else nn.Sequential(conv, nn.ReLU())
