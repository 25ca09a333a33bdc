"""Finding texts and their labels, in whatever form they come.

- a table (`.csv .tsv .parquet .jsonl`, a Polars or pandas frame) with a column of texts and one of labels
- two or three tables whose names say train, valid and test, as in `questions-train.csv` and `questions-test.csv`:
  either file, what their names share (`questions`), or their folder
- in Python: `(texts, labels)`, or `{"train": (texts, labels), "test": (texts, labels)}`, where a table may stand
  for a pair; a list of texts where no labels are needed

As with images, a part that is held out without a validation part is what figures are reported on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from layerwise.data import rows, tables
from layerwise.data.delimited import Table
from layerwise.data.table_files import FORMS, open_file, read_path
from layerwise.data.text_columns import Columns, find_columns
from layerwise.errors import DataError

SCHEMA = {
    "id": pl.UInt32,
    "path": pl.String,
    "text": pl.String,
    "label": pl.String,
    "split": pl.String,
    "hash": pl.String,
    "problem": pl.String,
}
_PYTHON = 'a path, a frame, (texts, labels), or {"train": (texts, labels), "test": (texts, labels)}'
_NONE: Mapping[str, str] = {}
_ORDER = (None, "train", "valid", "test")


@dataclass(frozen=True)
class TextSource:
    """Texts that were found.

    Fields:
        table: id u32 (the row number), path ("reviews.csv:13": file and line), text, label or null, split "train",
            "valid", "test" or null (as given), hash (SHA-256 of the text in UTF-8) or null, problem or null; and what
            was asked for beside, each as text or null.
        classes: sorted (whole numbers by value), the union over the parts.
        held_out: the user's name of the part that figures are reported on: "val" where only train and val were given
            (its rows then have the split "test"), else "test".
        notes: what was passed over or guessed, and what looks odd.
        reading: of the notes, those on how the data were read.
        columns: "text" and "label" -> the column that was read; empty for arrays.
    """

    table: pl.DataFrame
    classes: tuple[str, ...]
    held_out: str = "test"
    notes: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    reading: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.table.height


@dataclass
class _Found:
    """Examples as columns of equal length."""

    names: list[str] = field(default_factory=list)
    texts: list[str | None] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    parts: list[str | None] = field(default_factory=list)
    problems: list[str | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    beside: dict[str, list[str | None]] = field(default_factory=dict)

    def add(self, name: str, text: str | None, label: str | None, part: str | None, problem: str | None) -> None:
        self.names.append(name)
        self.texts.append(text)
        self.labels.append(label)
        self.parts.append(part)
        self.problems.append(problem)


def find_texts(
    data: object,
    *,
    text: str | None = None,
    label: str | None = None,
    labelled: bool = True,
    pairs: bool = True,
    known: Mapping[str, str] | None = None,
    beside: Mapping[str, str] = _NONE,
) -> TextSource:
    """Find texts and their labels; nothing of the user's is changed.

    A text that is empty or blank, a missing label, and a row that cannot be read are problems of their row. Copies of
    a text have equal hashes, by which `split` keeps them on one side.

    Args:
        data: a path, a frame, arrays, or a mapping of parts; see the head of this file.
        text, label: the columns of a table; guessed where certain.
        labelled: False takes texts without labels too.
        pairs: whether a table called after one part brings the others of its name with it.
        known: "text" and "label" -> columns that were read before; taken in place of a guess where the table has them.
        beside: further columns that the result is to have: its name for each -> the table's.

    Raises:
        DataError: there is nothing there, the columns cannot be told, or no row can be used.

    Example:
        >>> find_texts((["good film", "bad film"], ["yes", "no"])).classes
        ('no', 'yes')
    """
    found = _Found()
    parts = _parts_of(data, labelled, pairs, found.notes)
    if all(isinstance(each, _Pair) for each in parts.values()) and (text or label):
        raise DataError("--text and --label name columns of a table.", expected="a table", fix="Leave them out.")
    if any(isinstance(each, _Pair) for each in parts.values()):
        rows.require_columns(beside, ())
    columns: Columns | None = None
    for part in sorted(parts, key=_ORDER.index):
        each = parts[part]
        if isinstance(each, _Pair):
            _add_pair(found, each, part, labelled)
            continue
        if columns is None:
            there = {
                flag: column
                for flag, column in (known or {}).items()
                if column in each.frame.columns and column not in (text, label)
            }
            columns = find_columns(
                each, text=text or there.get("text"), label=label or there.get("label"), labelled=labelled
            )
            found.notes += columns.notes
            found.columns = {"text": columns.text} | ({"label": columns.label} if columns.label else {})
        if missing := [column for column in found.columns.values() if column not in each.frame.columns]:
            found.notes.append(f'{each.file or part} has no column "{missing[0]}", and is not used.')
            continue
        _add_table(found, each, columns, part, labelled)
        for name, values in tables.columns_of(each.frame, beside).items():
            found.beside.setdefault(name, []).extend(values)
    return _source(found, labelled, str(data) if isinstance(data, str | Path) else "the data")


@dataclass(frozen=True)
class _Pair:
    texts: list[Any]
    labels: list[Any] | None
    name: str


_Parts = dict[str | None, Table | _Pair]


def _parts_of(data: object, labelled: bool, pairs: bool, notes: list[str]) -> _Parts:
    if isinstance(data, str | Path):
        return dict(read_path(Path(os.path.abspath(os.path.expanduser(data))), pairs, notes))
    if isinstance(data, Mapping):
        parts: _Parts = {}
        for key, value in data.items():
            part = rows.part_of(str(key))
            if part is None:
                raise DataError(f'The data have a part called "{key}".', expected="train, val and test")
            if part in parts:
                raise DataError(f"The data give the {part} part twice.", expected="each part once")
            parts[part] = _one(value, str(key), labelled)
        if not parts:
            raise DataError("The data are empty.", expected=_PYTHON)
        return parts
    return {None: _one(data, "x", labelled)}


def _one(value: object, name: str, labelled: bool) -> Table | _Pair:
    """One part as it stands in Python: a path, a frame, a pair, or texts alone."""
    if isinstance(value, str | Path):
        return open_file(Path(os.path.abspath(os.path.expanduser(value))))
    if isinstance(value, pl.DataFrame) or tables.is_pandas(value):
        frame = value if isinstance(value, pl.DataFrame) else tables.from_pandas(value)
        if not frame.height:
            raise DataError("The table has no rows.", expected="a row for each text")
        return Table(frame, name if name != "x" else "")
    if isinstance(value, tuple) and len(value) == 2 and not isinstance(value[0], str):
        return _Pair(
            _values(value[0], name), None if value[1] is None else _values(value[1], f"labels of {name}"), name
        )
    if labelled:
        raise DataError(f"{name} is a {type(value).__name__}.", expected=_PYTHON)
    return _Pair(_values(value, name), None, name)


def _values(value: object, name: str) -> list[Any]:
    """A column of Python, NumPy, Polars or pandas values as a list."""
    if isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    if isinstance(value, np.ndarray) and value.ndim != 1:
        raise DataError(f"{name} has the shape {value.shape}.", expected="one value for each text")
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise DataError(f"{name} is a {type(value).__name__}.", expected="a list of texts, or an array of them")
    return [each.item() if isinstance(each, np.generic) else each for each in value]


def _add_pair(found: _Found, pair: _Pair, part: str | None, labelled: bool) -> None:
    if pair.labels is None and labelled:
        raise DataError(f"{pair.name} has no labels.", expected="a pair (texts, labels)")
    labels = pair.labels if pair.labels is not None else [None] * len(pair.texts)
    if len(labels) != len(pair.texts):
        raise DataError(
            f"There are {len(pair.texts)} texts in {pair.name} and {len(labels)} labels.", expected="as many"
        )
    for row, (text, label) in enumerate(zip(pair.texts, labels, strict=True)):
        name = f"{pair.name}[{row}]"
        if not isinstance(text, str) and not _missing(text):
            raise DataError(f"{name} is a {type(text).__name__}.", expected="a text")
        if not isinstance(label, str | int) and not _missing(label):
            raise DataError(f"The label of {name} is {label!r:.40}.", expected="an integer or a string")
        _judge(found, name, text, label, part, None, labelled)


def _missing(value: object) -> bool:
    """None, NaN and pandas' NA and NaT: what is not equal to itself."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _add_table(found: _Found, table: Table, columns: Columns, part: str | None, labelled: bool) -> None:
    found.notes += table.notes
    texts = tables.texts_of(table.frame, columns.text)
    labels = tables.texts_of(table.frame, columns.label) if columns.label else [None] * len(texts)
    given = tables.given_parts(table) if part is None else [part] * len(texts)
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        _judge(found, table.name(row), text, label, given[row], table.problems.get(row), labelled)


