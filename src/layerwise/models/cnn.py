"""The two plain convolutional networks of the course: `cnn-28` for grey 28x28 images, `cnn-32` for colour 32x32.

Three 3x3 convolutions without padding (32, 64, 64 filters), 2x2 max pooling after the first two, a hidden layer of 64,
and a classifier; in the line of Y. LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE
86 (1998). Layer for layer, weight for weight and in the order of the flattened features what Keras builds.
"""

from __future__ import annotations

import pydantic
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import config
from layerwise.models.table import Entry, Request
from layerwise.nn.init import init_as_keras

# Dropout before the classifier, as the course has it.
_DROPOUT = {"cnn-28": 0.5, "cnn-32": 0.0}


class CnnOptions(config.Section):
    """Options of `cnn-28` and `cnn-32`; `dropout` is the share of the hidden layer dropped in training."""

    dropout: float = pydantic.Field(0.0, ge=0, lt=1)


class Cnn(nn.Module):
    """Conv 32, pool, conv 64, pool, conv 64, flatten, dense 64, dropout, dense.

    Args:
        classes: number of logits.
        channels: of the images, C.
        size: (height, width) of the images, each at least 18.
        dropout: share of the hidden layer dropped in training.

    Shapes:
        (B, C, H, W) -> features (B, 64, H', W') -> logits (B, classes); from 28 pixels 3 are left, from 32 pixels 4.
    """

    def __init__(self, classes: int, channels: int, size: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.conv3 = nn.Conv2d(64, 64, 3)
        height, width = (((side - 2) // 2 - 2) // 2 - 2 for side in size)
        self.hidden = nn.Linear(64 * height * width, 64)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(64, classes)
        init_as_keras(self)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 64, H', W')."""
        # Relu after pooling, not before: the two commute, so that every number is the same, over a quarter as many.
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return F.relu(self.conv3(x))

    def forward_head(self, features: Tensor) -> Tensor:
        """(B, 64, H', W') -> (B, classes)."""
        # Flattened with channels last, as Keras does it: for channels-last features that is a view, not a copy.
        x = features.permute(0, 2, 3, 1).flatten(1)  # (B, H' * W' * 64)
        x = self.dropout(F.relu(self.hidden(x)))
        logits: Tensor = self.linear(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes)."""
        return self.forward_head(self.forward_features(x))


def build(entry: Entry, request: Request) -> Cnn:
    """Make `cnn-28` or `cnn-32` for any number of classes and channels, and any size from 18 pixels."""
    options = config.build(CnnOptions, {"dropout": _DROPOUT[entry.name], **request.options})
    return Cnn(request.classes, request.channels, (request.height, request.width), options.dropout)
