"""Which task some data is for, told from its form where that is certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from layerwise.data.table_files import named_alike
from layerwise.data.tables import TABLES, from_pandas, is_pandas, open_table
from layerwise.errors import UsageError

IMAGES, TEXTS, SEQUENCES, FORECAST = (
    "image-classification",
    "text-classification",
    "sequence-classification",
    "forecast",
)
_TS = ".ts"
_IMAGE = {"image", "path", "file", "filename"}
_LABEL = {"label", "class", "target", "category"}
_TEXT = {"text", "sentence", "message", "review", "question", "comment", "content", "tweet", "title", "body"}
_TIME = {"ds", "date", "time", "timestamp", "datetime", "month", "year", "day", "hour", "step"}
_FLAGS = {"image": IMAGES, "text": TEXTS, "time": FORECAST}
_LOOKED_AT = 200  # rows
_WORDY = 3.0  # words in the mean, from which values are taken for texts


def guess_task(data: Any, values: Mapping[str, Any]) -> str:
    """The task that data and recipe are for.

    Args:
        data: what `train` was given.
        values: the user's part of the recipe.

    Raises:
        UsageError: it might be several; says how to name it.

    Example:
        >>> guess_task((["so good", "so bad"], [1, 0]), {})
        'text-classification'
    """
    if "task" in values:
        return str(values["task"])
    if "horizon" in values:
        return FORECAST
    columns = values.get("data", {})
    labelled = isinstance(columns, Mapping) and "label" in columns
    if isinstance(columns, Mapping):
        for flag, task in _FLAGS.items():
            if flag in columns and not (flag == "time" and labelled):
                return task
    if isinstance(data, str | Path):
        return _of_path(Path(data).expanduser(), labelled)
    if is_pandas(data):
        return _of_table(from_pandas(data), "The frame", labelled)
    if isinstance(data, pl.DataFrame):
        return _of_table(data, "The frame", labelled)
    return _of_arrays(data)


def _of_path(path: Path, labelled: bool) -> str:
    if path.suffix.lower() == _TS or _of_stem(path, _TS):
        return SEQUENCES
    if path.is_dir():
        names = {file.suffix.lower() for file in path.iterdir() if file.is_file()}
        if _TS in names:
            return SEQUENCES
        tables = sorted(file for file in path.iterdir() if file.suffix.lower() in TABLES)
        folders = any(file.is_dir() for file in path.iterdir())
        return _of_file(tables[0], labelled) if tables and not folders else IMAGES
    if path.suffix.lower() in TABLES and path.is_file():
        return _of_file(path, labelled)
    if path.suffix.lower() == ".npz" and path.is_file():
        return _of_npz(path)
    alike = [] if path.exists() else named_alike(path)
    return _of_file(alike[0], labelled) if alike else IMAGES


def _of_file(path: Path, labelled: bool) -> str:
    """Rows that cannot be read, and unusual separators, are for the task's own reader."""
    return _of_table(open_table(path, guess_separator=True).frame, str(path), labelled)


def _of_stem(path: Path, suffix: str) -> bool:
    """Whether `data/GunPoint` stands for `data/GunPoint_TRAIN.ts` and its pair."""
    return not path.exists() and path.parent.is_dir() and any(path.parent.glob(f"{path.name}_TRAIN{suffix}"))


def _of_npz(path: Path) -> str:
    """Rows of numbers are sequences; anything with two or three axes an example may be pictures, as it always was."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in ("x", "x_train") if name in file.files]
            return SEQUENCES if names and file[names[0]].ndim == 2 else IMAGES
    except (OSError, ValueError, EOFError):
        return IMAGES  # whose reader says what is wrong with the file


def _of_table(table: pl.DataFrame, name: str, labelled: bool) -> str:
    """By names of columns first, then by what is in them."""
    words = {column.strip().casefold() for column in table.columns}
    if words & _IMAGE:
        return IMAGES
    if words & _TEXT and (words & _LABEL or labelled or len(words) == 2):
        return TEXTS
    if words & _TIME and not (labelled or words & (_LABEL - {"target"})):
        return FORECAST
    if any(_texts(table[column]) for column in table.columns):
        return TEXTS
    listed = ", ".join(f'"{column}"' for column in table.columns[:20])
    raise UsageError(
        f"{name} may be for several tasks; it has the columns {listed}.",
        expected="one task",
        fix=f"Name it: --task {TEXTS} (or {SEQUENCES}, {FORECAST}, {IMAGES}), with the columns by their flags.",
    )


def _texts(column: pl.Series) -> bool:
    if column.dtype != pl.String:
        return False
    some = [value for value in column.head(_LOOKED_AT).to_list() if value]
    return bool(some) and sum(len(value.split()) for value in some) / len(some) >= _WORDY


def _of_arrays(data: Any) -> str:
    first = data
    if isinstance(first, Mapping) and first:
        if "train" not in first:  # series by name
            return FORECAST
        first = first["train"]
    if isinstance(first, tuple) and first:
        return _of_inputs(first[0])
    return FORECAST if isinstance(first, np.ndarray) and first.ndim <= 2 and first.dtype.kind in "fiu" else IMAGES


def _of_inputs(inputs: Any) -> str:
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind != "O":
        if inputs.dtype.kind in "US":
            return TEXTS
        return SEQUENCES if inputs.ndim == 2 else IMAGES
    if isinstance(inputs, Sequence | np.ndarray) and len(inputs):
        if isinstance(inputs[0], str):
            return TEXTS
        if np.ndim(inputs[0]) == 1:
            return SEQUENCES
        if np.ndim(inputs[0]) == 2 and len({len(each) for each in inputs}) > 1:
            return SEQUENCES
    return IMAGES
