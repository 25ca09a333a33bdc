"""A recurrent network over a window, a season at a step, that corrects the seasonal naive forecast.

Reading a season (24 hours, 12 months) at a step makes the sequence short, so that training is quick and the state
reaches over all of the window (segments: SegRNN, Lin et al. 2023, arXiv 2308.11200). The head gives all steps ahead and
all quantiles at once, as a difference from the season before (so that an untrained network is the seasonal naive
forecast, and the network has to learn only what that leaves).

B windows, L steps, S steps a segment, T segments, D features, H steps ahead, Q quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, final

import pydantic
import torch
from torch import Tensor, nn

from layerwise.config import Section
from layerwise.config import build as build_section
from layerwise.models.by_task import Sizes
from layerwise.models.forecast_levels import LEVELS
from layerwise.nn.recurrent import Recurrent


class Options(Section):
    """What can be chosen."""

    kind: Literal["lstm", "gru"] = "lstm"
    units: tuple[int, ...] = pydantic.Field((256,), min_length=1, max_length=8)
    season: int = pydantic.Field(1, ge=1, le=16_384)  # steps; the data's own where nothing is said
    # Steps that are read at once; None is a season, 24 at most, or a sixteenth of the window where there is none.
    segment: int | None = pydantic.Field(None, ge=1, le=16_384)
    dropout: float = pydantic.Field(0.0, ge=0.0, lt=1.0)  # of what the recurrent layers read


# Of a segment that nobody chose: steps at most, and segments of a window without a season.
_LONGEST, _SEGMENTS = 24, 16


@final
class ForecastRecurrent(nn.Module):
    """forecast = the last season, repeated, + head(state after the window).

    Args:
        kind: lstm or gru.
        units: of each recurrent layer.
        season: steps of a season; 1 for none.
        segment: S, steps that are read at once.
        dropout: share of the inputs of a recurrent layer that is dropped in training.
        length: L, steps of the window.
        horizon: H, steps ahead.

    Shapes:
        (B, L) scaled values -> (B, H, Q).

    Example:
        >>> network = ForecastRecurrent("gru", (8,), season=2, segment=2, dropout=0.0, length=6, horizon=3)
        >>> network(torch.arange(6.0)[None])[0, :, 4].tolist()
        [4.0, 5.0, 4.0]
    """

    def __init__(
        self,
        kind: Literal["lstm", "gru"],
        units: tuple[int, ...],
        *,
        season: int,
        segment: int,
        dropout: float,
        length: int,
        horizon: int,
    ) -> None:
        super().__init__()
        self.season = season if season <= length else 1  # what the window does not hold cannot be repeated
        self.segment, self.horizon = min(segment, length), horizon
        self.front = -length % self.segment  # steps that the first segment lacks
        self.recurrent = Recurrent(kind, 2 * self.segment, units, dropout=dropout)
        self.head = nn.Linear(units[-1], horizon * len(LEVELS))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, window: Tensor) -> Tensor:
        """All quantiles of all steps."""
        repeats = math.ceil(self.horizon / self.season)
        naive = window[:, -self.season :].repeat(1, repeats)[:, : self.horizon]  # (B, H)
        # A step against the same step a season before; in the first season, against the first value.
        before = torch.cat([window[:, :1].expand(-1, self.season), window[:, : -self.season]], dim=1)
        # A logarithm for what is large, either way: one outlier must not fill the state.
        pair = torch.stack([window, window - before], dim=1).asinh()  # (B, 2, L)
        pair = nn.functional.pad(pair, (self.front, 0))
        segments = pair.view(len(window), 2, -1, self.segment).transpose(1, 2).flatten(2)  # (B, T, 2 S)
        _, last = self.recurrent(segments, None)  # (B, D)
        change: Tensor = self.head(last)
        # Sorted, as quantiles that cross are never better (V. Chernozhukov et al., Econometrica 2010).
        return naive[..., None] + change.view(len(window), self.horizon, -1).sort(dim=-1).values  # (B, H, Q)


def build(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    """See the class. Raises RecipeError for an unknown option."""
    chosen = build_section(Options, options)
    usual = min(chosen.season, _LONGEST) if chosen.season > 1 else math.ceil(sizes.length / _SEGMENTS)
    return ForecastRecurrent(
        chosen.kind,
        chosen.units,
        season=chosen.season,
        segment=chosen.segment or usual,
        dropout=chosen.dropout,
        length=sizes.length,
        horizon=sizes.outputs,
    )
