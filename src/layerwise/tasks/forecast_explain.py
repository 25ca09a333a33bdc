"""Why a forecast is as high as it is: what each step of the window adds to the mean of all steps ahead.

L steps of the window, H steps ahead, S steps of an integral.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layerwise.console import Show
from layerwise.data.panel import Panel
from layerwise.data.windows import Values
from layerwise.errors import UsageError
from layerwise.models.forecast_levels import LEVELS
from layerwise.models.forecast_linear import ForecastLinear
from layerwise.report.explained import trace_svg
from layerwise.report.words import cut, figure
from layerwise.tasks.explanation import (
    INTEGRATED,
    SUNDARARAJAN,
    Explained,
    ExplainRecipe,
    Explanation,
    heaviest,
    integrate,
)
from layerwise.tasks.forecast_batches import WindowBatches
from layerwise.tasks.forecast_model import ForecastModel

EXACT = "coefficients times values"
_ZENG = "A. Zeng, M. Chen, L. Zhang, Q. Xu, Are transformers effective for time series forecasting?, AAAI 2023"
_AGAINST = {"season": "its last value", "last-deviation": "its last value", "mean": "its mean"}


def explain(model: ForecastModel, inputs: Any, recipe: ExplainRecipe, show: Show) -> Explained:
    """Explain how series are continued past their ends.

    Args:
        model: a trained forecaster.
        inputs: as `ForecastModel.predict` takes them.
        recipe: how many series.
        show: where progress is shown.

    Raises:
        UsageError: a class was asked for.
        DataError: there are no series, or their steps are of another length than those the model learnt.
    """
    if recipe.label is not None:
        raise UsageError(f'The class "{recipe.label}" was asked for, and a forecast has none.', fix="Leave it out.")
    panels = model.panels(inputs, show)
    listed = [(panel, name) for panel in panels for name in dict.fromkeys((*panel.ids, *model.problems(panel)))]
    some = listed[: recipe.most]
    with show.bar("explaining", len(some)) as advance:
        items = []
        for panel, name in some:
            items.append(_of_panel(model, panel, name))
            advance(1)
    return Explained(*_method(model), tuple(items), len(listed) - len(some))


def explain_examples(model: ForecastModel, examples: Mapping[int, Any]) -> Explained:
    """Explanations of forecasts behind histories (T,) in the unit of the data, named by their numbers, for a report."""
    items = [_of_history(model, str(row), np.asarray(values), _before) for row, values in examples.items()]
    return Explained(*_method(model), tuple(items), 0)


def _method(model: ForecastModel) -> tuple[str, str, str]:
    """Name, paper, and what a weight means."""
    exact = isinstance(model.task.network, ForecastLinear)
    method, paper = (EXACT, _ZENG) if exact else (INTEGRATED, SUNDARARAJAN)
    about = (
        f"A weight is what the value of a step adds to the mean of the {model.look.horizon:,} steps ahead, against a "
        f"window that stays at {_AGAINST[model.look.scaling]}"
        f"{', in logarithms' if model.look.transform == 'log' else ''}; below 0 it lowers the forecast."
    )
    return method, paper, about


def _before(step: int) -> str:
    """A step counted back from the first one ahead, where there are no stamps."""
    return f"−{-step}"


def _of_panel(model: ForecastModel, panel: Panel, name: str) -> Explanation:
    reason = model.problems(panel).get(name)
    if reason is not None:
        return Explanation(name, reason)
    at = panel.ids.index(name)
    values = panel.values[at]
    return _of_history(model, name, values, lambda step: panel.stamp(at, len(values) + step))


def _of_history(model: ForecastModel, name: str, values: Values, stamp: Callable[[int], str]) -> Explanation:
    """Of the forecast behind a history (T,); a step's stamp is asked for counted back, -1 for the last one."""
    look = model.look
    windows = look.windows([values])
    index = windows.ends()
    batches = WindowBatches(windows, look, {"test": index}, 1, 0, model.device.place)
    batch = batches.batch(index)
    found = integrate(
        lambda x: _middle(model.task.network(x)).mean(1), [batch.inputs], [torch.zeros_like(batch.inputs)]
    )
    shift, factor = float(batch.shift[0, 0]), float(batch.factor[0, 0])
    weights = _of_known(found.weights[0][0].double().cpu().numpy() * factor, windows.inputs(index)[0])  # (L',)
    plain = look.model_copy(update={"transform": "none"}).windows([values])
    shown = plain.inputs(index)[0][-len(weights) :]
    answers = model.task.predict([batch])
    ahead = look.original(answers.middle * answers.factor + answers.shift)[0]  # (H,)
    stamps = [stamp(step) for step in range(-len(weights), 0)]
    return Explanation(
        name,
        words=_in_words(weights, stamps, ahead),
        picture=trace_svg(shown[:, None], weights[:, None], f"{cut(name, 40)}", ahead=ahead),
        numbers={
            "forecast": ahead.tolist(),
            "weights": [
                {"ds": when, "value": value, "weight": weight}
                for when, value, weight in zip(stamps, shown.tolist(), weights.tolist(), strict=True)
            ],
            "score": found.score * factor + shift,
            "base_score": found.base * factor + shift,
            "delta": found.delta * factor,
            "steps": found.steps,
        },
    )


def _of_known(weights: Values, inputs: Values) -> Values:
    """Weights (L,) of the steps that are known; the first has those of the steps before it, which repeat its value."""
    first = int(np.isnan(inputs).argmin())
    known = weights[first:].copy()
    known[0] += weights[:first].sum()
    return known


def _middle(answer: Tensor) -> Tensor:
    """What is forecast, (S, H), of a network's answer: (S, H), (S, H, 1) or quantiles (S, H, 9) in any order."""
    answer = answer.float()
    if answer.ndim == 2:
        return answer
    return answer[..., 0] if answer.shape[-1] == 1 else answer.sort(dim=-1).values[..., LEVELS.index(0.5)]


def _in_words(weights: Values, stamps: Sequence[str], ahead: Values) -> str:
    said = (
        f"the next {len(ahead):,} are {figure(float(ahead.mean()))} on average"
        if len(ahead) > 1
        else (f"the next is {figure(float(ahead[0]))}")
    )
    found = heaviest(np.abs(weights).tolist())
    if found is None:
        return f"{said}; no step weighs anything"
    first, last, share = found
    where = f"step {stamps[first]} holds" if first == last else f"steps {stamps[first]} to {stamps[last]} hold"
    return f"{said}; {where} {100 * share:.0f} % of the weight"
