"""What an explanation of an answer is, for every task, and integrated gradients, which most of them are made of.

S steps of an integral, k classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pydantic
import torch
from torch import Tensor

from layerwise.config import Section
from layerwise.console import Show
from layerwise.errors import UsageError, nearest
from layerwise.report.words import cut, visible

INTEGRATED = "integrated gradients"
SUNDARARAJAN = "M. Sundararajan, A. Taly, Q. Yan, Axiomatic attribution for deep networks, ICML 2017"

_STEPS = (32, 128, 512)  # of the integral; more where fewer leave a gap
_GAP = 0.01  # of the score's change, that the parts may miss it by before more steps are taken
_ROWS = 32_768  # steps of sequences that go through a network at once
_LONGEST = 40  # characters of an input's name in the name of its picture


class ExplainRecipe(Section):
    """What can be chosen, on the command line by `--set`.

    Fields:
        label: explain the score of this class, called `class` outside; None is the predicted one.
        most: inputs that are explained; what comes after them is left out.
    """

    model_config = pydantic.ConfigDict(validate_by_name=True, validate_by_alias=True)

    label: str | None = pydantic.Field(None, alias="class")
    most: int = pydantic.Field(64, ge=1, le=10_000)


@dataclass(frozen=True)
class Explanation:
    """Why one input was answered as it was.

    Args:
        name: of the input, for people.
        problem: why it cannot be explained; the fields below are then empty.
        words: what weighs most, as half a sentence.
        picture: a PNG or an SVG.
        kind: of the picture.
        predicted: the class that the model gives, none of a forecast.
        probability: of that class.
        explained: the class whose score is explained.
        explained_probability: of that class.
        numbers: every weight; what they are, differs from task to task.
    """

    name: str
    problem: str | None = None
    words: str = ""
    picture: bytes = b""
    kind: Literal["png", "svg"] = "svg"
    predicted: str | None = None
    probability: float | None = None
    explained: str | None = None
    explained_probability: float | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Explained:
    """Why some inputs were answered as they were.

    Args:
        method: name.
        paper: that it comes from.
        about: what a weight means, and against what.
        items: one an input, in order.
        left_out: inputs that came after those.
    """

    method: str
    paper: str
    about: str
    items: tuple[Explanation, ...]
    left_out: int

    def pictures(self) -> dict[int, str]:
        """File names of the pictures, by the place of their input."""
        return {
            place: f"{place + 1:04d}-{_plain(each.name)}.{each.kind}"
            for place, each in enumerate(self.items)
            if each.problem is None
        }

    def record(self) -> dict[str, Any]:
        """`explanations.json`, without what the model is."""
        names = self.pictures()
        return {
            "method": self.method,
            "paper": self.paper,
            "about": self.about,
            "n": len(names),
            "left_out": self.left_out,
            "inputs": [_record(each, names.get(place)) for place, each in enumerate(self.items)],
        }

    def files(self) -> dict[str, bytes]:
        """The pictures, by the names of their files."""
        return {name: self.items[place].picture for place, name in self.pictures().items()}


def _record(item: Explanation, picture: str | None) -> dict[str, Any]:
    if item.problem is not None:
        return {"name": item.name, "problem": item.problem}
    known: dict[str, Any] = {"name": item.name}
    if item.predicted is not None:
        known |= {
            "predicted": item.predicted,
            "probability": item.probability,
            "class": item.explained,
            "class_probability": item.explained_probability,
        }
    return {**known, "words": item.words, "picture": picture, **item.numbers}


def _plain(name: str) -> str:
    """A name that every file system takes."""
    stem = Path(name).stem if "/" in name or "\\" in name else name.rpartition(".")[0] or name
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem)[:_LONGEST].strip("-") or "input"


def one_by_one(
    names: Sequence[str],
    problems: Sequence[str | None],
    most: int,
    explain: Callable[[int], Explanation],
    show: Show,
) -> tuple[Explanation, ...]:
    """Explanations of the first inputs, each by its number; of one that cannot be used, its problem.

    Args:
        names, problems: of all inputs.
        most: inputs that are explained.
        explain: the input of a number.
        show: where progress is shown.
    """
    items = [Explanation(name, problem) for name, problem in zip(names[:most], problems[:most], strict=True)]
    good = [row for row, item in enumerate(items) if item.problem is None]
    with show.bar("explaining", len(good)) as advance:
        for row in good:
            items[row] = explain(row)
            advance(1)
    return tuple(items)


def class_number(recipe: ExplainRecipe, classes: Sequence[str]) -> int | None:
    """The number of the class that was asked for; None for the predicted one.

    Raises:
        UsageError: the model knows no such class (the nearest is named), or no second one.
    """
    if len(classes) < 2:
        raise UsageError("The model knows a single class.", expected="two or more: nothing spoke for another answer")
    if recipe.label is None:
        return None
    if recipe.label not in classes:
        raise UsageError(f'The model knows no class "{recipe.label}".', fix=nearest(recipe.label, classes))
    return list(classes).index(recipe.label)


def log_odds(logits: Tensor, number: int) -> Tensor:
    """(S, k) logits, k at least 2 -> (S,) log of p / (1 - p) of one class.

    A logit alone would also hold what speaks for all classes, and of a network with one unit for two classes the first
    one's is always 0. What speaks for one of two classes speaks as much against the other.

    Example:
        >>> log_odds(torch.tensor([[1.0, 3.0]]), 1).item()
        2.0
    """
    others = [place for place in range(logits.shape[1]) if place != number]
    return logits[:, number] - logits[:, others].logsumexp(1)


@dataclass(frozen=True)
class Integral:
    """Parts of a score.

    Args:
        weights: shaped as the inputs; their sum is `score - base`, but for `delta`.
        score: of the inputs.
        base: of the baseline.
        delta: by how much the sum of the weights is too large.
        steps: of the integral.
    """

    weights: tuple[Tensor, ...]
    score: float
    base: float
    delta: float
    steps: int

    def record(self) -> dict[str, float | int]:
        """Its figures."""
        return {"score": self.score, "base_score": self.base, "delta": self.delta, "steps": self.steps}


def integrate(score: Callable[..., Tensor], inputs: Sequence[Tensor], baselines: Sequence[Tensor]) -> Integral:
    """Integrated gradients of one example, by Captum: the gradient's mean on the way from baseline to input, times it.

    The integral is a sum over 32 places of the way, and over more where the parts do not add up.

    Args:
        score: (S, …) inputs -> (S,); each row by itself.
        inputs: each (1, …), float.
        baselines: of the same shapes.

    Example:
        >>> found = integrate(lambda x: (x**2).sum(1), [torch.tensor([[1.0, 2.0]])], [torch.zeros(1, 2)])
        >>> [round(weight, 3) for weight in found.weights[0][0].tolist()], abs(found.delta) < 1e-5
        ([1.0, 4.0], True)
    """
    from captum.attr import IntegratedGradients  # half a second, which a run that explains nothing need not wait

    at_once = max(1, _ROWS // max(each[0].numel() // max(1, each.shape[-1]) for each in inputs))
    with torch.no_grad():
        high, low = float(score(*inputs)), float(score(*baselines))
    for steps in _STEPS:
        weights = IntegratedGradients(score).attribute(
            tuple(inputs), tuple(baselines), n_steps=steps, method="gausslegendre", internal_batch_size=at_once
        )
        found = tuple(each.detach().float() for each in weights)
        delta = sum(float(each.double().sum()) for each in found) - (high - low)
        if abs(delta) <= _GAP * max(abs(high - low), _GAP):
            break
    return Integral(found, high, low, delta, steps)


def signed(value: float) -> str:
    """A weight for people.

    Example:
        >>> signed(1.234), signed(-0.004)
        ('+1.23', '−0.00')
    """
    return f"{'−' if value < 0 else '+'}{abs(value):.2f}"


def heading(item: Explanation) -> str:
    """What was answered and what is explained, in a line.

    Example:
        >>> heading(Explanation("a.png", predicted="cat", probability=0.9, explained="cat", explained_probability=0.9))
        'cat 0.900'
    """
    if item.predicted is None or item.probability is None:
        return ""
    said = f"{_name(item.predicted)} {item.probability:.3f}"
    if item.explained == item.predicted or item.explained is None or item.explained_probability is None:
        return said
    return f"{said}; {_name(item.explained)} {item.explained_probability:.3f} is explained"


def _name(label: str) -> str:
    return cut(visible(label), _LONGEST)


def heaviest(sizes: Sequence[float]) -> tuple[int, int, float] | None:
    """Where most of the weight of a sequence lies: the tenth of its steps, side by side, that together weigh most.

    Args:
        sizes: (T,) sizes of the weights.

    Returns:
        The first and the last of those steps, from 0, and their share of all weight; None where nothing weighs.

    Example:
        >>> heaviest([0.0, 1.0, 3.0, 0.0])
        (2, 2, 0.75)
    """
    values = torch.tensor(sizes, dtype=torch.float64)
    total = float(values.sum())
    if not total > 0:
        return None
    width = max(1, len(sizes) // 10)
    sums = values.unfold(0, width, 1).sum(1)
    at = int(sums.argmax())
    return at, at + width - 1, float(sums[at]) / total
