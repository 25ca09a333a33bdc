"""Finding series and their labels, in whatever form they come.

- `.ts` files of the UCR and UEA archives; of `NAME_TRAIN.ts` and `NAME_TEST.ts` either one, their folder, or `NAME`
- `.npz` with `x`, `y` or `x_train`, `y_train`, ..., and `lengths` where they differ
- long tables (`.csv .tsv .parquet .jsonl`, a Polars or pandas frame): a row a step
- in Python: `(x, y)`, or `{"train": (x, y), "val": (x, y), "test": (x, y)}`; x is (N, T), (N, T, C), or a list of
  arrays (T,) or (T, C)

Where a held-out part is given without a validation part, that part is what figures are reported on.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from layerwise.data import rows as words
from layerwise.data import sequence_rows, sequence_tables, tables
from layerwise.data.delimited import Table
from layerwise.data.ragged import Ragged
from layerwise.data.sequence_rows import SequenceRows, Values
from layerwise.data.sequence_tables import Columns
from layerwise.data.ts_file import read_ts
from layerwise.errors import DataError

SCHEMA = {
    "id": pl.UInt32,
    "path": pl.String,
    "label": pl.String,
    "split": pl.String,
    "hash": pl.String,
    "problem": pl.String,
}
_FORMS = "a .ts file, a folder of one, an .npz, or a long table (.csv .tsv .parquet .jsonl)"
_LARGEST = 1e30  # beyond it, the square of a value is no float32
_CHANNELS = 1024  # of a model file


@dataclass(frozen=True)
class SequenceSource:
    """Series that were found, judged and filled, not yet scaled.

    Args:
        table: id u32 (the row), path (for people), label or null, split "train", "valid", "test" or null (as given),
            hash of the values, problem or null; and group and time, as text or null, where columns of them were named.
        sequences: (total, C) float64, finite; a series with a problem has no step.
        classes: sorted, whole numbers by value; the union over the parts.
        held_out: the user's name of the reported part: "val" where only train and val were given, else "test".
        notes: what was found, filled in, and what looks odd.
        columns: of a long table, series, time, target and label -> the column that was read.
    """

    table: pl.DataFrame
    sequences: Ragged
    classes: tuple[str, ...]
    held_out: str
    notes: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.table.height

    @property
    def channels(self) -> int:
        """Values a step."""
        return int(self.sequences.values.shape[1])


def find_sequences(data: object, columns: Columns | None = None, *, labelled: bool = True) -> SequenceSource:
    """Find series and their labels; nothing of the user's is changed.

    Args:
        data: a path, a Polars or pandas frame, `(x, y)`, or a mapping of parts; see the head of this file.
        columns: of a long table, where they cannot be guessed.
        labelled: False takes series without labels too.

    Raises:
        DataError: there is nothing there, no labels, no usable series, or an unknown form.

    Example:
        >>> source = find_sequences(([[1.0, float("nan"), 3.0], [2.0, 5.0]], ["up", "down"]))
        >>> source.classes, source.sequences[0][:, 0].tolist()
        (('down', 'up'), [1.0, 2.0, 3.0])
    """
    return judge(read_rows(data, columns, labelled=labelled))


def read_rows(
    data: object, columns: Columns | None = None, *, labelled: bool = True, pairs: bool = True
) -> SequenceRows:
    """Series as they come, before any is judged.

    Args:
        data, columns, labelled: as `find_sequences` takes them.
        pairs: whether the test file beside a training file is read too, and the other way round.

    Raises:
        DataError: as `find_sequences`.
    """
    columns = columns or Columns()
    path = Path(os.path.abspath(os.path.expanduser(data))) if isinstance(data, str | Path) else None
    if is_table(data):
        return sequence_tables.read_long(_table(data if path is None else path), columns, labelled=labelled)
    words.require_columns(columns.beside, ())
    if columns.given:
        flags = ", ".join(f"--{name}" for name in columns.given)
        raise DataError(f"{flags} names a column.", expected="a table as data", fix="Leave it out.")
    if path is not None:
        return _read_path(path, labelled=labelled, pairs=pairs)
    if isinstance(data, tuple | list | dict | np.ndarray | torch.Tensor):
        return sequence_rows.from_python(data, labelled=labelled)
    raise DataError(f"The data are a {type(data).__name__}.", expected=f"{_FORMS}, a frame, or arrays (x, y)")


def is_table(data: object) -> bool:
    """Whether the data are a long table: a frame, or a file with such a suffix."""
    if isinstance(data, str | Path):
        return Path(data).suffix.lower() in tables.TABLES and not Path(data).expanduser().is_dir()
    return isinstance(data, pl.DataFrame) or tables.is_pandas(data)


def judge(found: SequenceRows, *, channels: int | None = None) -> SequenceSource:
    """What can be used, filled where values are missing, with a problem for the rest.

    Args:
        found: series as they came.
        channels: that each must have; none for those that most have.

    Raises:
        DataError: nothing can be used, or there are more than 1,024 channels.
    """
    expected = channels if channels is not None else _most_channels(found)
    usable: list[Values] = []
    problems, hashes, filled, shorter = list(found.problems), [], [0, 0], 0
    for row, values in enumerate(found.values):
        hashes.append(None if values is None else _hash(values))
        given, usable_values = 0 if values is None else len(values), np.zeros((0, expected))
        if values is not None and problems[row] is None:
            kept, missing, problems[row] = _filled(values, expected)
            if problems[row] is None:
                usable_values = kept
                shorter += len(kept) < given
                filled = [filled[0] + missing, filled[1] + (missing > 0)]
        usable.append(usable_values)
    if channels is None and None not in problems:
        raise DataError(
            f"None of the {len(problems):,} series can be used: {words.counted(problems)}.",
            expected="series of numbers",
        )
    notes = list(found.notes)
    if filled[0]:
        notes.append(f"{filled[0]:,} missing values in {filled[1]:,} series were filled in between their neighbours.")
    if shorter:
        notes.append(f"{shorter:,} series end in missing values and were read as that much shorter.")
    return _source(found, Ragged.of(usable), problems, hashes, notes)


def _source(
    found: SequenceRows, sequences: Ragged, problems: list[str | None], hashes: list[str | None], notes: list[str]
) -> SequenceSource:
    used = [label for label, problem in zip(found.labels, problems, strict=True) if problem is None]
    classes = words.sort_classes(label for label in used if label is not None)
    given = set(found.parts)
    held_out = "val" if "valid" in given and "test" not in given else "test"
    parts = ["test" if part == "valid" else part for part in found.parts] if held_out == "val" else found.parts
    columns = {"path": found.names, "label": found.labels, "split": parts, "hash": hashes, "problem": problems}
    table = pl.DataFrame({"id": range(len(found.names)), **columns}, schema=SCHEMA)
    table = table.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in found.beside.items())
    return SequenceSource(table, sequences, classes, held_out, (*notes, *words.alike(classes)), found.columns)


def _table(data: Any) -> Table:
    if isinstance(data, Path):
        _must_be_there(data)
        return tables.open_table(data, guess_separator=True)
    frame = data if isinstance(data, pl.DataFrame) else tables.from_pandas(data)
    if not frame.height:
        raise DataError("The table has no rows.", expected="a row a step")
    return Table(frame)


def _read_path(path: Path, *, labelled: bool, pairs: bool) -> SequenceRows:
    if path.is_dir():
        return _read_ts(_in_folder(path), labelled=labelled)
    if not path.exists() and (files := _pair(path)):  # the common stem of a pair
        return _read_ts(files, labelled=labelled)
    _must_be_there(path)
    match path.suffix.lower():
        case ".npz":
            return sequence_rows.read_npz(path, labelled=labelled)
        case ".ts":
            stem, part = _stem(path)
            files = _pair(stem) if pairs and part else []
            return _read_ts(files or [path], labelled=labelled, parted=pairs)
    raise DataError(f"{path} is a {path.suffix or 'file without suffix'}.", expected=_FORMS)


def _must_be_there(path: Path) -> None:
    if not path.exists():
        raise DataError(f"There is nothing at {path}.", expected=_FORMS, fix="Check the path.")


def _stem(path: Path) -> tuple[Path, str | None]:
    """Of NAME_TRAIN.ts: NAME and "train"; of another file, itself and None."""
    name, _, word = path.stem.rpartition("_")
    part = words.part_of(word) if name and path.suffix.lower() == ".ts" else None
    return (path.parent / name if part else path), part


def _pair(stem: Path) -> list[Path]:
    """The files of a stem, train first; none where there is no training file."""
    if not stem.parent.is_dir():
        return []
    found: dict[str, Path] = {}
    for file in sorted(stem.parent.iterdir()):
        own, part = _stem(file)
        if part and own == stem:
            found.setdefault(part, file)
    return [found[part] for part in ("train", "valid", "test") if part in found] if "train" in found else []


def _in_folder(folder: Path) -> list[Path]:
    """The one data set of a folder."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() == ".ts"]
    stems = {_stem(file)[0] for file in files}
    if not files:
        raise DataError(f"{folder} holds no .ts file.", expected=_FORMS)
    if len(stems) > 1:
        names = ", ".join(sorted(stem.name for stem in stems)[:10])
        raise DataError(f"{folder} holds {len(stems)} data sets: {names}.", fix=f"Name one, as in {sorted(stems)[0]}")
    return _pair(stems.pop()) or files


