"""The tables of the page: what the files say, counted and put in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.metrics import confusion, per_class
from layerwise.report.pictures import Picture, picture
from layerwise.report.plots import series, stages
from layerwise.report.read import Epoch, Figure, Metrics

WIDEST = 30  # classes of a confusion table that can still be read
PAIRS = 12
WORST = 24
PROBLEMS = 500
NAMES = {
    "accuracy": ("Accuracy", "share of right answers; higher is better"),
    "macro_f1": ("Macro F1", "mean over classes, rare ones weigh as much; higher is better"),
    "log_loss": ("Log loss", "nats; being surely wrong costs most; lower is better"),
}
Row = dict[str, Any]
Thumbnail = Callable[[int], NDArray[Any] | None]


@dataclass(frozen=True)
class Judged:
    """The predictions that have a label, as indices into the classes."""

    classes: list[str]
    counts: NDArray[np.int64]  # (classes, classes), rows are the truth


def judge(predictions: pl.DataFrame) -> Judged | None:
    """The confusion table of the predictions; None where nothing has a label."""
    known = predictions.filter(pl.col("label").is_not_null() & pl.col("predicted").is_not_null())
    if not len(known):
        return None
    classes = [name.removeprefix("p:") for name in predictions.columns if name.startswith("p:")]
    others = {*known["label"].to_list(), *known["predicted"].to_list()}
    classes += sorted(others - set(classes))
    number = {name: index for index, name in enumerate(classes)}
    predicted, targets = (np.array([number[name] for name in known[side]]) for side in ("predicted", "label"))
    return Judged(classes, confusion(predicted, targets, len(classes)))


def headline(metrics: Metrics) -> list[Row]:
    """A row a metric: the model's figure and the baseline's, and where both lie on a bar from 0 to 100 %."""
    rows = []
    for key, mine in metrics.metrics.items():
        name, hint = NAMES.get(key, (key.replace("_", " ").capitalize(), ""))
        theirs = metrics.baseline.metrics.get(key) if metrics.baseline else None
        bar = _bar(mine, theirs)
        rows.append({"name": name, "hint": hint, "mine": mine, "theirs": theirs, "bar": bar})
    return rows


def _bar(mine: Figure, theirs: Figure | None) -> dict[str, float] | None:
    figures = [mine] if theirs is None else [mine, theirs]
    ends = [end for figure in figures for end in (figure.value, figure.low, figure.high) if end is not None]
    if min(ends) < 0 or not all(map(math.isfinite, ends)):
        return None
    top = 100.0 if max(ends) <= 1 else 95 / max(ends)
    low = mine.value if mine.low is None else mine.low
    high = mine.value if mine.high is None else mine.high
    bar = {"value": mine.value * top, "low": low * top, "width": max(0.0, high - low) * top}
    return bar | ({"baseline": theirs.value * top} if theirs else {})


def data_counts(examples: pl.DataFrame) -> dict[str, Any]:
    """How many examples each class has in each part; what no part has is set aside."""
    part = pl.when(pl.col("problem").is_not_null()).then(pl.lit("set aside")).otherwise(pl.col("split"))
    table = examples.with_columns(part.fill_null("set aside").alias("part"))
    found = table["part"].unique().to_list()
    usual = ["train", "valid", "test"]
    parts = [p for p in usual if p in found] + sorted(p for p in found if p not in [*usual, "set aside"])
    parts += ["set aside"] * ("set aside" in found)
    counted = {(label, p): n for label, p, n in table.group_by("label", "part").len().iter_rows()}
    labels = sorted({label for label, _ in counted}, key=lambda label: (label is None, label))
    rows: list[Row] = [
        {"name": "(no label)" if label is None else label, "counts": [counted.get((label, p), 0) for p in parts]}
        for label in labels
    ]
    totals = [sum(row["counts"][column] for row in rows) for column in range(len(parts))]
    classes = sum(label is not None for label in labels)
    return {"parts": parts, "classes": classes, "rows": rows, "totals": totals, "total": len(examples)}


def problems(examples: pl.DataFrame) -> dict[str, Any]:
    """The examples that could not be used, with the reason; the list is cut off where it is very long."""
    bad = examples.filter(pl.col("problem").is_not_null()).sort("path")
    return {"total": len(bad), "rows": bad.head(PROBLEMS).select("path", "problem").to_dicts()}


def confusion_rows(judged: Judged) -> list[Row] | None:
    """A row a class, each cell with its count and its share of the row; None where there are too many classes."""
    if len(judged.classes) > WIDEST:
        return None
    totals = judged.counts.sum(axis=1)
    return [
        {
            "name": name,
            "total": int(totals[row]),
            "cells": [
                {"count": int(count), "share": count / max(1, totals[row]), "right": row == column}
                for column, count in enumerate(judged.counts[row])
            ],
        }
        for row, name in enumerate(judged.classes)
    ]


def confused_pairs(judged: Judged) -> list[Row]:
    """The most frequent mistakes, most frequent first."""
    wrong = judged.counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    totals = judged.counts.sum(axis=1)
    return [
        {
            "label": judged.classes[row],
            "predicted": judged.classes[column],
            "count": int(wrong[row, column]),
            "share": wrong[row, column] / totals[row],
        }
        for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[row, column]
    ]


def class_rows(judged: Judged) -> list[Row]:
    """Precision, recall, F1 and support of each class that occurs."""
    scores = per_class(judged.counts)
    called = judged.counts.sum(axis=0)
    return [
        {"name": name, **score, "called": int(called[index])}
        for index, (name, score) in enumerate(zip(judged.classes, scores, strict=True))
        if score["support"] or called[index]
    ]


def stage_rows(epochs: Sequence[Epoch]) -> list[Row]:
    """A row a stage of training."""
    rows = []
    for number, (name, first, last) in enumerate(stages(epochs), start=1):
        part = epochs[first : last + 1]
        rates = [epoch.learning_rate for epoch in part if epoch.learning_rate is not None]
        rows.append(
            {
                "name": name or f"stage {number}",
                "epochs": len(part),
                "first": first + 1,
                "last": last + 1,
                "rates": (rates[0], rates[-1]) if rates else None,
                "seconds": sum(epoch.took() for epoch in part),
                "loss": series(part, "valid", "loss")[-1],
                "accuracy": series(part, "valid", "accuracy")[-1],
                "kept": any(epoch.best for epoch in part) and not any(epoch.best for epoch in epochs[last + 1 :]),
            }
        )
    return rows


def epoch_rows(epochs: Sequence[Epoch]) -> dict[str, Any]:
    """Every logged number, an epoch a row."""
    columns = [
        (part, name)
        for part in ("train", "valid")
        for name in dict.fromkeys(name for epoch in epochs for name in (getattr(epoch, part) or {}))
    ]
    values = [series(epochs, part, name) for part, name in columns]
    rows = [
        {"stage": epoch.stage, "rate": epoch.learning_rate, "best": epoch.best, "values": list(row)}
        for epoch, row in zip(epochs, zip(*values, strict=True) if values else [()] * len(epochs), strict=True)
    ]
    return {"columns": columns, "rows": rows}


def worst(predictions: pl.DataFrame, thumbnail: Thumbnail | None) -> list[Row]:
    """The wrong answers that cost most, each with its picture where one can be had."""
    wrong = predictions.filter(pl.col("label") != pl.col("predicted"))
    rows = wrong.sort("loss", descending=True, nulls_last=True).head(WORST).select(
        "id", "path", "label", "predicted", "probability", "loss"
    )  # fmt: skip
    return [{**row, "picture": _picture(row["id"], thumbnail)} for row in rows.to_dicts()]


def _picture(number: int | None, thumbnail: Thumbnail | None) -> dict[str, Any] | None:
    pixels = thumbnail(number) if thumbnail is not None and number is not None else None
    found: Picture | None = picture(pixels) if pixels is not None else None
    return asdict(found) if found else None
