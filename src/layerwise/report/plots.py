"""Curves of training as inline SVG that take their colours and font from the page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from layerwise.report.drawing import DASHED, DOTTED, SOFT, TRAIN, VALID, Plot, canvas, frame, to_svg
from layerwise.report.read import Epoch

LETTERS = 62  # of the small font across the axes
CURVES = (("loss", "Loss"), ("accuracy", "Accuracy"), ("mase", "MASE"), ("pinball", "Pinball loss"))
Stages = list[tuple[str, int, int]]


def curves(epochs: Sequence[Epoch], *, compete: bool = False, wanted: Sequence[tuple[str, str]] = CURVES) -> list[Plot]:
    """Loss, accuracy and errors by epoch, training and validation, stages marked off; what was not logged is left out.

    Args:
        epochs: in the order of training, from all stages.
        compete: each stage trains a network of its own, so no line leads from one to the next, and where none has two
            epochs there is nothing to draw.
        wanted: keys of the log and their titles.
    """
    if compete and all(first == last for _, first, last in stages(epochs)):
        return []
    return [
        _curve(epochs, name, title, compete)
        for name, title in wanted
        if any(math.isfinite(value) for value in series(epochs, "train", name) + series(epochs, "valid", name))
    ]


def series(epochs: Sequence[Epoch], part: str, name: str) -> list[float]:
    """One number an epoch; nan where there is none."""
    found = []
    for epoch in epochs:
        value = ((epoch.train if part == "train" else epoch.valid) or {}).get(name)
        found.append(math.nan if value is None else value)
    return found


def best_index(epochs: Sequence[Epoch]) -> int | None:
    """The epoch whose weights were kept: the last that was better than all before it."""
    return max((index for index, epoch in enumerate(epochs) if epoch.best), default=None)


def stages(epochs: Sequence[Epoch]) -> Stages:
    """Name, first and last epoch (0-based, over all stages) of each stage."""
    found, start = [], 0
    for (_, name), group in itertools.groupby(epochs, key=lambda epoch: (epoch.stage_index, epoch.stage)):
        size = len(list(group))
        found.append((name, start, start + size - 1))
        start += size
    return found


def _curve(epochs: Sequence[Epoch], name: str, title: str, compete: bool) -> Plot:
    train, valid = series(epochs, "train", name), series(epochs, "valid", name)
    parts, best = stages(epochs), best_index(epochs)
    lines = parts if compete else [("", 0, len(epochs) - 1)]
    with canvas(name) as (figure, axes):
        frame(axes, "epoch")
        axes.set_xlim(0.5, len(epochs) + 0.5)
        for _, first, last in lines:
            _draw(axes, first, train[first : last + 1], TRAIN, DASHED)
            _draw(axes, first, valid[first : last + 1], VALID, "-")
        if best is not None and math.isfinite(valid[best]):
            axes.plot(best + 1, valid[best], "o", markersize=8, markerfacecolor="none", color=VALID, clip_on=False)
        _mark_stages(axes, parts, len(epochs))
        return Plot(title, to_svg(figure), _words(title, train, valid, best, lines))


def _draw(
    axes: Axes, first: int, values: Sequence[float], colour: str, line: str | tuple[int, tuple[int, int]]
) -> None:
    finite = [value if math.isfinite(value) else math.nan for value in values]
    dot = "o" if len(values) <= 40 else ""
    across = range(first + 1, first + len(values) + 1)
    axes.plot(across, finite, linestyle=line, marker=dot, markersize=3, linewidth=1.6, color=colour)


def _mark_stages(axes: Axes, found: Stages, epochs: int) -> None:
    if len(found) < 2:
        return
    fits = all(len(name) + 2 <= LETTERS * (last - first + 1) / epochs for name, first, last in found)
    for number, (name, first, _) in enumerate(found, start=1):
        text = name if fits else str(number)
        axes.annotate(
            text, (first + 0.5, 1.02), xycoords=("data", "axes fraction"), xytext=(3, 0), textcoords="offset points",
            color=SOFT, fontsize=7.5, annotation_clip=False,
        )  # fmt: skip
        if first:
            axes.axvline(first + 0.5, color=SOFT, linewidth=0.8, linestyle=DOTTED)


def _words(title: str, train: Sequence[float], valid: Sequence[float], best: int | None, lines: Stages) -> str:
    told = []
    for name, first, last in lines:
        parts = [
            f"{part} from {ends[0]:.3f} to {ends[-1]:.3f}"
            for part, values in (("training", train), ("validation", valid))
            if (ends := [value for value in values[first : last + 1] if math.isfinite(value)])
        ]
        told.append(f"{name}: {', '.join(parts)}" if name else ", ".join(parts))
    kept = f"; the weights of epoch {best + 1} were kept" if best is not None else ""
    return f"{title} over {len(train)} epochs: {'; '.join(told)}{kept}."
