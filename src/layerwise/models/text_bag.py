"""Texts by the mean of what their words and pairs of words say: `bag`.

A. Joulin et al., "Bag of tricks for efficient text classification" (fastText), arXiv 1607.01759; words left out in
training: M. Iyyer et al., "Deep unordered composition rivals syntactic methods", ACL 2015. B texts, T tokens, E numbers
a word or pair.
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

# Odd numbers whose bits look random, as signed 64-bit ones: D. Lea, G. Steele, S. Vigna's SplitMix64.
_FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47


class Options(config.Section):
    """Options of `bag`."""

    embedding: int = pydantic.Field(16, ge=1, le=4096)  # numbers a word or pair
    # Places that pairs of neighbouring words share by their hash; 0 is words alone.
    buckets: int = pydantic.Field(200_000, ge=0, le=10_000_000)
    dropout: float = pydantic.Field(0.5, ge=0.0, lt=1.0)  # share of the words and pairs of a text left out in training


def hashed(first: Tensor, second: Tensor, buckets: int) -> Tensor:
    """The bucket of a pair of tokens: a function of the pair alone, spread evenly.

    Example:
        >>> pair = torch.tensor([[4, 7, 4, 7]])
        >>> found = hashed(pair[:, :-1], pair[:, 1:], 1000)
        >>> bool(found[0, 0] == found[0, 2]), bool(found[0, 0] == found[0, 1])
        (True, False)
    """
    mixed = (first * _FIRST + second + 1) * _SECOND  # a product that leaves 64 bits is cut, which is what mixes
    mixed = mixed ^ (mixed >> 31 & 0x1FFFFFFFF)
    return (mixed & 0x7FFFFFFFFFFFFFFF) % buckets


def shared(halves: Tensor) -> Tensor:
    """Half of what each pair of neighbours adds, given to both of its words: (T - 1, classes) -> (T, classes)."""
    return F.pad(halves, (0, 0, 0, 1)) + F.pad(halves, (0, 0, 1, 0))


class TextBag(nn.Module):
    """Mean of embeddings, dense.

    Args:
        sizes: `inputs` tokens in the vocabulary, `outputs` classes.
        options: see `Options`.

    Shapes:
        (B, T) tokens, 0 is padding, and (B,) lengths -> (B, classes) logits. What is behind a text's end has no
        influence.

    Example:
        >>> net = TextBag(Sizes(inputs=100, outputs=3, length=8), Options())
        >>> net(torch.tensor([[5, 6, 7], [8, 0, 0]]), torch.tensor([3, 1])).shape
        torch.Size([2, 3])
    """

    def __init__(self, sizes: Sizes, options: Options) -> None:
        super().__init__()
        self.words, self.buckets, self.dropout = sizes.inputs, options.buckets, options.dropout
        # Words first, then the buckets of pairs: one table, so that one lookup sums them.
        self.embedding = nn.Embedding(sizes.inputs + options.buckets, options.embedding)
        self.linear = nn.Linear(options.embedding, sizes.outputs)
        nn.init.uniform_(self.embedding.weight, -1 / options.embedding, 1 / options.embedding)

    def forward_features(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) tokens -> (B, E)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        ids, inside = tokens, places < lengths[:, None]  # (B, T)
        if self.buckets:
            pairs = hashed(tokens[:, :-1], tokens[:, 1:], self.buckets) + self.words  # (B, T - 1)
            ids, inside = torch.cat([ids, pairs], dim=1), torch.cat([inside, inside[:, 1:]], dim=1)  # (B, 2T - 1)
        weights = inside.to(self.embedding.weight.dtype)
        weights = F.dropout(weights, self.dropout, self.training) / weights.sum(1, keepdim=True)
        return F.embedding_bag(ids, self.embedding.weight, per_sample_weights=weights, mode="sum")  # (B, E)

    @torch.no_grad()
    def contributions(self, tokens: Tensor) -> Tensor:
        """What each word of a text adds to its logits, which are the sum of these and the bias: (T,) -> (T, classes).

        Of what a pair adds, each of its words has half.
        """
        said = self.linear.weight.t()  # (E, classes)
        if not self.buckets:
            alone: Tensor = self.embedding(tokens) @ said / len(tokens)
            return alone
        pairs = hashed(tokens[:-1], tokens[1:], self.buckets) + self.words  # (T - 1,)
        halves = self.embedding(pairs) @ said / 2
        both: Tensor = (self.embedding(tokens) @ said + shared(halves)) / (2 * len(tokens) - 1)
        return both

    def forward_head(self, features: Tensor) -> Tensor:
        """(B, E) -> (B, classes)."""
        logits: Tensor = self.linear(features)
        return logits

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) tokens, (B,) lengths -> (B, classes)."""
        return self.forward_head(self.forward_features(tokens, lengths))


def build(sizes: Sizes, options: Mapping[str, Any]) -> TextBag:
    """Make a bag of words and pairs.

    Raises:
        RecipeError: an unknown option or an unusable value.
    """
    return TextBag(sizes, config.build(Options, options))
