"""Texts by convolutions over neighbouring words: `text-cnn`.

Y. Kim, "Convolutional neural networks for sentence classification", EMNLP 2014 (arXiv 1408.5882), its variant with
random embeddings: filters over 3, 4 and 5 words, relu, the largest over time, dropout, dense. B texts, T tokens, E
numbers a token, F filters of each width.
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

_WIDTH = 0.25  # half the width of the uniform distribution that the paper draws embeddings from


class Options(config.Section):
    """Options of `text-cnn`."""

    embedding: int = pydantic.Field(128, ge=1, le=4096)  # numbers a token; the paper has 300
    filters: int = pydantic.Field(100, ge=1, le=4096)  # of each width
    widths: tuple[int, ...] = pydantic.Field((3, 4, 5), min_length=1, max_length=16)  # in words
    dropout: float = pydantic.Field(0.5, ge=0.0, lt=1.0)  # of what goes to the classifier
    embedding_dropout: float = pydantic.Field(0.0, ge=0.0, lt=1.0)  # of the embedded words

    @pydantic.field_validator("widths")
    @classmethod
    def _positive(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= each <= 32 for each in widths):
            raise ValueError("numbers from 1 to 32")
        return widths


class TextCnn(nn.Module):
    """Embedding, convolutions of several widths, the largest over time, dropout, dense.

    Args:
        sizes: `inputs` tokens in the vocabulary, `outputs` classes.
        options: see `Options`.

    Shapes:
        (B, T) tokens, 0 is padding, and (B,) lengths -> (B, classes) logits. What is behind a text's end has no
        influence: windows that hold none of its words do not take part.

    Example:
        >>> net = TextCnn(Sizes(inputs=100, outputs=3, length=8), Options())
        >>> net(torch.tensor([[5, 6, 7], [8, 0, 0]]), torch.tensor([3, 1])).shape
        torch.Size([2, 3])
    """

    def __init__(self, sizes: Sizes, options: Options) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sizes.inputs, options.embedding, padding_idx=0)
        # Zeros on both sides, so that each word is once in every place of a window, however short the text.
        self.convolutions = nn.ModuleList(
            nn.Conv1d(options.embedding, options.filters, width, padding=width - 1) for width in options.widths
        )
        self.embedding_dropout = nn.Dropout(options.embedding_dropout)
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(options.filters * len(options.widths), sizes.outputs)
        nn.init.uniform_(self.embedding.weight, -_WIDTH, _WIDTH)
        with torch.no_grad():
            self.embedding.weight[0].zero_()

    def forward_features(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) tokens -> (B, widths * F)."""
        inside = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]  # (B, T)
        embedded = self.embedding(tokens * inside)  # (B, T, E)
        embedded = self.embedding_dropout(embedded).transpose(1, 2)  # (B, E, T)
        found = []
        for convolution in self.convolutions:
            answers = F.relu(convolution(embedded))  # (B, F, T + width - 1)
            windows = lengths[:, None] + answers.shape[2] - tokens.shape[1]  # (B, 1): those that hold a word
            places = torch.arange(answers.shape[2], device=tokens.device)
            # 0 is the least that a relu gives, so that nothing behind the end can be the largest.
            found.append((answers * (places < windows)[:, None]).amax(2))  # (B, F)
        return torch.cat(found, dim=1)

    def forward_head(self, features: Tensor) -> Tensor:
        """(B, widths * F) -> (B, classes)."""
        logits: Tensor = self.linear(self.dropout(features))
        return logits

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) tokens, (B,) lengths -> (B, classes)."""
        return self.forward_head(self.forward_features(tokens, lengths))


def build(sizes: Sizes, options: Mapping[str, Any]) -> TextCnn:
    """Make a convolutional network for texts.

    Raises:
        RecipeError: an unknown option or an unusable value.
    """
    return TextCnn(sizes, config.build(Options, options))
