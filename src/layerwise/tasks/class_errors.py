"""What a classifier got wrong, as files of the run folder: tables for a spreadsheet, and a sheet of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.report.contact import Entry, contact_png
from layerwise.store.atomic import csv_bytes

SHEET = 24  # pictures on a sheet
Thumbnail = Callable[[int], NDArray[np.uint8] | None]


def error_files(predictions: pl.DataFrame, thumbnail: Thumbnail) -> dict[str, bytes]:
    """`errors.csv`, `confused.csv` and, of images, `errors.png`; nothing where there are no answers with labels.

    Args:
        predictions: of the reported part.
        thumbnail: pixels (H, W, C) of an example by its id, or what is no picture.

    Example:
        >>> table = pl.DataFrame({"id": [4, 5], "path": ["a", "b"], "label": ["x", "y"], "predicted": ["y", "y"],
        ...     "probability": [0.9, 0.8], "loss": [2.3, 0.2]})
        >>> sorted(error_files(table, lambda row: None))
        ['confused.csv', 'errors.csv']
    """
    if not {"label", "predicted", "loss"} <= set(predictions.columns):
        return {}
    wrong = errors(predictions)
    files = {"errors.csv": csv_bytes(wrong), "confused.csv": csv_bytes(confused(predictions))}
    entries = [
        (row["id"], f"{row['label']}", f"said {row['predicted']} {row['probability']:.2f}")
        for row in wrong.head(SHEET).iter_rows(named=True)
    ]
    return files | sheet("errors.png", entries, thumbnail)


def errors(predictions: pl.DataFrame) -> pl.DataFrame:
    """The wrong answers, the costliest first: id, path, text if there is one, label, predicted, probability, loss."""
    wrong = predictions.filter(pl.col("label") != pl.col("predicted"))
    names = ["id", "path", *["text"] * ("text" in wrong.columns), "label", "predicted", "probability", "loss"]
    return wrong.select(names).sort("loss", descending=True, nulls_last=True, maintain_order=True)


def confused(predictions: pl.DataFrame) -> pl.DataFrame:
    """How often each class was taken for another: label, predicted, count, share of the class; the most frequent first.

    Example:
        >>> confused(pl.DataFrame({"label": ["x", "x", "y"], "predicted": ["y", "x", "y"]})).row(0)
        ('x', 'y', 1, 0.5)
    """
    known = predictions.filter(pl.col("label").is_not_null() & pl.col("predicted").is_not_null())
    sizes = known.group_by("label").agg(size=pl.len())
    pairs = known.filter(pl.col("label") != pl.col("predicted")).group_by("label", "predicted").agg(count=pl.len())
    shared = pairs.join(sizes, on="label").with_columns(share=pl.col("count") / pl.col("size"))
    ordered = shared.sort(["count", "label", "predicted"], descending=[True, False, False])
    return ordered.select("label", "predicted", "count", "share")


def sheet(name: str, rows: Sequence[tuple[int, str, str]], thumbnail: Thumbnail) -> dict[str, bytes]:
    """A sheet of the pictures of these examples, each with two lines below; nothing where none is a picture."""
    entries = []
    for number, first, second in rows:
        pixels = thumbnail(number)
        if pixels is not None and pixels.ndim == 3 and pixels.dtype == np.uint8:
            entries.append(Entry(pixels, first, second))
    return {name: contact_png(entries)} if entries else {}
