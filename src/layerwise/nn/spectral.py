"""Spectral normalisation: a weight whose largest singular value is held."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_AT_FIRST = 20  # steps of power iteration before training: afterwards the vectors only follow


class SpectralNorm(nn.Module):
    """Scales a weight so that its largest singular value is a given bound.

    T. Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018 (arXiv 1802.05957). The
    value is estimated by power iteration, a step at each call in training; weights are seen as matrices of (outputs,
    all else). The gradient reaches the weight through the estimate too, with its two vectors held fixed.

    Args:
        weight: to begin with.
        bound: 1 as in the paper, or none for the largest singular value that `weight` has. Then the layer begins as it
            was made, and never amplifies more than that.

    Shapes:
        (F, ...) -> (F, ...).

    Example:
        >>> weight = torch.diag(torch.tensor([4.0, 2.0]))
        >>> SpectralNorm(weight)(weight).diagonal().mul(10).round().tolist()
        [10.0, 5.0]
    """

    left: Tensor
    right: Tensor
    bound: Tensor

    def __init__(self, weight: Tensor, bound: float | None = 1.0) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        # Nothing is drawn for the start: no weight drawn at random is orthogonal to it.
        self.register_buffer("left", F.normalize(torch.ones(len(matrix)), dim=0))
        self.register_buffer("right", torch.zeros(matrix.shape[1]))
        for _ in range(_AT_FIRST):
            self._iterate(matrix)
        first = self._largest(matrix)
        self.register_buffer("bound", first if bound is None else torch.full_like(first, bound))

    def forward(self, weight: Tensor) -> Tensor:
        """(F, ...) -> (F, ...)."""
        with torch.autocast(weight.device.type, enabled=False):  # of few digits the estimate would be a poor one
            matrix = weight.flatten(1)
            if self.training:
                self._iterate(matrix.detach())
            return weight * (self.bound / self._largest(matrix))

    def _largest(self, matrix: Tensor) -> Tensor:
        # Of copies: the next call changes the vectors in place, while this call's backward pass may be still to come.
        return self.left.clone() @ (matrix @ self.right.clone())

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        self.right.copy_(F.normalize(self.left @ matrix, dim=0))
        self.left.copy_(F.normalize(matrix @ self.right, dim=0))


class SpectralConv2d(nn.Module):
    """A convolution under `SpectralNorm`, bounded by the largest singular value that it came with.

    Args:
        conv: whose parameters these stay.

    Shapes:
        (B, C, H, W) -> (B, F, H', W').

    Example:
        >>> conv, x = nn.Conv2d(3, 4, 3), torch.rand(2, 3, 8, 8)
        >>> torch.allclose(SpectralConv2d(conv)(x), conv(x), atol=1e-2)
        True
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = SpectralNorm(conv.weight, bound=None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F, H', W')."""
        conv = self.conv
        return F.conv2d(x, self.norm(conv.weight), conv.bias, conv.stride, conv.padding)
