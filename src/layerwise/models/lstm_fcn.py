"""`lstm-fcn`: the convolutions of `fcn` beside a small LSTM.

F. Karim, S. Majumdar, H. Darabi, S. Chen, "LSTM fully convolutional networks for time series classification", IEEE
Access 6 (2018), arXiv 1709.05206. In the paper the LSTM sees a series turned around ("dimension shuffle"): a step a
channel, with all of its values at once. `shuffle=false` lets it read step by step.
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
from layerwise.models.fcn import ConvStack
from layerwise.nn.masked import channels_first
from layerwise.nn.pooling import masked_mean
from layerwise.nn.recurrent import Recurrent


class Options(config.Section):
    """Options of `lstm-fcn`: `units` of the LSTM, `dropout` behind it, `shuffle`, `filters` and `kernels` as `fcn`."""

    units: int = pydantic.Field(8, ge=1)
    dropout: float = pydantic.Field(0.8, ge=0, lt=1)
    shuffle: bool = True
    filters: tuple[pydantic.PositiveInt, ...] = (128, 256, 128)
    kernels: tuple[pydantic.PositiveInt, ...] = (8, 5, 3)

    @pydantic.model_validator(mode="after")
    def _as_many(self) -> Options:
        if not self.filters or len(self.filters) != len(self.kernels):
            raise ValueError("as many kernels as filters, and at least one")
        return self


class LstmFcn(nn.Module):
    """Convolutions and their mean over time, beside an LSTM's last state, linear.

    Args:
        channels: values a step, C.
        classes: number of logits.
        length: steps that a shuffled series is padded or cut to for the LSTM.
        options: see `Options`.

    Shapes:
        x (B, T, C), lengths (B,) or none -> logits (B, classes).
    """

    def __init__(self, channels: int, classes: int, length: int, options: Options) -> None:
        super().__init__()
        self.length = length if options.shuffle else None
        self.recurrent = Recurrent("lstm", length if options.shuffle else channels, (options.units,))
        self.dropout = nn.Dropout(options.dropout)
        self.body = ConvStack(channels, options.filters, options.kernels)
        self.linear = nn.Linear(options.units + options.filters[-1], classes)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, C), (B,) -> (B, classes)."""
        turned, valid = channels_first(x, lengths)  # (B, C, T)
        own = None if valid is None else lengths
        if self.length is None:
            _, state = self.recurrent(x, own)  # (B, units)
        else:
            _, state = self.recurrent(F.pad(turned, (0, self.length - turned.shape[2])), None)  # of (B, C, length)
        pooled = masked_mean(self.body(turned, valid).transpose(1, 2), own)  # (B, filters)
        logits: Tensor = self.linear(torch.cat([self.dropout(state), pooled], dim=1))
        return logits


def build(sizes: Sizes, options: Mapping[str, Any]) -> LstmFcn:
    """Make `lstm-fcn` for any number of channels and classes; shuffled, for series of up to `sizes.length` steps."""
    return LstmFcn(sizes.inputs, sizes.outputs, sizes.length, config.build(Options, options))
