"""Forecasts by `auto` and by single networks, beside simple methods and published figures.

M4 hourly: 414 series, the competition's own test part, horizon 48. ETTh1: 7 columns, 12, 4 and 4 months, every hour of
the last four months an origin, horizon 96, in deviations of the first 12 months, as published. Airline: the last 12.
Windows, transforms, penalties, epochs and networks are chosen on the steps before the test part (docs/forecast.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.common import DATA, cpu_seconds, scratch, versions
from layerwise.api import Run, run_training
from layerwise.console import Silent

_MONTH = 30 * 24
# Set, model, the figure and what is wanted of it, and what others reached.
_LINES = (
    ("m4-hourly", "auto", "mase", 1.05, "winner of M4 0.89, Theta 2.46, DeepAR 3.53"),
    ("m4-hourly", "lstm", "mase", 1.19, "M4's RNN benchmark 3.05"),
    ("m4-hourly", "gru", "mase", 1.19, ""),
    ("m4-hourly", "linear", "mase", 1.05, "DLinear 1.69"),
    ("ETTh1", "linear", "mse", 0.385, "NLinear 0.374, PatchTST 0.370"),
    ("ETTh1", "auto", "mse", 0.385, ""),
    ("airline", "auto", "mape", 4.0, "seasonal naive 9.99, with growth 2.95"),
    ("airline", "lstm-tutorial", "mape", None, "the course's network"),
)


def main(words: list[str]) -> None:
    """[SET] [MODEL]: all lines, or those of a set and a model."""
    print(versions(), "\n")
    print(f"{'set':<11}{'model':<15}{'figure':<7}{'value':>8}  {'wanted':<9}{'interval covers':<17}kept; CPU s; beside")
    for name, model, figure, wanted, others in _LINES:
        if words in ([], [name], [name, model]):
            _line(name, model, figure, wanted, others)


def _line(name: str, model: str, figure: str, wanted: float | None, others: str) -> None:
    data, recipe = _set(name)
    used = cpu_seconds()
    with scratch() as place:
        run: Run = run_training(data, {"task": "forecast", "model": model, **recipe}, None, place / "run", Silent())
        kept = run.model().card.model
    used = cpu_seconds() - used
    metrics = run.metrics["metrics"]
    rivals = ", ".join(f"{each['name']} {each['metrics'][figure]['value']:.3f}" for each in run.metrics["baselines"])
    bound = "" if wanted is None else f"<= {wanted:g}"
    reached, covered = metrics[figure]["value"], metrics["coverage"]["value"]
    print(
        f"{name:<11}{model:<15}{figure:<7}{reached:>8.3f}  {bound:<9}{covered:<17.3f}"
        f"{kept}; {used:.0f}; {rivals}{f'; {others}' if others else ''}\n           {run.metrics['verdict']}",
        flush=True,
    )


def _set(name: str) -> tuple[Path | pl.DataFrame, dict[str, Any]]:
    folder = DATA / "series"
    if name != "ETTh1":
        return folder / ("m4-hourly-train.csv" if name == "m4-hourly" else "airline.csv"), {}
    hours = pl.read_csv(folder / "ETTh1.csv").head(20 * _MONTH)
    columns = [column for column in hours.columns if column != "date"]
    first = hours.select(columns).head(12 * _MONTH).to_numpy()
    mean, deviation = first.mean(axis=0), first.std(axis=0)
    scaled = (hours.select(columns).to_numpy() - mean) / deviation
    table = hours.select("date").hstack(pl.DataFrame(np.ascontiguousarray(scaled), schema=columns, orient="row"))
    return table, {"horizon": 96, "split": {"valid": 4 * _MONTH, "test": 4 * _MONTH}}
