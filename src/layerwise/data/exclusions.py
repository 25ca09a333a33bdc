"""Examples that a person leaves out: the list that `layerwise inspect --exclude FILE` writes, and `data.exclude` reads.

Nothing is deleted. An example on the list keeps its row with a problem, so that it is in `examples.parquet` and takes
part in nothing.
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from layerwise.data.files import read_file
from layerwise.data.rows import printable
from layerwise.data.tables import TABLES, open_table, texts_of
from layerwise.errors import BadImage, DataError, nearest

_LEFT_OUT = "left out"
_FIRST = 3  # rows that an error names
_FORM = "the file that layerwise inspect DATA --exclude FILE writes, or a table with a column path"
_ANEW = "Write the list anew: layerwise inspect DATA --exclude FILE"


def exclude(
    table: pl.DataFrame, file: str | Path | None, *, what: str = "images"
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table with a problem for each row that a list names, and a note that counts them.

    Args:
        table: columns path, hash and problem; one row an example.
        file: a table with the columns path and, where they are known, hash and reason; or a text file whose first line
            is "path", with a path in each line below. None leaves nothing out.
        what: what people call the examples, in the plural.

    Raises:
        DataError: there is no such file, it has no column path, it names what is not in the data, or an example is no
            longer what it was when the list was written.

    Example:
        >>> table = pl.DataFrame({"path": ["a", "b"], "hash": ["1", "2"], "problem": [None, None]})
        >>> exclude(table, None)[0]["problem"].to_list()
        [None, None]
    """
    if file is None:
        return table, ()
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(table["path"].to_list()):
        rows.setdefault(path, []).append(row)
    hashes, problems = table["hash"].to_list(), table["problem"].cast(pl.String).to_list()
    unknown, changed = [], []
    left: set[int] = set()
    for path, content, reason in _listed(Path(file)):
        known = next((each for each in _forms(path) if each in rows), None)
        if known is None:
            unknown.append(path)
            continue
        for row in rows[known]:
            if content and hashes[row] and content != hashes[row]:
                changed.append(path)
            problems[row] = f"{_LEFT_OUT}: {reason} (data.exclude)" if reason else f"{_LEFT_OUT} (data.exclude)"
            left.add(row)
    _refuse(unknown, changed, list(rows), file, what)
    one = "is" if len(left) == 1 else "are"
    note = f"{_some(len(left), what)} {one} left out by {printable(str(file))} (data.exclude)."
    return table.with_columns(pl.Series("problem", problems, dtype=pl.String)), (note,) if left else ()


def left_out() -> pl.Expr:
    """Whether a row's problem is that a person left it out; false where it has none.

    Example:
        >>> table = pl.DataFrame({"problem": ["left out (data.exclude)", "empty", None]})
        >>> table.filter(left_out()).height
        1
    """
    return pl.col("problem").str.starts_with(_LEFT_OUT).fill_null(False)


def classes_left(classes: Sequence[str], table: pl.DataFrame) -> tuple[str, ...]:
    """The classes without those all of whose examples were left out.

    Example:
        >>> table = pl.DataFrame({"label": ["a", "b"], "problem": ["left out (data.exclude)", None]})
        >>> classes_left(("a", "b"), table)
        ('b',)
    """
    gone = set(table.filter(left_out())["label"]) - set(table.filter(~left_out())["label"])
    return tuple(name for name in classes if name not in gone)


def _listed(file: Path) -> Iterator[tuple[str, str, str]]:
    """Path, hash and reason of each row; the last two are empty where they are not given."""
    if not file.exists():
        raise DataError(f"data.exclude names {printable(str(file))}, and there is no such file.", fix=_near(file))
    if file.suffix.lower() not in TABLES:
        yield from ((path, "", "") for path in _lines(file))
        return
    if file.suffix.lower() == ".csv" and _only_header(file):  # nothing was found that can be left out
        return
    opened = open_table(file)
    if opened.problems:
        row = min(opened.problems)
        raise DataError(f"{opened.name(row)} cannot be read: {opened.problems[row]}.", expected=_FORM, fix=_ANEW)
    columns = {name.strip().casefold(): name for name in opened.frame.columns}
    if "path" not in columns:
        known = ", ".join(f'"{name}"' for name in opened.frame.columns[:10])
        hint = nearest("path", columns)
        raise DataError(f"{printable(str(file))} has the columns {known}.", expected=_FORM, fix=hint)
    empty = [None] * opened.frame.height
    paths, hashes, reasons = (
        texts_of(opened.frame, columns[name]) if name in columns else empty for name in ("path", "hash", "reason")
    )
    for path, content, reason in zip(paths, hashes, reasons, strict=True):
        if path:
            yield path, content or "", (reason or "").strip()


def _only_header(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(100).strip() == b"path,hash,reason"


def _lines(file: Path) -> list[str]:
    """Paths of a text file, a line each, below the word path."""
    try:
        lines = [line.strip() for line in read_file(file).decode("utf-8-sig").splitlines()]
    except (BadImage, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{printable(str(file))} cannot be read: {error}.", expected=_FORM) from None
    if not lines or lines[0].casefold() != "path":
        came = f'begins with "{lines[0][:60]}"' if lines else "is empty"
        raise DataError(
            f"{printable(str(file))} {came}.", expected='"path" in its first line, and a path in each other'
        )
    return [line for line in lines[1:] if line]


def _forms(path: str) -> Iterable[str]:
    """A path as it may stand in the data: as it is; without what spreadsheets need; with plain slashes."""
    yield path
    if path.startswith("'"):
        yield path[1:]
    yield posixpath.normpath(path.replace("\\", "/"))


def _refuse(unknown: list[str], changed: list[str], paths: list[str], file: str | Path, what: str) -> None:
    if unknown:
        close = difflib.get_close_matches(unknown[0], paths, n=1, cutoff=0.6)
        raise DataError(
            f"{printable(str(file))} names {_some(len(unknown), what)} that the data do not have ({_names(unknown)}).",
            expected="paths as they stand in examples.parquet and in what inspect says",
            fix=f"{f'Near it: {close[0]}. ' if close else ''}{_ANEW}",
        )
    if changed:
        one = "is" if len(changed) == 1 else "are"
        raise DataError(
            f"{_some(len(changed), what)} of {printable(str(file))} {one} not what they were when it was written "
            f"({_names(changed)}).",
            expected="the same content, by its hash",
            fix=_ANEW,
        )


def _some(count: int, what: str) -> str:
    one = what if what == "series" else what.removesuffix("s")
    return f"1 {one}" if count == 1 else f"{count:,} {what}"


def _names(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_FIRST]) + (", ..." if len(paths) > _FIRST else "")


def _near(file: Path) -> str:
    """The name in its folder that looks most like one that is missing."""
    if not file.parent.is_dir():
        return f"There is no folder {printable(str(file.parent))} either."
    names = [printable(each.name) for each in file.parent.iterdir()]
    close = difflib.get_close_matches(file.name, names, n=1, cutoff=0.5)
    return f"Near it: {close[0]}." if close else _ANEW
