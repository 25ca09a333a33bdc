"""The course's forecaster: a window of 10 values, an LSTM of 50 units with relu, one value; and again from there.

B windows, L steps, H steps ahead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import pydantic
import torch
from torch import Tensor, nn

from layerwise.config import Section
from layerwise.config import build as build_section
from layerwise.models.by_task import Sizes
from layerwise.nn.recurrent import Recurrent


class Options(Section):
    """The course's own numbers."""

    units: int = pydantic.Field(50, ge=1, le=4096)
    window: int = pydantic.Field(10, ge=1, le=16_384)  # steps that the network sees


@final
class ForecastTutorial(nn.Module):
    """One step ahead, applied to its own answers for those further on.

    Args:
        units: of the LSTM.
        window: steps that it sees; of a longer input only the last ones count.
        horizon: H, steps ahead.

    Shapes:
        (B, L) scaled values -> (B, H, 1): the expected value, as the mean squared error teaches.

    Example:
        >>> ForecastTutorial(50, 10, 3)(torch.zeros(2, 10)).shape
        torch.Size([2, 3, 1])
    """

    def __init__(self, units: int, window: int, horizon: int) -> None:
        super().__init__()
        self.window, self.horizon = window, horizon
        self.recurrent = Recurrent("lstm", 1, (units,), activation="relu")
        self.head = nn.Linear(units, 1)

    def forward(self, window: Tensor, steps: int | None = None) -> Tensor:
        """The next `steps` steps, or the whole horizon."""
        seen, answers = window[:, -self.window :], []
        for _ in range(self.horizon if steps is None else steps):
            _, last = self.recurrent(seen[..., None], None)  # (B, units)
            answer = self.head(last)  # (B, 1)
            answers.append(answer)
            seen = torch.cat([seen[:, 1:], answer], dim=1)  # (B, window)
        return torch.cat(answers, dim=1)[..., None]  # (B, steps, 1)


def build(sizes: Sizes, options: Mapping[str, Any]) -> nn.Module:
    """See the class. Raises RecipeError for an unknown option."""
    chosen = build_section(Options, options)
    return ForecastTutorial(chosen.units, chosen.window, sizes.outputs)
