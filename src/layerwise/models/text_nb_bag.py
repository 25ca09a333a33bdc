"""Texts by their words and pairs of words, each scaled by what counts alone say of it: `nb-bag`.

S. Wang, C. Manning, "Baselines and bigrams: simple, good sentiment and topic classification" (NB-SVM), ACL 2012: a
linear classifier whose features are weighed by their log-count ratios, the weights of naive Bayes. Here it is trained
by gradient steps, as any network. B texts, T tokens, N words and pairs of a text, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import config
from layerwise.models.by_task import Sizes
from layerwise.models.text_bag import hashed, shared

_MOST = 4_000_000  # weights of pairs, which many classes share
_SMOOTH = 1.0  # texts with each word or pair that every class is taken to have beside the real ones


class Options(config.Section):
    """Options of `nb-bag`."""

    # Places that pairs of neighbouring words share by their hash; 0 is words alone. Fewer where classes are many.
    buckets: int = pydantic.Field(200_000, ge=0, le=10_000_000)
    dropout: float = pydantic.Field(0.0, ge=0.0, lt=1.0)  # share of the words and pairs of a text left out in training


class TextNbBag(nn.Module):
    """Sum over a text's words and pairs of ratio * weight, a number a class; each counts once.

    `ratio` is fixed, and comes from `learn`: before, it is 1. `weight` starts at zero.

    Args:
        sizes: `inputs` tokens in the vocabulary, `outputs` classes.
        options: see `Options`.

    Shapes:
        (B, T) tokens, 0 is padding, and (B,) lengths -> (B, C) logits. What is behind a text's end has no influence.

    Example:
        >>> net = TextNbBag(Sizes(inputs=100, outputs=3, length=8), Options())
        >>> net(torch.tensor([[5, 6, 7], [8, 0, 0]]), torch.tensor([3, 1])).shape
        torch.Size([2, 3])
    """

    ratio: Tensor

    def __init__(self, sizes: Sizes, options: Options) -> None:
        super().__init__()
        self.words, self.dropout = sizes.inputs, options.dropout
        self.buckets = min(options.buckets, max(1, _MOST // sizes.outputs))
        shape = (self.words + self.buckets, sizes.outputs)
        self.register_buffer("ratio", torch.ones(shape))
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(sizes.outputs))

    @torch.no_grad()
    def learn(self, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Take the ratios from the training part: log of how much more often a class has a word than the others have.

        Args:
            batches: (B, T) tokens, (B,) lengths and (B,) classes.
        """
        counts = torch.zeros(self.ratio.shape, dtype=torch.float64)
        for tokens, lengths, targets in batches:
            ids, first = (each.cpu() for each in self._features(tokens, lengths))  # (B, N)
            classes = targets.cpu()[:, None].expand_as(ids)
            counts.index_put_((ids[first], classes[first]), torch.ones((), dtype=counts.dtype), accumulate=True)
        seen = counts.sum(1, keepdim=True)  # texts that hold it, (words + buckets, 1)
        mine, others = counts + _SMOOTH, seen - counts + _SMOOTH
        ratio = (mine / mine.sum(0)).log() - (others / others.sum(0)).log()
        self.ratio.copy_(torch.where(seen > 0, ratio, 0.0))  # of what no text holds nothing is known

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) tokens, (B,) lengths -> (B, C)."""
        ids, first = self._features(tokens, lengths)  # (B, N)
        kept = F.dropout(first.to(self.weight.dtype), self.dropout, self.training)
        scaled = self.weight * self.ratio
        return F.embedding_bag(ids, scaled, per_sample_weights=kept, mode="sum") + self.bias  # (B, C)

    @torch.no_grad()
    def contributions(self, tokens: Tensor) -> Tensor:
        """What each word of a text adds to its logits, which are the sum of these and the bias: (T,) -> (T, C).

        A word or pair that stands there several times counts once, so that each place has its part of that. Of what a
        pair adds, each of its words has half.
        """
        said = self._parts(tokens)
        if self.buckets and len(tokens) > 1:
            pairs = hashed(tokens[:-1], tokens[1:], self.buckets) + self.words  # (T - 1,)
            said = said + shared(self._parts(pairs) / 2)
        return said

    def _parts(self, ids: Tensor) -> Tensor:
        """(N,) -> (N, C): ratio * weight, divided by how often the word or pair is there."""
        times = torch.bincount(ids)[ids]  # (N,)
        return self.weight[ids] * self.ratio[ids] / times[:, None]

    def _features(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers of words and pairs, (B, N) ascending, and which of them count: the first of equals, (B, N) bool."""
        inside = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]  # (B, T)
        ids = tokens
        if self.buckets:
            pairs = hashed(tokens[:, :-1], tokens[:, 1:], self.buckets) + self.words  # (B, T - 1)
            ids, inside = torch.cat([ids, pairs], dim=1), torch.cat([inside, inside[:, 1:]], dim=1)
        ids = ids.masked_fill(~inside, 0).sort(1).values
        new = F.pad(ids[:, 1:] != ids[:, :-1], (1, 0), value=True)
        return ids, new & (ids > 0)


def build(sizes: Sizes, options: Mapping[str, Any]) -> TextNbBag:
    """Make a bag of words and pairs that naive Bayes scales.

    Raises:
        RecipeError: an unknown option or an unusable value.
    """
    return TextNbBag(sizes, config.build(Options, options))