def _read_ts(files: list[Path], *, labelled: bool, parted: bool = True) -> SequenceRows:
    found = SequenceRows()
    for file in files:
        header, lines = read_ts(file)
        if labelled and header.classes is None:
            raise DataError(f"{file} has no classes (@classLabel false).", expected="@classLabel true CLASS ...")
        part = _stem(file)[1] if parted and len(files) > 1 else None
        for line in lines:
            found.add(words.printable(f"{file.name}:{line.number}"), line.values, line.label, part, line.problem)
    if len(files) > 1:
        parts = ", ".join(f"{file.name} is the {_stem(file)[1]} part" for file in files)
        found.notes.append(f"Files of one data set were found: {words.printable(parts)}.")
    return found


def _most_channels(found: SequenceRows) -> int:
    """Channels that most series have."""
    counts = Counter(values.shape[1] for values in found.values if values is not None)
    most = min((-count, channels) for channels, count in counts.items())[1] if counts else 1
    if most > _CHANNELS:
        raise DataError(
            f"The series have {most} channels.", expected=f"at most {_CHANNELS}", fix="Steps come first: (N, T, C)."
        )
    return most


def _filled(values: Values, channels: int) -> tuple[Values, int, str | None]:
    """A series with every value finite, how many were filled in, and its problem."""
    if values.shape[1] != channels:
        return values, 0, f"{values.shape[1]} channels where {channels} are expected"
    missing = ~np.isfinite(values)  # (T, C)
    steps = np.flatnonzero(~missing.all(1))
    if not len(steps):
        return values, 0, "no values" if len(values) else "no steps"
    values, missing = values[: steps[-1] + 1], missing[: steps[-1] + 1]
    if missing.all(0).any():
        return values, 0, f"channel {int(np.flatnonzero(missing.all(0))[0]) + 1} has no values"
    if np.abs(values[~missing]).max() > _LARGEST:
        return values, 0, f"a value beyond {_LARGEST:g}"
    if missing.any():
        values, places = values.copy(), np.arange(len(values))
        for channel in np.flatnonzero(missing.any(0)):
            gone = missing[:, channel]
            values[gone, channel] = np.interp(places[gone], places[~gone], values[~gone, channel])
    return values, int(missing.sum()), None


def _hash(values: Values) -> str:
    """SHA-256 of a series' shape and values."""
    plain = np.where(np.isnan(values), np.nan, values + 0.0)  # one NaN, and no negative zero
    return hashlib.sha256(repr(values.shape).encode() + np.ascontiguousarray(plain).tobytes()).hexdigest()
