"""`resnet-small`: the residual network for 32x32 images with 20 layers.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385), section
4.2, with n = 3 and projection shortcuts.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import config
from layerwise.models.table import Entry, Request
from layerwise.nn import Head, NonLocalBlock2d, ResidualBlock


class ResNetOptions(config.Section):
    """Options of `resnet-small`; `attention` puts a non-local block after the second stage (Wang et al. 2018)."""

    attention: bool = False


class ResNet(nn.Module):
    """A convolution, three stages of three residual blocks (16, 32, 64 channels), pooling and a classifier.

    Args:
        classes: number of logits.
        channels: of the images, C.
        attention: a non-local block after the second stage, where a 32x32 image is down to 16x16.

    Shapes:
        (B, C, H, W) -> features (B, 64, ceil(H / 4), ceil(W / 4)) -> logits (B, classes).
    """

    def __init__(self, classes: int, channels: int, *, attention: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.stage1 = _stage(16, 16, stride=1)
        self.stage2 = _stage(16, 32, stride=2)
        self.attention = NonLocalBlock2d(32) if attention else nn.Identity()
        self.stage3 = _stage(32, 64, stride=2)
        self.head = Head(64, classes)
        for part in (self.conv, self.stage1, self.stage2, self.stage3):  # not attention: it starts as the identity
            part.apply(_init)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 64, H / 4, W / 4)."""
        x = F.relu(self.norm(self.conv(x)))
        x = self.attention(self.stage2(self.stage1(x)))
        out: Tensor = self.stage3(x)
        return out

    def forward_head(self, features: Tensor) -> Tensor:
        """(B, 64, H', W') -> (B, classes)."""
        logits: Tensor = self.head(features)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes)."""
        return self.forward_head(self.forward_features(x))


def build(entry: Entry, request: Request) -> ResNet:
    """Make `resnet-small`."""
    options = config.build(ResNetOptions, request.options)
    return ResNet(request.classes, request.channels, attention=options.attention)


def _stage(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    first = ResidualBlock(in_channels, out_channels, stride=stride)
    return nn.Sequential(first, ResidualBlock(out_channels, out_channels), ResidualBlock(out_channels, out_channels))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
