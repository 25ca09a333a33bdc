"""The figures at the head of the page: the model's beside those of simpler answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from layerwise.report.read import Baseline, Figure, Metrics

# What a score is called, and how to read it.
NAMES = {
    "accuracy": ("Accuracy", "share of right answers; higher is better"),
    "macro_f1": ("Macro F1", "mean over classes, rare ones weigh as much; higher is better"),
    "log_loss": ("Log loss", "nats; being surely wrong costs most; lower is better"),
    "mase": ("MASE", "error, where 1 is that of repeating the last season within the history; lower is better"),
    "smape": ("sMAPE", "error in % of the size of truth and forecast, 0 to 200; lower is better"),
    "rmse": ("RMSE", "in the unit of the data, large misses weigh most; lower is better"),
    "pinball": ("Pinball loss", "how well forecast and interval fit the truth; lower is better"),
    "coverage": ("In\u00a0interval", "share of values inside the interval, which is to hold {level:g} % of them"),
    "mape": ("MAPE", "error in % of the truth; lower is better"),
    "mae": ("MAE", "in the unit of the data; lower is better"),
    "mse": ("MSE", "in the unit of the data, squared; lower is better"),
}
LATER = ("mape", "mae", "mse")  # in a table of their own, where there is a score that compares series
Row = dict[str, Any]


def name_of(key: str) -> str:
    """What a score is called."""
    return NAMES[key][0] if key in NAMES else key.replace("_", " ").capitalize()


def headline(metrics: Metrics, level: float) -> list[Row]:
    """A row a metric: the model's figure and the baseline's, and where both lie on a bar from 0 to 100 %."""
    rows = []
    for key, mine in metrics.metrics.items():
        theirs = metrics.baseline.metrics.get(key) if metrics.baseline else None
        rows.append({**_named(key, level), "mine": mine, "theirs": theirs, "bar": _bar(mine, theirs)})
    return rows


def comparison(metrics: Metrics, level: float) -> list[Row]:
    """Tables with a row an answer, a column a metric: the model, then each baseline, that of the verdict first.

    None at all where there are not several baselines: `headline` says more of one. The first table has the metrics to
    go by.

    Args:
        metrics: `metrics.json`.
        level: the share of values that the intervals of forecasts are to hold.
    """
    rivals = _rivals(metrics)
    if len(rivals) < 2:
        return []
    later = [key for key in LATER if key in metrics.metrics and "mase" in metrics.metrics]
    usual = list(NAMES)
    first = [key for key in metrics.metrics if key not in later]
    first.sort(key=lambda key: (key != metrics.measure, usual.index(key) if key in usual else len(usual)))
    return [_table(metrics, rivals, keys, level) for keys in (first, later) if keys]


def _table(metrics: Metrics, rivals: Sequence[Baseline], keys: Sequence[str], level: float) -> Row:
    answers = [("This model", metrics.metrics), *[(rival.name, rival.metrics) for rival in rivals]]
    placed = bars([figures.get(keys[0]) for _, figures in answers])
    rows = [
        {
            "name": name,
            "mine": not place,
            "rival": place == 1,
            "figures": [figures.get(key) for key in keys],
            "bar": bar,
        }
        for place, ((name, figures), bar) in enumerate(zip(answers, placed, strict=True))
    ]
    return {
        "columns": [_named(key, level) for key in keys],
        "rows": rows,
        "judge": rivals[0].name if metrics.baseline else "",
    }


_WAYS = {"weights": "weights in the loss", "sampling": "drawing each class as often in an epoch"}


def balanced(metrics: Metrics) -> str:
    """How classes were balanced, and what was tried for it; empty where they were not."""
    found = metrics.balance
    if found is None:
        return ""
    told = ", ".join(
        f"{_WAYS.get(each.way, each.way)} {'diverged' if each.macro_f1 is None else f'{each.macro_f1:.3f}'}"
        for each in found.tried
    )
    after = f" In a short trial of each, macro F1 in validation was: {told}." if told else ""
    return f"Rare classes count for more, by {_WAYS.get(str(found.chosen), str(found.chosen))}.{after}"


def has_intervals(metrics: Metrics) -> bool:
    """Whether any of the model's figures has an interval."""
    return any(figure.low is not None and figure.high is not None for figure in metrics.metrics.values())


def _named(key: str, level: float) -> Row:
    return {"name": name_of(key), "hint": NAMES[key][1].format(level=100 * level) if key in NAMES else ""}


def _rivals(metrics: Metrics) -> list[Baseline]:
    first = [metrics.baseline] if metrics.baseline else []
    names = {baseline.name for baseline in first}
    return first + [baseline for baseline in metrics.baselines if baseline.name not in names]


def _bar(mine: Figure, theirs: Figure | None) -> dict[str, float] | None:
    top = _top([mine] if theirs is None else [mine, theirs])
    if top is None:
        return None
    return _placed(mine, top) | ({"baseline": theirs.value * top} if theirs else {})


def bars(figures: Sequence[Figure | None]) -> list[dict[str, float] | None]:
    """Figures of several answers on one scale."""
    top = _top([figure for figure in figures if figure is not None])
    return [None if figure is None or top is None else _placed(figure, top) for figure in figures]


def _placed(figure: Figure, top: float) -> dict[str, float]:
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    return {"value": figure.value * top, "low": low * top, "width": max(0.0, high - low) * top}


def _top(figures: Sequence[Figure]) -> float | None:
    """Per cent of the bar that 1 is; None for what no bar can show."""
    ends = [end for figure in figures for end in (figure.value, figure.low, figure.high) if end is not None]
    if not ends or min(ends) < 0 or not all(map(math.isfinite, ends)):
        return None
    return 100.0 if max(ends) <= 1 else 95 / max(ends)
