"""`inception-time`: modules of convolutions of several lengths over time, with residual connections.

H. Ismail Fawaz et al., "InceptionTime: finding AlexNet for time series classification", Data Mining and Knowledge
Discovery 34 (2020), arXiv 1909.04939; one network, where the paper averages five.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import config
from layerwise.models.by_task import Sizes
from layerwise.nn.masked import MaskedBatchNorm, channels_first, same
from layerwise.nn.pooling import masked_mean

_RESIDUAL = 3  # modules between two residual connections


class Options(config.Section):
    """Options of `inception-time`: `depth` in modules, `filters` a branch, `bottleneck`, `kernels`, `dropout`."""

    depth: int = pydantic.Field(6, ge=1, le=60)
    filters: int = pydantic.Field(32, ge=1)
    bottleneck: int = pydantic.Field(32, ge=1)
    kernels: tuple[pydantic.PositiveInt, ...] = pydantic.Field((40, 20, 10), min_length=1)
    dropout: float = pydantic.Field(0.0, ge=0, lt=1)


class TimeModule(nn.Module):
    """A bottleneck, convolutions of several lengths beside a pooled branch, normalised and rectified.

    Args:
        channels: of the input.
        options: see `Options`.

    Shapes:
        x (B, channels, T), zero behind each end; valid (B, T) or none -> (B, (kernels + 1) * filters, T).
    """

    def __init__(self, channels: int, options: Options) -> None:
        super().__init__()
        width = options.bottleneck if channels > 1 else 1
        self.bottleneck = nn.Conv1d(channels, width, 1, bias=False) if channels > 1 else None
        self.convs = nn.ModuleList(nn.Conv1d(width, options.filters, kernel, bias=False) for kernel in options.kernels)
        self.pooled = nn.Conv1d(channels, options.filters, 1, bias=False)
        self.norm = MaskedBatchNorm((len(options.kernels) + 1) * options.filters)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, channels, T) -> (B, (kernels + 1) * filters, T)."""
        narrow = x if self.bottleneck is None else self.bottleneck(x)  # (B, bottleneck, T)
        parts = [same(conv, narrow) for conv in self.convs if isinstance(conv, nn.Conv1d)]
        # The border of a maximum is minus infinity, and so is what lies behind an end.
        open_end = x if valid is None else x.masked_fill(~valid[:, None], -torch.inf)
        highest = F.max_pool1d(open_end, 3, stride=1, padding=1)
        highest = highest if valid is None else highest.masked_fill(~valid[:, None], 0)
        return F.relu(self.norm(torch.cat([*parts, self.pooled(highest)], dim=1), valid))


class Shortcut(nn.Module):
    """What a residual connection adds: the input by a 1-step convolution, normalised."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, filters, 1, bias=False)
        self.norm = MaskedBatchNorm(filters)
        nn.init.xavier_uniform_(self.conv.weight)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, channels, T) -> (B, filters, T)."""
        added: Tensor = self.norm(self.conv(x), valid)
        return added


class InceptionTime(nn.Module):
    """Modules with a residual connection around every third, mean over time, linear.

    Args:
        channels: values a step, C.
        classes: number of logits.
        options: see `Options`.

    Shapes:
        x (B, T, C), lengths (B,) or none -> logits (B, classes).
    """

    def __init__(self, channels: int, classes: int, options: Options) -> None:
        super().__init__()
        width = (len(options.kernels) + 1) * options.filters
        self.blocks = nn.ModuleList(TimeModule(width if place else channels, options) for place in range(options.depth))
        self.shortcuts = nn.ModuleList(
            Shortcut(width if place else channels, width) for place in range(options.depth // _RESIDUAL)
        )
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(width, classes)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, C), (B,) -> (B, classes)."""
        x, valid = channels_first(x, lengths)
        before = x
        for place, block in enumerate(self.blocks):
            x = block(x, valid)  # (B, width, T)
            if place % _RESIDUAL == _RESIDUAL - 1:
                before = x = F.relu(x + self.shortcuts[place // _RESIDUAL](before, valid))
        features = masked_mean(x.transpose(1, 2), None if valid is None else lengths)  # (B, width)
        logits: Tensor = self.linear(self.dropout(features))
        return logits


def build(sizes: Sizes, options: Mapping[str, Any]) -> InceptionTime:
    """Make `inception-time` for any number of channels, classes and steps."""
    return InceptionTime(sizes.inputs, sizes.outputs, config.build(Options, options))
