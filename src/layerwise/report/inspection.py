"""The page of `inspect`: what is wrong with data, with pictures, in one file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.report.page import environment
from layerwise.report.pictures import picture
from layerwise.report.traces import trace
from layerwise.report.words import cut
from layerwise.store.atomic import write_text

Thumbnail = Callable[[int], NDArray[Any] | str | None]

GROUPS = 12  # of a finding, with members to see
MEMBERS = 6  # of a group
ALONE = 24  # examples that are groups of their own
PROBLEMS = 100  # rows that cannot be used
CLASSES = 200
_LONGEST = 128  # pixels of a picture
_LETTERS = 240  # of a text
_HEADS = {"wrong": "Wrong", "doubt": "Look at it", "note": "Good to know"}


def write_inspection(
    path: Path,
    record: Mapping[str, Any],
    groups: Sequence[Sequence[Sequence[int]]],
    examples: pl.DataFrame,
    thumbnail: Thumbnail,
    *,
    name: str,
    what: str,
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: an HTML file.
        record: what `inspect --json` prints.
        groups: of each of its findings the groups of rows.
        examples: a row an example: path, label, split.
        thumbnail: what is shown of a row: pixels (H, W, C) uint8, values (T, C), a history (T,), a text, or None. It
            is called for at most 72 rows a finding.
        name: of the data.
        what: people call an example, in the plural.

    Raises:
        StoreError: it cannot be written.
    """
    if "val" in record["parts"] and "test" not in record["parts"]:  # the table says "test" of what figures are of
        examples = examples.with_columns(pl.col("split").replace("test", "val"))
    findings = [
        _finding(found, rows, examples, thumbnail) for found, rows in zip(record["findings"], groups, strict=True)
    ]
    counts = {weight: sum(found["weight"] == weight for found in findings) for weight in _HEADS}
    content = {
        "name": name,
        "what": what,
        "record": record,
        "title": _title(counts),
        "poor": counts["wrong"] > 0,
        "heads": {weight: head for weight, head in _HEADS.items() if counts[weight]},
        "findings": findings,
        "largest": max(record["classes"].values(), default=0),
        "classes": list(record["classes"].items())[:CLASSES],
        "facts": {title: list(values.items()) for title, values in record["facts"].items() if values},
        "problems": record["problems"][:PROBLEMS],
        "spare": len({path for found in record["findings"] for path in found["exclude"]}),
    }
    write_text(path, environment().get_template("inspection.html").render(content))


def _title(counts: Mapping[str, int]) -> str:
    if counts["wrong"]:
        return f"{counts['wrong']} thing{' is' if counts['wrong'] == 1 else 's are'} wrong with these data"
    if counts["doubt"]:
        return f"Nothing is surely wrong; {counts['doubt']} thing{'' if counts['doubt'] == 1 else 's'} to look at"
    return "Nothing wrong was found"


def _finding(
    found: Mapping[str, Any], groups: Sequence[Sequence[int]], examples: pl.DataFrame, thumbnail: Thumbnail
) -> dict[str, Any]:
    """A finding with what is shown of it: groups, or examples that are alone in one row."""
    spare = set(found["exclude"])
    alone = all(len(group) == 1 for group in groups)
    shown = [[group[0] for group in groups[:ALONE]]] if alone and groups else [group[:MEMBERS] for group in groups]
    return {
        "kind": found["kind"],
        "weight": found["weight"],
        "message": found["message"],
        "spare": len(spare),
        "alone": alone,
        "count": len(groups),
        "groups": [
            {
                "size": len(groups) if alone else len(groups[place]),
                "items": [_item(row, examples, thumbnail, spare) for row in rows],
            }
            for place, rows in enumerate(shown[:GROUPS])
        ],
    }


def _item(row: int, examples: pl.DataFrame, thumbnail: Thumbnail, spare: set[str]) -> dict[str, Any]:
    """One example: its picture, drawing or text, and where it is."""
    path, label, part = (examples[name][row] for name in ("path", "label", "split"))
    item = {"path": path, "label": label, "part": part, "out": path in spare}
    return item | {"picture": None, "trace": None, "text": None} | _shown(thumbnail(row))


def _shown(value: NDArray[Any] | str | None) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        return {"text": cut(value, _LETTERS)}
    if value.ndim == 3 and value.dtype == np.uint8:
        return {"picture": picture(value, longest=_LONGEST)}
    return {"trace": trace(value.reshape(len(value), -1))}
