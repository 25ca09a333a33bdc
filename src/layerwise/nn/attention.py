"""Attention over positions: of a sequence, and of a feature map."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Scaled dot-product attention of every position to every position, with one head.

    A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017 (arXiv 1706.03762), equation 1:
    softmax(q k^T / sqrt(E)) v, with q, k and v linear in the input.

    Args:
        channels: width of the input, C.
        embed_dim: width of queries, keys, values and of the output, E.

    Shapes:
        x (B, T, C), mask (B, T) or none -> (B, T, E).

    Example:
        >>> import torch
        >>> SelfAttention(16, 8)(torch.zeros(2, 5, 16)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, channels: int, embed_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, embed_dim)
        self.key = nn.Linear(channels, embed_dim)
        self.value = nn.Linear(channels, embed_dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: (B, T, C).
            mask: (B, T) bool, true where a position is real; padding is attended to by nobody. At least one position
                of each example must be real.
        """
        allowed = None if mask is None else mask[:, None, :]  # (B, 1, T): the same keys for every query
        return F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x), attn_mask=allowed)


class NonLocalBlock2d(nn.Module):
    """Self-attention over the positions of a feature map, added to its input.

    X. Wang, R. Girshick, A. Gupta, K. He, "Non-local Neural Networks", CVPR 2018 (arXiv 1711.07971), the embedded
    Gaussian form, with the dot products divided by sqrt(inner) as in Vaswani et al. The last convolution starts at
    zero, so that a new block is the identity and can be put into a network that is already trained.

    Args:
        channels: channels of input and output, C.
        inner: width of queries, keys and values; half of `channels` if none is given.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). Every position looks at all H * W: the work grows with (H * W) ** 2.

    Example:
        >>> import torch
        >>> x = torch.rand(2, 16, 4, 4)
        >>> bool((NonLocalBlock2d(16)(x) == x).all())
        True
    """

    def __init__(self, channels: int, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or max(1, channels // 2)
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, inner, 1)
        self.output = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(self.output.weight)
        assert self.output.bias is not None
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        q, k, v = (_positions(layer(x)) for layer in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(q, k, v)
        mixed = mixed.transpose(1, 2).reshape(q.shape[0], q.shape[2], x.shape[2], x.shape[3])  # (B, inner, H, W)
        out: Tensor = x + self.output(mixed)
        return out


def _positions(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)  # (B, inner, H, W) -> (B, H * W, inner); a view if x is channels-last
