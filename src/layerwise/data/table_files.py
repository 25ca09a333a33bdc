"""Tables of train, valid and test, found by the names of their files: `train.csv`, `questions-test.csv`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from layerwise.data import rows, tables
from layerwise.data.delimited import Table
from layerwise.errors import DataError

FORMS = "a table of texts and labels (.csv .tsv .parquet .jsonl), or a folder with one, or with train and test tables"
_WORDS = "|".join(rows.PARTS)
_NAME = re.compile(rf"(?:(?P<before>.+)[-_. ])?(?P<part>{_WORDS})(?:[-_. ](?P<behind>.+))?", re.IGNORECASE)
Parts = dict[str | None, Table]


def read_path(path: Path, pairs: bool, notes: list[str]) -> Parts:
    """Part -> table of a path; the part None means that nothing was given.

    Args:
        path: a table, a folder, or what the names of a train and a test table share.
        pairs: whether a table called after one part brings the others of its name with it.
        notes: what was found is added to them.

    Raises:
        DataError: there is nothing there, it is not clear what is meant, or a table cannot be read.
    """
    if path.is_dir():
        return _read_folder(path, notes)
    if not path.exists():
        if pairs and named_alike(path):
            return _read_parts(_files_of(path.parent, (path.name.casefold(), "")), notes)
        raise DataError(f"There is nothing at {rows.printable(str(path))}.", expected=FORMS, fix=_near(path))
    if not path.is_file():
        raise DataError(f"{rows.printable(str(path))} is neither a file nor a folder.", expected=FORMS)
    table = open_file(path)
    told = _told(path)
    if not pairs or told is None or tables.guesses(table.frame, ("split",)):
        return {None: table}
    files = _files_of(path.parent, told[0], path.suffix)
    if len(files) < 2 or "train" not in files or path not in files.values():
        return {None: table}
    return _read_parts(files, notes)


def named_alike(path: Path) -> list[Path]:
    """The tables of train, valid and test whose names begin with that of `path`; none without one of train.

    So `data/questions` stands for `data/questions-train.csv` and `data/questions-test.csv`.
    """
    files = _files_of(path.parent, (path.name.casefold(), ""))
    return list(files.values()) if "train" in files else []


def open_file(path: Path) -> Table:
    """One table, with whatever separator it has.

    Raises:
        DataError: it is not there, is no table, or cannot be read.
    """
    if path.suffix.lower() not in tables.TABLES:
        raise DataError(
            f"{rows.printable(str(path))} is a {path.suffix or 'file without suffix'}.",
            expected=FORMS,
            fix="Save it as CSV in UTF-8, with a line of column names such as text,label.",
        )
    if not path.is_file():
        raise DataError(f"There is nothing at {rows.printable(str(path))}.", expected=FORMS, fix=_near(path))
    return tables.open_table(path, guess_separator=True)


def _read_folder(folder: Path, notes: list[str]) -> Parts:
    """The one table of a folder, or those of train, valid and test."""
    files = _tables_in(folder)
    names = ", ".join(rows.printable(file.name) for file in files[:10])
    if not files:
        raise DataError(f"{rows.printable(str(folder))} holds no table.", expected=FORMS)
    if len(files) == 1:
        return {None: open_file(files[0])}
    keys = {told[0] for file in files if (told := _told(file))}
    groups = {key: group for key in keys if "train" in (group := _files_of(folder, key)) and len(group) > 1}
    if len(groups) == 1:
        key, group = next(iter(groups.items()))
        others = [rows.printable(file.name) for file in files if file not in group.values()]
        if not others or key == (
            "",
            "",
        ):  # train.csv and test.csv are the folder's own; questions-train.csv is one of it
            if others:
                notes.append(f"Other tables of the folder were passed over: {', '.join(others[:5])}.")
            return _read_parts(group, notes)
    raise DataError(
        f"{rows.printable(str(folder))} holds {len(files)} tables ({names}{', ...' if len(files) > 10 else ''}).",
        expected="one table, or tables of train and test",
        fix="Give the path of the one that is meant.",
    )


def _read_parts(files: Mapping[str, Path], notes: list[str]) -> Parts:
    notes.append(
        f"{len(files)} tables were read: "
        + ", ".join(
            f"{rows.printable(files[part].name)} as {part}" for part in ("train", "valid", "test") if part in files
        )
        + "."
    )
    return {part: open_file(file) for part, file in files.items()}


_Key = tuple[str, str]


def _told(path: Path) -> tuple[_Key, str] | None:
    """What a name says beside its part, and the part: `questions-train.csv` gives ("questions", "") and train."""
    found = _NAME.fullmatch(path.stem)
    if found is None:
        return None
    return ((found["before"] or "").casefold(), (found["behind"] or "").casefold()), rows.PARTS[
        found["part"].casefold()
    ]


def _files_of(folder: Path, key: _Key, suffix: str = "") -> dict[str, Path]:
    """Part -> file of the tables whose names say the same but for their part; none where two say the same part."""
    parts: dict[str, Path] = {}
    for file in _tables_in(folder):
        told = _told(file)
        if told is None or told[0] != key or (suffix and file.suffix != suffix):
            continue
        if told[1] in parts:
            return {}
        parts[told[1]] = file
    return parts


def _tables_in(folder: Path) -> list[Path]:
    try:
        files = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        file
        for file in files
        if file.suffix.lower() in tables.TABLES and not file.name.startswith(".") and file.is_file()
    ]


def _near(path: Path) -> str:
    names = [file.name for file in _tables_in(path.parent)]
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f"Near it: {', '.join(map(rows.printable, close))}." if close else ""
