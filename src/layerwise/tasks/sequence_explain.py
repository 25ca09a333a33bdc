"""Why a sequence got its class: what each step of each channel adds to the class's log odds. T steps, C channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layerwise.console import Show
from layerwise.data.ragged import Ragged, SequenceBatches
from layerwise.data.sequence_scale import averaged
from layerwise.report.explained import trace_svg
from layerwise.tasks.cards import calibrator_of
from layerwise.tasks.explanation import (
    INTEGRATED,
    SUNDARARAJAN,
    Explained,
    ExplainRecipe,
    Explanation,
    class_number,
    heading,
    heaviest,
    integrate,
    log_odds,
    one_by_one,
)
from layerwise.tasks.sequence_model import SequenceModel

_AGAINST = {
    "train": "a series that stays at the training mean of each channel",
    "series": "a series that stays at its own mean in each channel",
    "none": "a series of zeros",
}


def explain(model: SequenceModel, inputs: Any, recipe: ExplainRecipe, show: Show) -> Explained:
    """Explain sequences.

    Args:
        model: a trained classifier.
        inputs: as `SequenceModel.predict` takes them.
        recipe: which class, and how many sequences.
        show: where progress is shown.

    Raises:
        UsageError: the class is unknown. DataError: there is no sequence.
    """
    source = model.find(inputs)
    names, problems = source.table["path"].to_list(), source.table["problem"].to_list()
    items = one_by_one(
        names,
        problems,
        recipe.most,
        lambda row: _of_series(model, [names[row]], [source.sequences[row]], recipe)[0],
        show,
    )
    return Explained(INTEGRATED, SUNDARARAJAN, _about(model), items, len(names) - len(items))


def explain_examples(model: SequenceModel, examples: Mapping[int, Any]) -> Explained:
    """Explanations of sequences (T, C), not scaled, named by their numbers, for a report."""
    items = _of_series(model, [str(row) for row in examples], list(examples.values()), ExplainRecipe())
    return Explained(INTEGRATED, SUNDARARAJAN, _about(model), tuple(items), 0)


def _about(model: SequenceModel) -> str:
    return (
        "A weight is what the value of a step and channel adds to the log odds of the class, against "
        f"{_AGAINST[model.preprocess.scale]}; below 0 it speaks against the class."
    )


def _of_series(
    model: SequenceModel, names: Sequence[str], series: Sequence[np.ndarray], recipe: ExplainRecipe
) -> list[Explanation]:
    wanted = class_number(recipe, model.card.classes)
    raw = Ragged.of([np.asarray(each, dtype=np.float64) for each in series])
    scaled, shown = model.preprocess(raw), averaged(raw, model.preprocess.every)
    rows = np.arange(len(series))
    batches = SequenceBatches(scaled, np.full(len(series), -1), {"test": rows}, 1, 0, model.device.place)
    probabilities = calibrator_of(model.card)(model.task.predict(batches.part("test"))[0])
    return [
        _of_one(model, name, (scaled[row], shown[row]), len(raw[row]), probabilities[row], wanted)
        for row, name in enumerate(names)
    ]


def _of_one(
    model: SequenceModel,
    name: str,
    values: tuple[np.ndarray, np.ndarray],
    steps: int,
    probabilities: np.ndarray,
    wanted: int | None,
) -> Explanation:
    """Of scaled values and those for people, both (T, C), of a series of so many steps."""
    scaled, shown = values
    best = int(probabilities.argmax())
    number = best if wanted is None else wanted
    network, temperature = model.task.network, model.card.temperature
    inputs = torch.from_numpy(scaled).float()[None].to(model.device.place)  # (1, T, C)

    def score(x: Tensor) -> Tensor:
        lengths = torch.full((len(x),), x.shape[1], device=x.device)
        return log_odds(network(x, lengths).float() / temperature, number)

    found = integrate(score, [inputs], [torch.zeros_like(inputs)])
    weights = found.weights[0][0].double().cpu().numpy()  # (T, C)
    classes, every = model.card.classes, model.preprocess.every
    item = Explanation(
        name,
        words=_in_words(weights, every, steps),
        predicted=classes[best],
        probability=float(probabilities[best]),
        explained=classes[number],
        explained_probability=float(probabilities[number]),
        numbers={"every": every, "weights": weights.tolist(), **found.record()},
    )
    return replace(item, picture=trace_svg(shown, weights, heading(item), every=every))


def _in_words(weights: np.ndarray, every: int, steps: int) -> str:
    sizes = np.abs(weights)
    found = heaviest(sizes.sum(1).tolist())
    if found is None:
        return "no step weighs anything"
    begin, end = 1 + every * found[0], min(steps, every * (found[1] + 1))
    where = f"step {begin:,} of {steps:,} holds" if begin == end else f"steps {begin:,} to {end:,} of {steps:,} hold"
    said = f"{where} {100 * found[2]:.0f} % of the weight"
    if weights.shape[1] == 1:
        return said
    by_channel = sizes.sum(0) / sizes.sum()
    return f"{said}; channel {by_channel.argmax() + 1} most, {100 * by_channel.max():.0f} %"
