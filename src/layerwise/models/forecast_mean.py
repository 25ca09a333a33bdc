"""The mean of what several forecasting networks say, quantile by quantile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor, nn


@final
class ForecastMean(nn.Module):
    """Averaging quantiles keeps the shape of the distributions, where mixing them would widen it.

    K. Lichtendahl, Y. Grushka-Cockayne, R. Winkler, "Is It Better to Average Probabilities or Quantiles?", Management
    Science 2013.

    Args:
        networks: by name; each (B, L) -> (B, H, Q), or (B, H, 1) for one that gives the expected value alone.

    Shapes:
        (B, L) scaled values -> (B, H, Q).
    """

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)

    def forward(self, window: Tensor) -> Tensor:
        """All quantiles of all steps."""
        total = window.new_zeros(())
        for network in self.networks.values():
            total = total + network(window)
        return total / len(self.networks)
