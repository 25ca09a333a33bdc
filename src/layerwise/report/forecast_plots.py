"""Drawings of forecasts: a series with its history, truth and interval; the error and the interval by step ahead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from numpy.typing import NDArray

from layerwise.report.drawing import DASHED, DOTTED, INK, SOFT, VALID, Plot, canvas, frame, to_svg
from layerwise.report.forecasts import Forecasts, History, by_step, chosen, measure_name, recent, window
from layerwise.report.words import cut, figure, percent, visible

LONGEST = 48  # characters of a stamp


@dataclass(frozen=True)
class Panel:
    """A series drawn: name, what was scored and over which time."""

    name: str
    score: float | None
    rank: int
    first: str
    last: str
    plot: Plot


def panels(found: Forecasts, history: History) -> list[Panel]:
    """Up to 12 series, evenly spread from the best to the worst."""
    rows = found.series.to_dicts()
    return [_panel(found, rows[place], place, history) for place in chosen(found)]


def step_plots(found: Forecasts, level: float) -> list[Plot]:
    """Error by step ahead, and where there are intervals the share of values inside; nothing for a single step.

    Args:
        found: the forecasts.
        level: the share that intervals are to hold.
    """
    rows = by_step(found)
    if len(rows) < 2:
        return []
    steps = [row["step"] for row in rows]
    name = measure_name(found)
    drawn = [_step_plot(f"{name} by step ahead", steps, [row["score"] for row in rows], None)]
    inside = [row["inside"] for row in rows]
    if any(share is not None for share in inside):
        drawn.append(_step_plot(f"Share inside the {100 * level:g} % interval", steps, inside, level))
    return drawn


def _panel(found: Forecasts, row: dict[str, Any], place: int, history: History) -> Panel:
    name, rows = row["series"], window(found, row["series"])
    past = history(name)
    first, last = (cut(rows["ds"][end] or "", LONGEST) for end in (0, -1))
    shown = recent(past, found.horizon)
    with canvas(f"series {place}") as (drawing, axes):
        frame(axes, f"steps from {visible(first)} on" if first else "steps")
        _draw_series(axes, shown, rows)
        plot = Plot(name, to_svg(drawing), _series_words(name, rows, len(shown)))
    return Panel(name, row["score"], place + 1, first, last, plot)


def _draw_series(axes: Axes, past: NDArray[np.float64], rows: pl.DataFrame) -> None:
    steps = rows["step"].to_numpy()
    low, high, truth, said = (rows[name].cast(pl.Float64).to_numpy() for name in ("low", "high", "y", "forecast"))
    dot = "o" if len(steps) == 1 else ""
    axes.fill_between(steps, low, high, color=VALID, alpha=0.22, linewidth=0)
    if len(steps) == 1:
        axes.plot([steps[0]] * 2, [low[0], high[0]], color=VALID, linewidth=5, alpha=0.22)
    across = np.concatenate([np.arange(1 - len(past), 1), steps])  # the last step of the history is 0
    axes.plot(across, np.concatenate([past, truth]), color=INK, linewidth=1.1, marker=dot, markersize=3)
    axes.plot(steps, said, color=VALID, linewidth=1.8, linestyle=DASHED, marker=dot, markersize=5)
    if len(past):
        axes.axvline(0.5, color=SOFT, linewidth=0.8, linestyle=DOTTED)
    axes.set_xlim(1 - len(past) - 0.5, steps[-1] + 0.5)
    axes.ticklabel_format(axis="y", useOffset=False)


def _step_plot(title: str, steps: Sequence[int], values: Sequence[float | None], aim: float | None) -> Plot:
    known = [math.nan if value is None else value for value in values]
    with canvas(title) as (drawing, axes):
        frame(axes, "steps ahead")
        if aim is not None:
            axes.axhline(aim, color=SOFT, linewidth=0.9, linestyle=DOTTED)
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.plot(steps, known, color=VALID, linewidth=1.8, marker="o" if len(steps) <= 40 else "", markersize=3)
        top = max(value for value in [*known, aim or 0.0] if math.isfinite(value))
        axes.set_ylim(0, 1.04 if aim else (1.06 * top or 1.0))
        axes.set_xlim(steps[0] - 0.5, steps[-1] + 0.5)
        svg = to_svg(drawing)
    write = percent if aim else figure
    ends = [(step, value) for step, value in zip(steps, known, strict=True) if math.isfinite(value)]
    told = "; ".join(f"{write(value)} at step {step}" for step, value in _some(ends)) or "no value"
    return Plot(title, svg, f"{title}: {told}.")


def _some(ends: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The first, the middle and the last of a list."""
    return [ends[place] for place in sorted({0, len(ends) // 2, len(ends) - 1})] if ends else []


def _series_words(name: str, rows: pl.DataFrame, past: int) -> str:
    inside = rows["inside"].drop_nulls()
    held = f" {inside.sum()} of {len(inside)} values lie inside the interval." if len(inside) else ""
    return (
        f"{visible(name)}: {past} steps of history, then {len(rows)} of forecast. "
        f"Truth {_range(rows['y'])}, forecast {_range(rows['forecast'])}.{held}"
    )


def _range(values: pl.Series) -> str:
    known = values.drop_nulls().drop_nans().to_list()
    return f"from {figure(min(known))} to {figure(max(known))}" if known else "not known"
