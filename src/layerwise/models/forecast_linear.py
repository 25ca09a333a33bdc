"""A linear forecast of every step ahead, from the window less its last value.

This is NLinear (Zeng et al. 2022, arXiv 2205.13504). Its numbers are not trained by steps: `tasks/forecast_ridge.py`
solves for them. B windows, L steps, H steps ahead, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from layerwise.config import Section
from layerwise.config import build as build_section
from layerwise.models.by_task import Sizes
from layerwise.models.forecast_levels import LEVELS


class Options(Section):
    """Nothing can be chosen: the penalty and what it pulls towards are found by validation."""


@final
class ForecastLinear(nn.Module):
    """forecast = last + (window - last) W + b, and around it the quantiles of what was left over in fitting.

    Args:
        length: L, steps of the window.
        horizon: H, steps ahead.

    Shapes:
        (B, L) scaled values -> (B, H, Q).

    Example:
        >>> ForecastLinear(4, 2)(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))[0, :, 4]
        tensor([4., 4.])
    """

    def __init__(self, length: int, horizon: int) -> None:
        super().__init__()
        # Found, not trained: without gradients, and a network that was never fitted repeats the last value.
        self.weight = nn.Parameter(torch.zeros(length, horizon), requires_grad=False)  # W (L, H)
        self.bias = nn.Parameter(torch.zeros(horizon), requires_grad=False)  # b (H,)
        self.offsets = nn.Parameter(torch.zeros(horizon, len(LEVELS)), requires_grad=False)  # (H, Q)

    def forward(self, window: Tensor) -> Tensor:
        """All quantiles of all steps."""
        last = window[:, -1:]  # (B, 1)
        point = last + (window - last) @ self.weight + self.bias  # (B, H)
        return point[..., None] + self.offsets  # (B, H, Q)


def build(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    """See the class. Raises RecipeError for any option."""
    build_section(Options, options)
    return ForecastLinear(sizes.length, sizes.outputs)
