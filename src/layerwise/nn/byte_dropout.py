"""Dropout whose masks cost one random byte a value."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ByteDropout(nn.Module):
    """Dropout (N. Srivastava et al., JMLR 15, 2014) with a share that is a whole number of 256ths.

    A byte below `round(share * 256)` drops its value; eight bytes come from one draw of torch's global generator, where
    `nn.Dropout` draws for each value. What is kept is divided by the share that is truly kept, so the mean stays exact.

    Args:
        share: of the values dropped in training, from 0 to below 1; at most 1/512 from what is asked for.

    Shapes:
        any -> the same.

    Example:
        >>> layer = ByteDropout(0.4)
        >>> round(layer.share, 4), float(layer.eval()(torch.ones(3)).sum())
        (0.3984, 3.0)
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        assert 0 <= share < 1
        self.dropped = min(255, round(share * 256))  # of 256

    @property
    def share(self) -> float:
        """What is truly dropped."""
        return self.dropped / 256

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return x * self._factors(x) if self.training and self.dropped else x

    def _factors(self, x: Tensor) -> Tensor:
        """0 where a value is dropped, else what keeps the mean."""
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None)  # all 64 bits; without a range the sign stays 0
        bytes_ = words.view(torch.uint8)[: x.numel()]
        factors = torch.empty_like(x, requires_grad=False)  # dense, and in x's own order: the product is one pass
        flat = factors.as_strided((x.numel(),), (1,))
        torch.ge(bytes_, self.dropped, out=flat)  # straight to floats: over booleans it would be five times slower
        flat.mul_(256 / (256 - self.dropped))
        return factors

    def extra_repr(self) -> str:
        """For print."""
        return f"share={self.share:.4f}"