def _judge(
    found: _Found, name: str, text: Any, label: Any, part: str | None, problem: str | None, labelled: bool
) -> None:
    """Add one example, with the reason why it cannot be used."""
    text = None if _missing(text) else text
    label = None if _missing(label) else str(label)
    if label is not None and not label.strip():
        label = None
    if problem is None and (text is None or not text.strip()):
        problem = "no text"
    if problem is None and labelled and label is None:
        problem = "no label"
    if text is not None and not text.isascii():
        whole = text.encode("utf-8", "replace").decode()
        problem = problem if whole == text else "it holds half a character"
        text = whole
    label = label if label is None else label.encode("utf-8", "replace").decode()
    found.add(name, text, label, part, problem)


def _source(found: _Found, labelled: bool, where: str) -> TextSource:
    if not found.problems:
        raise DataError(f"There are no texts in {where}.", expected=FORMS)
    if None not in found.problems:
        raise DataError(
            f"None of the {len(found.problems):,} texts in {where} can be used: {rows.counted(found.problems)}.",
            expected="texts with labels" if labelled else "texts",
        )
    given = set(found.parts)
    held_out = "val" if "valid" in given and "test" not in given else "test"
    parts = ["test" if part == "valid" else part for part in found.parts] if held_out == "val" else found.parts
    hashes = [
        None if problem else hashlib.sha256((text or "").encode()).hexdigest()
        for text, problem in zip(found.texts, found.problems, strict=True)
    ]
    columns = {"path": found.names, "text": found.texts, "label": found.labels, "split": parts}
    table = pl.DataFrame({"id": range(len(parts)), **columns, "hash": hashes, "problem": found.problems}, schema=SCHEMA)
    table = table.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in found.beside.items())
    usable = table.filter(pl.col("problem").is_null())
    classes = rows.sort_classes(usable["label"].drop_nulls())
    if labelled and len(classes) > max(20, usable.height / 2):
        raise DataError(
            f"There are {len(classes):,} different labels for {usable.height:,} texts.",
            expected="few classes, and many texts of each",
            fix="Name the column of labels with --label COLUMN (label=... in Python).",
        )
    notes = [*found.notes, *_problems(table), *_copies(usable), *rows.alike(classes), *_untrained(usable)]
    reading = tuple(dict.fromkeys(found.notes))
    return TextSource(table, classes, held_out, tuple(dict.fromkeys(notes)), found.columns, reading)


def _problems(table: pl.DataFrame) -> list[str]:
    bad = table.filter(pl.col("problem").is_not_null())
    if bad.is_empty():
        return []
    such = ", ".join(bad["path"].head(3)) + (", ..." if bad.height > 3 else "")
    return [f"{bad.height:,} of {table.height:,} rows cannot be used ({such}): {rows.counted(bad['problem'])}."]


def _copies(usable: pl.DataFrame) -> list[str]:
    copies = usable.height - usable["hash"].n_unique()
    if not copies:
        return []
    twice = usable.filter(pl.col("hash").is_duplicated()).filter(pl.col("hash") == pl.col("hash").first())
    return [
        f"{copies:,} of {usable.height:,} texts are copies of another one (such as {' and '.join(twice['path'][:2])})."
    ]


def _untrained(usable: pl.DataFrame) -> list[str]:
    """Classes that training never sees: kept, so that the figures count them as the errors they are."""
    trained = set(usable.filter(pl.col("split") == "train")["label"])
    if not trained:
        return []
    missing = sorted(set(usable["label"].drop_nulls()) - trained)
    return rows.untrained(missing[:5], (), "text")
