"""What a finished run explains by itself: some of its worst and surest answers, as files of its folder.

A few seconds at most, none where a budget is spent, and never the end of a run: what goes wrong here is said in
`explained.json` and on the page.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from PIL import Image

from layerwise.errors import LayerwiseError
from layerwise.store import strict_json
from layerwise.tasks.explanation import Explained, Explanation
from layerwise.tasks.job import TaskEntry

SECONDS = 6.0  # at most
LEAST = 2.0  # seconds that there must be, to begin at all
FOLDER = "explained"
_FIRST = 2  # examples that tell how long one takes
_HEAVY, _QUALITY = 40_000, 80  # bytes of a PNG above which a picture becomes a JPEG


@dataclass(frozen=True)
class Chosen:
    """An example that is explained.

    Args:
        id: its number.
        why: "wrong" or "right" of an answer; "worst" or "best" of a forecast.
        path: its name for people.
        label: its class; none of a forecast.
    """

    id: int
    why: str
    path: str
    label: str | None = None


def explained_files(
    entry: TaskEntry,
    restore: Callable[[], Any],
    chosen: Sequence[Chosen],
    example: Callable[[int], Any],
    seconds: float,
) -> dict[str, bytes]:
    """`explained.json` and a picture an example; nothing where nothing was chosen or the task has no method.

    Args:
        entry: the task.
        restore: gives the trained model.
        chosen: in the order in which they are explained, as far as there is time.
        example: as `TaskEntry.explain_examples` takes it, by its number; None where it cannot be had.
        seconds: that all may take.
    """
    if entry.explain_examples is None or not chosen:
        return {}
    began = time.monotonic()
    known = {each.id: value for each in chosen if (value := example(each.id)) is not None}
    parts: list[Explained] = []
    reason = None if known else "The examples are not at hand."
    if known and seconds < LEAST:
        reason = "The budget left no time for them."
    elif known:
        try:
            parts = _within(entry.explain_examples, restore(), known, began + min(seconds, SECONDS))
        except LayerwiseError as error:  # the method is not for this network
            reason = " ".join(f"{error.came} {f'Expected: {error.expected}.' if error.expected else ''}".split())
        except Exception as error:  # the run is finished, and is not to be lost for a picture
            reason = f"They could not be explained ({type(error).__name__}: {str(error)[:200]})."
    items = {int(each.name): each for part in parts for each in part.items}
    pictures = {row: _lighter(each) for row, each in items.items() if each.problem is None}
    record = {
        "method": parts[0].method if parts else None,
        "paper": parts[0].paper if parts else None,
        "about": parts[0].about if parts else None,
        "reason": reason,
        "left_out": len(chosen) - len(items),
        "inputs": [_record(each, items[each.id], pictures) for each in chosen if each.id in items],
    }
    files = {f"{FOLDER}/{_name(row, kind)}": content for row, (content, kind) in pictures.items()}
    return {**files, "explained.json": strict_json.dumps(record, indent=2) + b"\n"}


def _within(explain: Callable[[Any, Any], Explained], model: Any, known: dict[int, Any], end: float) -> list[Explained]:
    """The first two, and then as many as there is time for, if each takes as long as those."""
    rows = list(known)
    began = time.monotonic()
    found = [explain(model, {row: known[row] for row in rows[:_FIRST]})]
    each = (time.monotonic() - began) / min(_FIRST, len(rows))
    more = rows[_FIRST : _FIRST + int(max(0.0, end - time.monotonic()) / each)]
    if more:
        found.append(explain(model, {row: known[row] for row in more}))
    return found


def _record(chosen: Chosen, item: Explanation, pictures: dict[int, tuple[bytes, str]]) -> dict[str, Any]:
    return {
        "id": chosen.id,
        "why": chosen.why,
        "path": chosen.path,
        "label": chosen.label,
        "predicted": item.predicted,
        "probability": item.probability,
        "words": item.words,
        "problem": item.problem,
        "picture": _name(chosen.id, pictures[chosen.id][1]) if chosen.id in pictures else None,
    }


def _name(row: int, kind: str) -> str:
    return f"{row}.{kind}"


def _lighter(item: Explanation) -> tuple[bytes, str]:
    """A picture and its kind; a heavy PNG, which is of a photograph, as a JPEG."""
    if item.kind != "png" or len(item.picture) <= _HEAVY:
        return item.picture, item.kind
    buffer = io.BytesIO()
    Image.open(io.BytesIO(item.picture)).convert("RGB").save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue(), "jpg"


def choose(predictions: pl.DataFrame, most: int) -> list[Chosen]:
    """What to explain of predictions: the costliest wrong and the surest right answers, or the worst and best series.

    One of the one kind, one of the other, in turn. Right answers come class by class: the surest of each class first.

    Example:
        >>> table = pl.DataFrame({"id": [0, 1, 2], "path": ["a", "b", "c"], "label": ["x", "y", "y"],
        ...     "predicted": ["y", "y", "y"], "probability": [0.9, 0.8, 0.7], "loss": [2.3, 0.2, 0.4]})
        >>> [(each.id, each.why) for each in choose(table, 2)]
        [(0, 'wrong'), (1, 'right')]
    """
    if "predicted" in predictions.columns and "loss" in predictions.columns:
        known = predictions.filter(pl.col("label").is_not_null() & pl.col("loss").is_finite())
        wrong = known.filter(pl.col("label") != pl.col("predicted")).sort("loss", descending=True, maintain_order=True)
        right = known.filter(pl.col("label") == pl.col("predicted")).sort("loss", maintain_order=True)
        turn = pl.int_range(pl.len()).over("label")
        right = right.with_columns(turn=turn).sort("turn", "loss", maintain_order=True)
        return _in_turn(wrong, right, ("wrong", "right"), most)
    if {"forecast", "series", "y", "id"} <= set(predictions.columns):
        size = (pl.col("y").abs() + pl.col("forecast").abs()).sum()
        error = (pl.col("y") - pl.col("forecast")).abs().sum()
        scored = predictions.drop_nulls(["y", "forecast"]).group_by("id", maintain_order=True)
        series = scored.agg(path=pl.col("series").first(), score=pl.when(size > 0).then(error / size).otherwise(0.0))
        series = series.filter(pl.col("score").is_finite()).sort("score", descending=True, maintain_order=True)
        half = series.height - series.height // 2
        return _in_turn(series.head(half), series.tail(series.height - half).reverse(), ("worst", "best"), most)
    return []


def _in_turn(first: pl.DataFrame, second: pl.DataFrame, names: tuple[str, str], most: int) -> list[Chosen]:
    """One of each in turn; where one has fewer, more of the other."""
    half = most - most // 2
    many = max(half, most - second.height)
    lists = [(first.head(many), names[0]), (second.head(max(most - half, most - first.height)), names[1])]
    found: list[tuple[int, Chosen]] = []
    for rows, why in lists:
        for place, row in enumerate(rows.iter_rows(named=True)):
            found.append((place, Chosen(int(row["id"]), why, str(row["path"]), row.get("label"))))
    return [each for _, each in sorted(found, key=lambda pair: pair[0])][:most]
