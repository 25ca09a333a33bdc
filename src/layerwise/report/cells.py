"""What lies behind the numbers of a confusion table: a few examples of each cell, within a budget of bytes.

A page of 10,000 test images stays below 6 MB: every cell gets its first example before any gets a second one, and so on
until the budget is spent. Cells of a small table get many, those of a large one few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl
from numpy.typing import NDArray

from layerwise.report.pictures import picture
from layerwise.report.traces import trace
from layerwise.report.words import cut

MOST = 24  # examples of a cell
ALL = 800  # examples of all cells, each of which is read again from the user's files
BYTES = 3_000_000  # of all cells together
SIDE, TINY = 96, 40  # pixels of the longer side of a picture; up to which it is kept without loss
STEPS, CHANNELS = 80, 4  # that are drawn of a sequence
TEXT = 180  # characters of a text
FRAME = 190  # bytes of an example's tags
Thumbnail = Callable[[int], NDArray[Any] | None]
Row = dict[str, Any]


@dataclass
class Cell:
    """One cell of a confusion table that holds examples.

    Args:
        key: what its id on the page ends in, such as "3-5": true class 3, said 5.
        label, predicted: names of the classes.
        count: examples in it.
        items: the examples that are shown, those with the greatest loss first.
    """

    key: str
    label: str
    predicted: str
    count: int
    items: list[Row] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether its answers are right."""
        return self.label == self.predicted


def cells(
    predictions: pl.DataFrame, classes: list[str], thumbnail: Thumbnail | None, only: Iterable[tuple[str, str]] | None
) -> dict[tuple[str, str], Cell]:
    """The cells that hold examples, by true and said class, in the order of a table.

    Wrong answers come the costliest first. Of right ones the loss is what the probability says: the least sure first.

    Args:
        predictions: `predictions.csv` of a classifier.
        classes: names, in the order of the table.
        thumbnail: see `write_report`.
        only: cells that are wanted, by true and said class; none for all.

    Example:
        >>> table = pl.DataFrame({"id": [0, 1], "path": ["a", "b"], "label": ["x", "y"], "predicted": ["x", "x"],
        ...     "probability": [0.9, 0.8], "loss": [0.1, 1.6]})
        >>> [(cell.key, cell.count, len(cell.items)) for cell in cells(table, ["x", "y"], None, None).values()]
        [('0-0', 1, 1), ('1-0', 1, 1)]
    """
    known = predictions.filter(pl.col("label").is_not_null() & pl.col("predicted").is_not_null())
    number = {name: place for place, name in enumerate(classes)}
    counted = {(label, said): count for label, said, count in known.group_by("label", "predicted").len().iter_rows()}
    places = sorted(counted if only is None else only, key=lambda pair: (number[pair[0]], number[pair[1]]))
    found = {
        (label, said): Cell(f"{number[label]}-{number[said]}", label, said, counted[label, said])
        for label, said in places
    }
    left = BYTES
    for row in _in_turn(known, found):
        item = {**row, **look(row["id"], thumbnail, small=True), "text": _text(row.get("text"))}
        left -= weight(item)
        if left < 0:
            break
        found[row["label"], row["predicted"]].items.append(item)
    return found


def _in_turn(known: pl.DataFrame, wanted: Iterable[tuple[str, str]]) -> Iterable[Row]:
    """The first example of every cell, the second of every cell, and so on."""
    pairs = list(wanted)
    asked = pl.DataFrame(
        {"label": [pair[0] for pair in pairs], "predicted": [pair[1] for pair in pairs], "place": range(len(pairs))},
        schema={"label": pl.String, "predicted": pl.String, "place": pl.Int64},
    )
    names = ["id", "path", "label", "predicted", "probability", "loss", *["text"] * ("text" in known.columns)]
    ranked = (
        known.select(names)
        .join(asked, on=["label", "predicted"], how="inner", maintain_order="left")
        .sort("loss", descending=True, nulls_last=True, maintain_order=True)
        .with_columns(turn=pl.int_range(pl.len()).over("place"))
    )
    return ranked.filter(pl.col("turn") < MOST).sort("turn", "place").head(ALL).iter_rows(named=True)


def look(number: int | None, thumbnail: Thumbnail | None, *, small: bool = False) -> Row:
    """A picture from (H, W, C) pixels, a line from a (T, C) sequence; None for what is neither.

    Args:
        number: of the example in `examples.parquet`.
        thumbnail: see `write_report`.
        small: as in a cell, where many stand side by side.
    """
    values = thumbnail(number) if thumbnail is not None and number is not None else None
    found: Row = {"picture": None, "trace": None}
    if values is None:
        return found
    if values.ndim == 3:
        found["picture"] = asdict(picture(values, longest=SIDE, tiny=TINY) if small else picture(values))
    elif values.ndim == 2 and values.size:
        found["trace"] = trace(values, steps=STEPS, channels=CHANNELS) if small else trace(values)
    return found


def weight(item: Row) -> int:
    """About how many bytes an example takes on the page."""
    shown = [item["picture"]["source"] if item["picture"] else "", item["trace"].svg if item["trace"] else ""]
    return FRAME + sum(map(len, shown)) + sum(len(str(item[name] or "").encode()) for name in ("text", "path"))


def _text(text: str | None) -> str | None:
    return None if text is None else cut(text.strip(), TEXT)
