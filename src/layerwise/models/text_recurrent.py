"""Texts by an LSTM or a GRU: `lstm`, `bilstm` and `gru`.

B texts, T tokens, E numbers a token, D numbers a state (twice the units where both directions are read).

`lstm` is the course's network: embedding 128, LSTM 64 with dropout 0.2 and recurrent dropout 0.2, the last state, one
dense layer. S. Hochreiter, J. Schmidhuber, Neural Computation 9 (1997); GRU: K. Cho et al., arXiv 1406.1078; dropout by
one mask a text and whole words left out: Y. Gal, Z. Ghahramani, arXiv 1512.05287; pooling over time instead of the last
state: A. Conneau et al., arXiv 1705.02364.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import config
from layerwise.models.by_task import Sizes
from layerwise.nn.pooling import AttentionPooling, masked_max, masked_mean
from layerwise.nn.recurrent import Recurrent

Pool = Literal["last", "attention", "mean", "max"]

# Half the width of the uniform distribution that Keras draws embeddings from.
_WIDTH = 0.05


class Options(config.Section):
    """Options of `lstm`, `bilstm` and `gru`."""

    kind: Literal["lstm", "gru"] = "lstm"
    embedding: int = pydantic.Field(128, ge=1, le=4096)  # numbers a token
    units: tuple[int, ...] = pydantic.Field((64,), min_length=1, max_length=8)  # of each layer
    bidirectional: bool = False
    dropout: float = pydantic.Field(0.2, ge=0.0, lt=1.0)  # of each layer's inputs, one mask a text
    recurrent_dropout: float = pydantic.Field(0.2, ge=0.0, lt=1.0)  # of the state between steps
    recurrent_mask: Literal["shared", "per_example"] = "shared"
    pool: Pool = "last"  # what of the states goes to the classifier
    embedding_dropout: float = pydantic.Field(0.0, ge=0.0, lt=1.0)  # share of the vocabulary left out, drawn each step
    head_dropout: float = pydantic.Field(0.0, ge=0.0, lt=1.0)  # of what goes to the classifier

    @pydantic.field_validator("units")
    @classmethod
    def _positive(cls, units: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= each <= 4096 for each in units):
            raise ValueError("numbers from 1 to 4096, one a layer")
        return units


class TextRecurrent(nn.Module):
    """Embedding, recurrent layers, pooling over time, dense.

    Args:
        sizes: `inputs` tokens in the vocabulary, `outputs` classes.
        options: see `Options`.

    Shapes:
        (B, T) tokens, 0 is padding, and (B,) lengths -> (B, classes) logits. What is behind a text's end has no
        influence. For two classes there is one sigmoid unit z, as in the course, and the logits are [0, z].

    Example:
        >>> net = TextRecurrent(Sizes(inputs=100, outputs=3, length=8), Options())
        >>> net(torch.tensor([[5, 6, 7], [8, 0, 0]]), torch.tensor([3, 1])).shape
        torch.Size([2, 3])
    """

    def __init__(self, sizes: Sizes, options: Options) -> None:
        super().__init__()
        self.pool, self.classes = options.pool, sizes.outputs
        self.embedding_dropout = options.embedding_dropout
        self.bidirectional = options.bidirectional
        self.embedding = nn.Embedding(sizes.inputs, options.embedding, padding_idx=0)
        self.recurrent = Recurrent(
            options.kind,
            options.embedding,
            options.units,
            bidirectional=options.bidirectional,
            dropout=options.dropout,
            recurrent_dropout=options.recurrent_dropout,
            recurrent_mask=options.recurrent_mask,
        )
        width = self.recurrent.features
        self.attention = AttentionPooling(width) if options.pool == "attention" else None
        self.dropout = nn.Dropout(options.head_dropout)
        self.linear = nn.Linear(width, 1 if sizes.outputs == 2 else sizes.outputs)
        _init_as_keras(self)

    def forward_states(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) tokens -> states (B, T, D), zero behind a text's end, and the last of each, (B, D)."""
        embedded = self.embedding(tokens.t())  # (T, B, E): time first is what the layers read without a copy
        if self.training and self.embedding_dropout:
            embedded = embedded * self._kept_words(tokens.t())
        states, last = self.recurrent(embedded.transpose(0, 1), lengths)
        return states, last

    def forward_features(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) tokens -> (B, D)."""
        states, last = self.forward_states(tokens, lengths)
        if self.attention is not None:
            pooled: Tensor = self.attention(states, lengths)
            return pooled
        if self.pool == "mean":
            return masked_mean(states, lengths)
        return masked_max(states, lengths) if self.pool == "max" else last

    def forward_head(self, features: Tensor) -> Tensor:
        """(B, D) -> (B, classes)."""
        logits: Tensor = self.linear(self.dropout(features))  # (B, classes), or (B, 1) for two
        return F.pad(logits, (1, 0)) if self.classes == 2 else logits

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) tokens, (B,) lengths -> (B, classes)."""
        return self.forward_head(self.forward_features(tokens, lengths))

    def _kept_words(self, tokens: Tensor) -> Tensor:
        """A mask (T, B, 1) that leaves the same words out wherever they stand in the batch."""
        keep = 1 - self.embedding_dropout
        drawn = torch.rand(self.embedding.num_embeddings, 1, device=tokens.device) < keep
        return F.embedding(tokens, drawn.to(self.embedding.weight.dtype) / keep)


def build(sizes: Sizes, options: Mapping[str, Any]) -> TextRecurrent:
    """Make a recurrent network for texts.

    Raises:
        RecipeError: an unknown option or an unusable value.
    """
    return TextRecurrent(sizes, config.build(Options, options))


def _init_as_keras(net: TextRecurrent) -> None:
    """Embeddings uniform in -0.05 to 0.05 with zeros for padding, a Glorot classifier; `Recurrent` does its own."""
    nn.init.uniform_(net.embedding.weight, -_WIDTH, _WIDTH)
    nn.init.xavier_uniform_(net.linear.weight)
    nn.init.zeros_(net.linear.bias)
    with torch.no_grad():
        net.embedding.weight[0].zero_()
