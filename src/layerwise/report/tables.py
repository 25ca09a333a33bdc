"""The tables of the page: what the files say, counted and put in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.metrics import confusion, per_class
from layerwise.report.cells import Thumbnail, look
from layerwise.report.plots import series, stages
from layerwise.report.read import Epoch
from layerwise.report.words import cut

WIDEST = 30  # classes of a confusion table that can still be read
PAIRS, PAIRS_ALONE = 12, 40  # beside a table, and where there is none
WORST = 24
PROBLEMS = 500
REASONS = 12  # distinct ones that are still counted in a table
TEXT = 300  # characters of a text that are shown
# Best validation of a network, where it was logged: the lowest or the highest over its epochs.
BEST = (
    ("calibrated_loss", "Lowest validation loss", min),
    ("accuracy", "Highest validation accuracy", max),
    ("macro_f1", "Highest validation macro F1", max),
    ("mase", "Lowest validation MASE", min),
    ("pinball", "Lowest validation pinball loss", min),
    ("negative_elbo", "Lowest validation negative ELBO", min),
    ("distance", "Lowest validation distance", min),
)
LOSS = ("loss", "Lowest validation loss", min)  # where no calibrated one was logged
LAST = (("loss", "Validation loss"), ("accuracy", "Validation accuracy"))
Row = dict[str, Any]


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
    counted = bad["problem"].value_counts().sort(["count", "problem"], descending=[True, False])
    told = counted.to_dicts() if len(counted) <= REASONS and len(counted) < len(bad) else []
    return {"total": len(bad), "rows": bad.head(PROBLEMS).select("path", "problem").to_dicts(), "reasons": told}


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
                {
                    "count": int(count),
                    "share": count / max(1, totals[row]),
                    "right": row == column,
                    "predicted": judged.classes[column],
                }
                for column, count in enumerate(judged.counts[row])
            ],
        }
        for row, name in enumerate(judged.classes)
    ]


def confused_pairs(judged: Judged) -> list[Row]:
    """The most frequent mistakes, most frequent first."""
    wrong = judged.counts.copy()
    np.fill_diagonal(wrong, 0)
    most = PAIRS if len(judged.classes) <= WIDEST else PAIRS_ALONE
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
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


def stage_table(epochs: Sequence[Epoch], *, compete: bool = False) -> dict[str, Any]:
    """A row a stage of training: the validation of its last epoch, or the best of any where networks compete."""
    rows: list[Row] = []
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
                "figures": _best_figures(part) if compete else {key: series(part, "valid", key)[-1] for key, _ in LAST},
                "kept": any(epoch.best for epoch in part) and not any(epoch.best for epoch in epochs[last + 1 :]),
            }
        )
    titles = [(key, title) for key, title, _ in (*BEST, LOSS)] if compete else list(LAST)
    columns = [(key, title) for key, title in titles if not compete or any(key in row["figures"] for row in rows)]
    return {"columns": columns, "rows": rows}


def _best_figures(part: Sequence[Epoch]) -> dict[str, float]:
    found = {}
    for key, _, best in (*BEST, LOSS):
        if known := [value for value in series(part, "valid", key) if math.isfinite(value)]:
            found[key] = best(known)
    if "calibrated_loss" in found:
        del found["loss"]
    return found


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
    """The wrong answers that cost most, each with its text, picture or line where one can be had."""
    wrong = predictions.filter(pl.col("label") != pl.col("predicted"))
    names = ["id", "path", "label", "predicted", "probability", "loss", *["text"] * ("text" in predictions.columns)]
    rows = wrong.sort("loss", descending=True, nulls_last=True).head(WORST).select(names).to_dicts()
    return [{**row, "text": _text(row.get("text")), **look(row["id"], thumbnail)} for row in rows]


def _text(text: str | None) -> str | None:
    return None if text is None else cut(text.strip(), TEXT)
