"""What a set of images holds, before anything is trained on it."""

from __future__ import annotations

from typing import Any

import polars as pl

from layerwise.console import Show
from layerwise.data.decode import Preprocess
from layerwise.data.images import find_images
from layerwise.data.pixels import build_pixels, default_cache
from layerwise.data.split import SplitRecipe, split
from layerwise.errors import DataError
from layerwise.tasks.image_data import judged

# Every image is opened and decoded; what it is shrunk to does not matter.
_LOOK = Preprocess(height=64, width=64, resize="squash", mean=(0.0,) * 3, std=(1.0,) * 3)


def inspect_images(data: Any, *, image: str | None, label: str | None, show: Show) -> dict[str, Any]:
    """Counts, notes and problems of a set of images; see `api.inspect`."""
    source = find_images(data, image=image, label=label)
    with show.bar("reading images", len(source)) as advance:
        store = build_pixels(source, _LOOK, cache=default_cache(), advance=advance)
    table = judged(source, store)
    usable = table.filter(pl.col("problem").is_null())
    bad = table.filter(pl.col("problem").is_not_null())
    counts = dict(usable.group_by("label").len().iter_rows())
    given = source.table.filter(pl.col("split").is_not_null()).group_by("split", maintain_order=True).len()
    return {
        "n": table.height,
        "usable": usable.height,
        "classes": {name: counts.get(name, 0) for name in source.classes},
        "parts": {source.held_out if part == "test" else part: count for part, count in given.iter_rows()},
        "notes": [*source.notes, *_hindrances(table)],
        "problems": [{"path": path, "reason": why} for path, why in bad.select("path", "problem").iter_rows()],
    }


def _hindrances(table: pl.DataFrame) -> tuple[str, ...]:
    """What splitting would say: doubles, leaks, rare classes, or why nothing can be trained on this."""
    try:
        return split(table, SplitRecipe(), seed=0)[1]
    except DataError as error:
        return (str(error),)
