"""What every way of finding sequences hands over, and sequences that are arrays already."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from layerwise.data.arrays import label_texts
from layerwise.data.rows import part_of
from layerwise.errors import DataError, nearest

Values = NDArray[np.float64]
_SHAPES = "(N, T), (N, T, C), or a list of arrays (T,) or (T, C)"
_NAMES = "x and y, or x_train, y_train, x_test, y_test (and lengths, or lengths_train, lengths_test)"


@dataclass
class SequenceRows:
    """Series as columns of equal length, row = id; nothing is judged yet.

    Args:
        names: for people.
        values: (T, C) float64 with NaN where missing; none for a series with a problem.
        labels: none where there is none.
        parts: "train", "valid", "test", or none where none is given.
        problems: why a series cannot be used, or none.
        notes: what was found and what looks odd.
        columns: series, time, target and label -> the column that was read; empty where there are none.
        beside: of tables, what decides on parts -> a value a series, or none.
    """

    names: list[str] = field(default_factory=list)
    values: list[Values | None] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    parts: list[str | None] = field(default_factory=list)
    problems: list[str | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    beside: dict[str, list[str | None]] = field(default_factory=dict)

    def add(self, name: str, values: Values | None, label: str | None, part: str | None, problem: str | None) -> None:
        """Append one series."""
        self.names.append(name)
        self.values.append(values)
        self.labels.append(label)
        self.parts.append(part)
        self.problems.append(problem)

    def extend(self, other: SequenceRows) -> None:
        """Append all series of another."""
        self.names += other.names
        self.values += other.values
        self.labels += other.labels
        self.parts += other.parts
        self.problems += other.problems
        self.notes += other.notes


def from_python(data: object, *, labelled: bool) -> SequenceRows:
    """Rows from (x, y), x alone, or {"train": (x, y), "val": ..., "test": ...}.

    Raises:
        DataError: it is none of these, or x and y do not fit.

    Example:
        >>> from_python(([[1.0, 2.0], [3.0]], ["a", "b"]), labelled=True).names
        ['x[0]', 'x[1]']
    """
    if not isinstance(data, Mapping):
        x, y = _pair(data, "the tuple") if isinstance(data, tuple) else (data, None)
        return _part(None, x, y, None, labelled=labelled)
    found, seen = SequenceRows(), set()
    for key, value in data.items():
        part = part_of(str(key))
        if part is None or part in seen:
            raise DataError(f'The data have a part "{key}".', expected='"train", "val" and "test", each once')
        seen.add(part)
        x, y = _pair(value, f'the part "{key}"')
        found.extend(_part(part, x, y, None, labelled=labelled))
    if not seen:
        raise DataError("The data are an empty mapping.", expected='{"train": (x, y), "test": (x, y)}')
    return found


def read_npz(path: Path, *, labelled: bool) -> SequenceRows:
    """Rows from the arrays of an `.npz` file, read without pickle; unequal lengths as `lengths` beside a padded x.

    Raises:
        DataError: the file is damaged, holds Python objects, or has other names in it.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            held = {name.casefold(): file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}.",
            expected="an .npz file of numeric or text arrays, as numpy.savez writes it",
        ) from None
    suffixes = [name.removeprefix("x") for name in held if name == "x" or name.startswith("x_")]
    parts = {suffix: part_of(suffix[1:]) for suffix in suffixes}
    if not parts or ("" in parts and len(parts) > 1) or any(s and part is None for s, part in parts.items()):
        hint = nearest("x", held) if held and not parts else ""
        raise DataError(f"{path} holds the arrays {', '.join(held) or '(none)'}.", expected=_NAMES, fix=hint)
    found = SequenceRows()
    for suffix, part in parts.items():
        x, y, lengths = (held.get(f"{kind}{suffix}") for kind in ("x", "y", "lengths"))
        found.extend(_part(part, x, y, lengths, labelled=labelled))
    return found


def _pair(value: object, what: str) -> tuple[object, object]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise DataError(f"The data hold {what}, which is no pair.", expected="a pair (x, y)")
    return value[0], value[1]


def _part(part: str | None, x: object, y: object, lengths: object, *, labelled: bool) -> SequenceRows:
    name = f"x_{part}" if part else "x"
    found = SequenceRows()
    series = _series(x, name, found.notes)
    if lengths is not None:
        series = _cut(series, np.asarray(lengths), name)
    if y is None and labelled:
        raise DataError(f"{name} has no labels.", expected="a pair (x, y)")
    labels = [None] * len(series) if y is None else label_texts(y, name.replace("x", "y", 1))
    if len(labels) != len(series):
        raise DataError(f"There are {len(series)} series in {name} and {len(labels)} labels.", expected="as many")
    for row, (values, label) in enumerate(zip(series, labels, strict=True)):
        found.add(f"{part or 'x'}[{row}]", values, label, part, None)
    return found


def _series(x: object, name: str, notes: list[str]) -> list[Values]:
    """Each series (T, C) of an array or a list."""
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu().numpy()
    if isinstance(x, np.ndarray) and x.dtype != object:
        array = _numbers(x, name)
        if array.ndim not in (2, 3) or 0 in array.shape:
            hint = "One series is x[None]." if array.ndim == 1 else ""
            raise DataError(f"{name} has the shape {array.shape}.", expected=_SHAPES, fix=hint)
        if array.ndim == 3 and array.shape[2] > array.shape[1]:
            notes.append(
                f"{name} has {array.shape[2]} channels and {array.shape[1]} steps: its shape is read as (N, T, C). "
                "If channels come first, give x.transpose(0, 2, 1)."
            )
        return list(array[:, :, None] if array.ndim == 2 else array)
    if not isinstance(x, list | tuple | np.ndarray) or not len(x):
        raise DataError(f"{name} is a {type(x).__name__}.", expected=_SHAPES)
    found = []
    for row, each in enumerate(x):
        if isinstance(each, torch.Tensor):
            each = each.detach().cpu().numpy()
        try:
            array = _numbers(np.asarray(each), f"{name}[{row}]")
        except ValueError:  # a list of lists of unequal length
            raise DataError(f"{name}[{row}] is no array.", expected=_SHAPES) from None
        if array.ndim not in (1, 2):
            raise DataError(f"{name}[{row}] has the shape {array.shape}.", expected="(T,) or (T, C)")
        found.append(array[:, None] if array.ndim == 1 else array)
    return found


def _numbers(array: NDArray[Any], name: str) -> Values:
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} holds {array.dtype}.", expected="numbers")
    return array.astype(np.float64)


def _cut(series: list[Values], lengths: NDArray[Any], name: str) -> list[Values]:
    """Each series as long as `lengths` says."""
    steps = max((len(values) for values in series), default=0)
    if lengths.shape != (len(series),) or lengths.dtype.kind not in "iu":
        raise DataError(f"The lengths of {name} have the shape {lengths.shape}.", expected=f"({len(series)},) integers")
    if lengths.min(initial=1) < 0 or lengths.max(initial=0) > steps:
        raise DataError(f"The lengths of {name} go from {lengths.min()} to {lengths.max()}.", expected=f"0 to {steps}")
    return [values[:length] for values, length in zip(series, lengths.tolist(), strict=True)]
