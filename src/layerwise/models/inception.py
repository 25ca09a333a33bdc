"""`inception-small`: inception modules for images of about 32x32.

After C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015 (arXiv 1409.4842), scaled down: three pairs of
modules, with max pooling before each pair, batch normalisation in the modules (arXiv 1502.03167), and global average
pooling before the classifier as in the paper.
"""

from __future__ import annotations

import pydantic
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import config
from layerwise.models.table import Entry, Request
from layerwise.nn import Head, InceptionModule

# Filters of the six modules: 1x1, before 3x3, 3x3, before 5x5, 5x5, after pooling.
_PAIRS = (
    ((24, 24, 32, 8, 16, 16), (32, 32, 48, 8, 16, 16)),
    ((40, 40, 64, 12, 24, 24), (48, 48, 80, 12, 32, 32)),
    ((64, 56, 96, 16, 32, 32), (64, 64, 112, 16, 40, 40)),
)


class InceptionOptions(config.Section):
    """Options of `inception-small`; `dropout` is the share of the pooled features dropped in training."""

    dropout: float = pydantic.Field(0.2, ge=0, lt=1)


class Inception(nn.Module):
    """A 3x3 convolution, three pairs of inception modules with pooling before each, and a classifier.

    Args:
        classes: number of logits.
        channels: of the images, C.
        dropout: share of the pooled features dropped in training.

    Shapes:
        (B, C, H, W) -> features (B, 256, H // 8, W // 8) -> logits (B, classes).
    """

    def __init__(self, classes: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 32, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        width, pairs = 32, []
        for filters in _PAIRS:
            first = InceptionModule(width, filters[0], norm=True)
            second = InceptionModule(first.out_channels, filters[1], norm=True)
            pairs.append(nn.Sequential(first, second))
            width = second.out_channels
        self.pair1, self.pair2, self.pair3 = pairs
        self.head = Head(width, classes, dropout=dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 256, H // 8, W // 8)."""
        # As in the paper the modules start on a pooled image; at full size they would take three quarters of the work.
        x = self.pair1(F.relu(F.max_pool2d(self.norm(self.conv(x)), 2)))
        x = self.pair2(F.max_pool2d(x, 2))
        out: Tensor = self.pair3(F.max_pool2d(x, 2))
        return out

    def forward_head(self, features: Tensor) -> Tensor:
        """(B, 256, H', W') -> (B, classes)."""
        logits: Tensor = self.head(features)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes)."""
        return self.forward_head(self.forward_features(x))


def build(entry: Entry, request: Request) -> Inception:
    """Make `inception-small`."""
    options = config.build(InceptionOptions, request.options)
    return Inception(request.classes, request.channels, options.dropout)
