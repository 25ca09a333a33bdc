"""`lstm-stack`, `gru-stack`, `bilstm-stack`: the recurrent stacks of the course, and a linear layer.

LSTM: S. Hochreiter, J. Schmidhuber, Neural Computation 9 (1997). GRU: K. Cho et al., EMNLP 2014, arXiv 1406.1078.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic
from torch import Tensor, nn

from layerwise import config
from layerwise.models.by_task import Sizes
from layerwise.nn.pooling import AttentionPooling, masked_mean
from layerwise.nn.recurrent import Recurrent


class Options(config.Section):
    """Options of the recurrent stacks.

    `kind` and `units` of the layers, `bidirectional`; `dropout` and `recurrent_dropout` as in `nn.recurrent`,
    `recurrent_mask` for the batch or an example; `pool`: what of a sequence's outputs is classified.
    """

    kind: Literal["lstm", "gru"] = "lstm"
    units: tuple[pydantic.PositiveInt, ...] = pydantic.Field((64, 64, 32), min_length=1)
    bidirectional: bool = False
    dropout: float = pydantic.Field(0.0, ge=0, lt=1)
    recurrent_dropout: float = pydantic.Field(0.0, ge=0, lt=1)
    recurrent_mask: Literal["shared", "per_example"] = "shared"
    pool: Literal["last", "attention", "mean"] = "last"


class RecurrentStack(nn.Module):
    """Recurrent layers, the last state, linear.

    Args:
        channels: values a step, C.
        classes: number of logits.
        options: see `Options`.

    Shapes:
        x (B, T, C), lengths (B,) or none -> logits (B, classes).
    """

    def __init__(self, channels: int, classes: int, options: Options) -> None:
        super().__init__()
        self.recurrent = Recurrent(
            options.kind,
            channels,
            options.units,
            bidirectional=options.bidirectional,
            dropout=options.dropout,
            recurrent_dropout=options.recurrent_dropout,
            recurrent_mask=options.recurrent_mask,
        )
        self.pool = options.pool
        self.attention = AttentionPooling(self.recurrent.features) if options.pool == "attention" else None
        self.linear = nn.Linear(self.recurrent.features, classes)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, C), (B,) -> (B, classes)."""
        outputs, last = self.recurrent(x, lengths)  # (B, T, D), (B, D)
        if self.attention is not None:
            last = self.attention(outputs, lengths)
        elif self.pool == "mean":
            last = masked_mean(outputs, lengths)
        logits: Tensor = self.linear(last)
        return logits


def build(sizes: Sizes, options: Mapping[str, Any]) -> RecurrentStack:
    """Make a recurrent stack for any number of channels, classes and steps."""
    return RecurrentStack(sizes.inputs, sizes.outputs, config.build(Options, options))
