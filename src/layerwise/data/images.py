"""Finding images and their labels, in whatever form they come.

- a folder with a folder per class; the same below `train/`, `val/` (or `valid/`, `validation/`) and `test/`
- a table (`.csv .tsv .parquet .jsonl`, a Polars or pandas frame) of image paths and labels, perhaps with `split`
- `.npz` with `x`, `y` or `x_train`, `y_train`, ...; a folder of idx files such as MNIST's
- in Python: `(x, y)`, or `{"train": (x, y), "val": (x, y), "test": (x, y)}`

Where a held-out part is given without a validation part (train and val, or train and test), that part is what figures
are reported on, and a validation part is later carved from train: nothing is tuned on what is reported.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from layerwise.data import arrays, folders, rows, tables
from layerwise.errors import DataError

SCHEMA = {"id": pl.UInt32, "path": pl.String, "label": pl.String, "split": pl.String, "problem": pl.String}
_NONE: Mapping[str, str] = {}
_FORMS = "a folder with a folder per class, a table of paths and labels (.csv .tsv .parquet .jsonl), .npz or idx files"


@dataclass(frozen=True)
class ImageSource:
    """Examples that were found, before any image is decoded.

    Fields:
        table: id u32 (the row number), path (printable), label or null, split "train", "valid", "test" or null (as
            given), problem or null; and what was asked for beside, each as text or null.
        root: files: what `path` is relative to.
        arrays: arrays: (N, H, W, C) uint8, row = id.
        classes: sorted (whole numbers by value), the union over the parts; an id is a place in this tuple.
        held_out: the user's name of the part that figures are reported on: "val" where only train and val were given
            (its rows then have the split "test"), else "test".
        notes: what was passed over, and what looks odd.
        files: files: the real path of each row; bytes that are no UTF-8 are surrogates, as in `os.fsdecode`.
        reading: of the notes, those on how the data were read.
        empty: names of class folders without an image.
    """

    table: pl.DataFrame
    root: Path | None
    arrays: NDArray[np.uint8] | None
    classes: tuple[str, ...]
    held_out: str
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.table.height

    def file(self, row: int) -> Path:
        """The real path of one row (only where images are files)."""
        return Path(self.files[row])


def find_images(
    data: object,
    *,
    image: str | None = None,
    label: str | None = None,
    labelled: bool = True,
    beside: Mapping[str, str] = _NONE,
) -> ImageSource:
    """Find images and their labels; nothing is decoded yet, and nothing of the user's is changed.

    Args:
        data: a path, a Polars or pandas frame, `(x, y)`, or a mapping of parts; see the head of this file.
        image, label: the columns of a table; guessed where certain.
        labelled: False takes images without labels too: a flat folder, a table of paths, an array x.
        beside: further columns of a table that the result is to have: its name for each -> the table's.

    Returns:
        a source in which every image has a row; what cannot be used has a problem.

    Raises:
        DataError: there is nothing there, no labels, no usable row, an unknown layout, or columns are asked for of data
            that have none.

    Example:
        >>> find_images((np.zeros((2, 8, 8), np.uint8), ["no", "yes"])).classes
        ('no', 'yes')
    """
    found = _find(data, image, label, labelled, beside)
    if (image or label) and not (tables.is_pandas(data) or isinstance(data, pl.DataFrame) or _is_table(data)):
        raise DataError(
            "--image and --label name columns of a table.", expected="a table as data", fix="Leave them out."
        )
    rows.require_columns(beside, found.beside)
    rows.require_usable(found.problems, _name(data))
    return _source(found)


def _find(data: object, image: str | None, label: str | None, labelled: bool, beside: Mapping[str, str]) -> rows.Rows:
    if isinstance(data, str | Path):
        return _find_path(Path(data), image, label, labelled, beside)
    if isinstance(data, pl.DataFrame) or tables.is_pandas(data):
        table = data if isinstance(data, pl.DataFrame) else tables.from_pandas(data)
        if not table.height:
            raise DataError("The table has no rows.", expected="a row for each image")
        return tables.read_rows(table, Path.cwd(), image=image, label=label, labelled=labelled, beside=beside)
    if isinstance(data, tuple | list | dict | np.ndarray | torch.Tensor):
        return arrays.from_python(data, labelled=labelled)
    raise DataError(f"The data are a {type(data).__name__}.", expected=f"{_FORMS}, a frame, or arrays (x, y)")


def _find_path(
    path: Path, image: str | None, label: str | None, labelled: bool, beside: Mapping[str, str]
) -> rows.Rows:
    path = Path(os.path.abspath(os.path.expanduser(path)))  # a later change of directory must not matter
    if path.is_dir():
        try:
            idx = arrays.idx_files(path)
        except OSError:  # told apart, with its reason, when it is listed
            idx = {}
        return arrays.read_idx_folder(idx, labelled=labelled) if idx else folders.read_folder(path, labelled=labelled)
    if not path.exists():
        raise DataError(f"There is nothing at {path}.", expected=_FORMS, fix=_near(path))
    if not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder.", expected=_FORMS)
    if _is_table(path):
        table = tables.open_table(path)
        return tables.read_rows(table, path.parent, image=image, label=label, labelled=labelled, beside=beside)
    if path.suffix.lower() == ".npz":
        return arrays.read_npz(path, labelled=labelled)
    if "idx" in path.name:
        raise DataError(f"{path} is one idx file.", expected="the folder with its images and labels")
    raise DataError(f"{path} is a {path.suffix or 'file without suffix'}.", expected=_FORMS)


def _is_table(data: object) -> bool:
    return isinstance(data, str | Path) and Path(data).suffix.lower() in tables.TABLES and not Path(data).is_dir()


def _name(data: object) -> str:
    return str(data) if isinstance(data, str | Path) else "the data"


def _near(path: Path) -> str:
    """Names in the nearest folder above that look like the one that is missing."""
    try:
        names = sorted(entry.name for entry in path.absolute().parent.iterdir())
    except OSError:
        return f"There is no folder {path.absolute().parent} either." if not path.parent.exists() else ""
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f"Near it: {', '.join(rows.printable(name) for name in close)}." if close else ""


def _source(found: rows.Rows) -> ImageSource:
    used = [label for label, problem in zip(found.labels, found.problems, strict=True) if problem is None]
    classes = rows.sort_classes(label for label in used if label is not None)
    given = set(found.parts)
    held_out = "val" if "valid" in given and "test" not in given else "test"
    parts = ["test" if part == "valid" else part for part in found.parts] if held_out == "val" else found.parts
    columns = {"path": found.names, "label": found.labels, "split": parts, "problem": found.problems}
    table = pl.DataFrame({"id": range(len(found.names)), **columns}, schema=SCHEMA)
    table = table.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in found.beside.items())
    notes = [*found.notes, *rows.alike(classes), *_untrained(table)]
    read, empty = tuple(found.notes), tuple(dict.fromkeys(found.empty))
    return ImageSource(
        table, found.root, found.arrays, classes, held_out, tuple(notes), tuple(found.files), read, empty
    )


def _untrained(table: pl.DataFrame) -> list[str]:
    """Classes that training never sees: kept, so that the figures count them as the errors they are."""
    labels = {part: set(group["label"].drop_nulls()) for (part,), group in table.group_by("split")}
    if "train" not in labels:
        return []
    missing = sorted(set[str]().union(*labels.values()) - labels["train"])
    return rows.untrained(missing, (), "image")
