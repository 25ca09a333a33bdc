"""`fcn`: three convolutions over time and the mean over all steps.

Z. Wang, W. Yan, T. Oates, "Time series classification from scratch with deep neural networks: a strong baseline",
IJCNN 2017, arXiv 1611.06455.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic
from torch import Tensor, nn

from layerwise import config
from layerwise.models.by_task import Sizes
from layerwise.nn.masked import ConvNormRelu, channels_first
from layerwise.nn.pooling import masked_mean


class Options(config.Section):
    """Options of `fcn`: `filters` of its layers, `kernels` in steps, `dropout` before the classifier."""

    filters: tuple[pydantic.PositiveInt, ...] = (128, 256, 128)
    kernels: tuple[pydantic.PositiveInt, ...] = (8, 5, 3)
    dropout: float = pydantic.Field(0.0, ge=0, lt=1)

    @pydantic.model_validator(mode="after")
    def _as_many(self) -> Options:
        if not self.filters or len(self.filters) != len(self.kernels):
            raise ValueError("as many kernels as filters, and at least one")
        return self


class ConvStack(nn.Module):
    """Convolutions, each normalised and rectified.

    Shapes:
        x (B, C, T), valid (B, T) or none -> (B, filters[-1], T).
    """

    def __init__(self, channels: int, filters: tuple[int, ...], kernels: tuple[int, ...]) -> None:
        super().__init__()
        widths = (channels, *filters)
        self.layers = nn.ModuleList(
            ConvNormRelu(before, width, kernel) for before, width, kernel in zip(widths, filters, kernels, strict=False)
        )

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, C, T) -> (B, filters[-1], T)."""
        for layer in self.layers:
            x = layer(x, valid)
        return x


class Fcn(nn.Module):
    """Convolutions, mean over time, linear.

    Args:
        channels: values a step, C.
        classes: number of logits.
        options: see `Options`.

    Shapes:
        x (B, T, C), lengths (B,) or none -> logits (B, classes).
    """

    def __init__(self, channels: int, classes: int, options: Options) -> None:
        super().__init__()
        self.body = ConvStack(channels, options.filters, options.kernels)
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(options.filters[-1], classes)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, C), (B,) -> (B, classes)."""
        x, valid = channels_first(x, lengths)
        features = masked_mean(self.body(x, valid).transpose(1, 2), None if valid is None else lengths)  # (B, filters)
        logits: Tensor = self.linear(self.dropout(features))
        return logits


def build(sizes: Sizes, options: Mapping[str, Any]) -> Fcn:
    """Make `fcn` for any number of channels, classes and steps."""
    return Fcn(sizes.inputs, sizes.outputs, config.build(Options, options))
