"""Curves as inline SVG that take their colours and font from the page, so that they read in light, dark and print."""

from __future__ import annotations

import io
import itertools
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layerwise.report.read import Epoch

# Colours are drawn as these and replaced in the SVG by what the page's style defines.
TRAIN, VALID, INK, FAINT = "#010203", "#020304", "#030405", "#040506"
STYLE = {TRAIN: "var(--train)", VALID: "var(--valid)", INK: "var(--soft)", FAINT: "var(--line)"}
WIDTH, HEIGHT = 4.4, 2.7  # inches
LETTERS = 62  # of the small font across the axes


@dataclass(frozen=True)
class Plot:
    """A drawing with its title and what it shows in words."""

    title: str
    svg: Markup
    words: str


def curves(epochs: Sequence[Epoch]) -> list[Plot]:
    """Loss and accuracy by epoch, training and validation, stages marked off; what was not logged is left out.

    Args:
        epochs: in the order of training, from all stages.
    """
    return [
        _curve(epochs, name, title)
        for name, title in (("loss", "Loss"), ("accuracy", "Accuracy"))
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


def stages(epochs: Sequence[Epoch]) -> list[tuple[str, int, int]]:
    """Name, first and last epoch (0-based, over all stages) of each stage."""
    found, start = [], 0
    for (_, name), group in itertools.groupby(epochs, key=lambda epoch: (epoch.stage_index, epoch.stage)):
        size = len(list(group))
        found.append((name, start, start + size - 1))
        start += size
    return found


def _curve(epochs: Sequence[Epoch], name: str, title: str) -> Plot:
    train, valid = series(epochs, "train", name), series(epochs, "valid", name)
    with (
        matplotlib.rc_context(
            {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False, "font.size": 8.5}
        ),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the browser has more letters
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.subplots()
        _frame(axes, len(epochs))
        _draw(axes, train, TRAIN, (0, (4, 2)))
        _draw(axes, valid, VALID, "-")
        best = best_index(epochs)
        if best is not None and math.isfinite(valid[best]):
            axes.plot(best + 1, valid[best], "o", markersize=8, markerfacecolor="none", color=VALID, clip_on=False)
        _mark_stages(axes, stages(epochs), len(epochs))
        return Plot(title, _svg(figure), _words(title, train, valid, best))


def _frame(axes: Axes, epochs: int) -> None:
    axes.set_xlabel("epoch", color=INK)
    axes.set_xlim(0.5, epochs + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.tick_params(colors=INK, length=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)


def _draw(axes: Axes, values: Sequence[float], colour: str, line: str | tuple[int, tuple[int, int]]) -> None:
    finite = [value if math.isfinite(value) else math.nan for value in values]
    dot = "o" if len(values) <= 40 else ""
    axes.plot(range(1, len(values) + 1), finite, linestyle=line, marker=dot, markersize=3, linewidth=1.6, color=colour)


def _mark_stages(axes: Axes, found: Sequence[tuple[str, int, int]], epochs: int) -> None:
    if len(found) < 2:
        return
    fits = all(len(name) + 2 <= LETTERS * (last - first + 1) / epochs for name, first, last in found)
    for number, (name, first, _) in enumerate(found, start=1):
        text = name if fits else str(number)
        axes.annotate(
            text, (first + 0.5, 1.02), xycoords=("data", "axes fraction"), xytext=(3, 0), textcoords="offset points",
            color=INK, fontsize=7.5, annotation_clip=False,
        )  # fmt: skip
        if first:
            axes.axvline(first + 0.5, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))


def _svg(figure: Figure) -> Markup:
    """The drawing without what would reach out of it: ids, addresses, style rules, a fixed size."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<g id=\"patch_1\">.*?</g>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"', "", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text)
    text = re.sub(r"<g id=\"[^\"]*\"", "<g", text)
    for colour, variable in STYLE.items():
        text = text.replace(colour, variable)
    return Markup(text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1))


def _words(title: str, train: Sequence[float], valid: Sequence[float], best: int | None) -> str:
    parts = [
        f"{name} from {ends[0]:.3f} to {ends[-1]:.3f}"
        for name, values in (("training", train), ("validation", valid))
        if (ends := [value for value in values if math.isfinite(value)])
    ]
    kept = f"; the weights of epoch {best + 1} were kept" if best is not None else ""
    return f"{title} over {len(train)} epochs: {', '.join(parts)}{kept}."
