"""Ridge regression of all steps ahead on a window, solved exactly from sums over windows.

The sums (X'X and X'Y) are gathered chunk by chunk, so that memory does not grow with the number of windows, and any
penalty is solved for from them at once. The penalty pulls towards a forecast that is known to be sensible rather than
towards zero: the last value, the last season, or the mean of all seasons of the window.

W windows, L steps of the window, H steps ahead, F = L + 1 features: the window less its last value, and a one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Prior = Literal["last", "season", "seasons"]
PRIORS: tuple[Prior, ...] = ("last", "season", "seasons")
# Shares of the mean square of the features: from next to no penalty to nothing but the prior and a constant.
PENALTIES: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 1000.0)


@dataclass
class Sums:
    """What the windows add up to.

    Args:
        length: L.
        horizon: H.

    Example:
        >>> sums = Sums(2, 1)
        >>> sums.add(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[2.0], [-1.0]]))
        >>> sums.count
        2
    """

    length: int
    horizon: int
    count: int = 0
    squares: Tensor = field(init=False)  # X'X (F, F)
    products: Tensor = field(init=False)  # X'Y (F, H)

    def __post_init__(self) -> None:
        self.squares = torch.zeros(self.length + 1, self.length + 1, dtype=torch.float64)
        self.products = torch.zeros(self.length + 1, self.horizon, dtype=torch.float64)

    def add(self, windows: Tensor, targets: Tensor) -> None:
        """Count windows (W, L) and what came after them (W, H), all finite."""
        last = windows[:, -1:]
        ones = torch.ones_like(last)
        features = torch.cat([windows - last, ones], dim=1)  # (W, F)
        # Products in the windows' own precision, sums in double: a chunk's rounding does not add up over chunks.
        self.squares += (features.T @ features).double()
        self.products += (features.T @ (targets - last)).double()
        self.count += len(windows)


@dataclass(frozen=True)
class Solution:
    """One answer: `last + (window - last) weight + bias`."""

    prior: Prior
    penalty: float
    weight: Tensor  # (L, H)
    bias: Tensor  # (H,)


def solutions(sums: Sums, season: int, priors: tuple[Prior, ...] = PRIORS) -> Iterator[Solution]:
    """The answer for every prior and penalty, from one factorisation.

    Args:
        sums: of one window or more.
        season: steps; a prior that needs one is left out where the window holds none. Of one step, the mean of all
            seasons is the mean of the window.
        priors: which.
    """
    length = sums.length
    # The bias is not penalised: it is eliminated first, by centring.
    mean_x = sums.squares[-1, :-1] / sums.count  # (L,)
    mean_y = sums.products[-1] / sums.count  # (H,)
    centred = sums.squares[:-1, :-1] - sums.count * torch.outer(mean_x, mean_x)  # (L, L)
    crossed = sums.products[:-1] - sums.count * torch.outer(mean_x, mean_y)  # (L, H)
    values, vectors = torch.linalg.eigh(centred)
    values = values.clamp(min=0.0)
    size = max(float(centred.diagonal().mean()), 1e-12)
    for prior in priors:
        if (prior == "season" and season == 1) or (prior != "last" and season > length):
            continue
        start = prior_weight(prior, length, sums.horizon, season)
        turned = vectors.T @ (crossed - centred @ start)  # (L, H)
        for penalty in PENALTIES:
            weight = start + vectors @ (turned / (values + penalty * size)[:, None])
            yield Solution(prior, penalty, weight, mean_y - mean_x @ weight)


def prior_weight(prior: Prior, length: int, horizon: int, season: int) -> Tensor:
    """The weight (L, H) whose forecast is the last value, the last season repeated, or the mean of all whole seasons.

    Example:
        >>> prior_weight("season", 3, 2, 2)[:, 0].tolist()
        [0.0, 1.0, 0.0]
    """
    weight = torch.zeros(length, horizon, dtype=torch.float64)
    if prior == "last":
        return weight
    steps, count = torch.arange(horizon), length // season if prior == "seasons" else 1
    for back in range(1, count + 1):
        weight[length - back * season + steps % season, steps] = 1.0 / count
    return weight
