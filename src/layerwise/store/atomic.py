"""Files that are whole: a reader finds the old content or the new one, never a part of either.

Each write goes to a temporary name in the same folder, is flushed to the disk, takes the final name in one step, and
the folder is flushed too. The order is the one that survives a power cut on every file system in "All File Systems Are
Not Created Equal" (Pillai et al., OSDI 2014). After a failed flush nothing is retried, as a second flush may report
success for data that is lost (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).

Every file-system call of this folder goes through the name `os` of this module, so that a test can make any one fail.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from layerwise.errors import StoreError
from layerwise.store import strict_json

TEMPORARY = ".layerwise-"
"""How the name of a file begins that is not whole yet."""

_CHUNK = 1 << 26  # bytes per call: some systems refuse more than 2 GiB at once
_FREE = "Free some space, or choose another folder."
_REASONS = {
    errno.ENOSPC: ("the disk is full", _FREE),
    errno.EDQUOT: ("your disk quota is used up", _FREE),
    errno.EROFS: ("the disk is mounted read-only", "Choose a folder on a disk that can be written."),
    errno.EACCES: ("permission was denied", "Check the permissions of the folder, or choose another one."),
    errno.EPERM: ("permission was denied", "Check the permissions of the folder, or choose another one."),
    errno.EIO: ("the disk reported a fault (input/output error)", "Check the disk, or choose a folder on another one."),
    errno.ENOENT: ("it does not exist", "Check the path."),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", "Check the path."),
    errno.EEXIST: ("a file has that name", "Choose another name, or move the file away."),
    errno.EISDIR: ("it is a folder", "Check the path."),
    errno.ENAMETOOLONG: ("its name is too long", "Choose a shorter name."),
}
# What a spreadsheet takes for a formula, blanks in front of it included (OWASP, "CSV Injection").
_FORMULA = r"^\s*[=+\-@＝＋－＠]|^[\t\r\n]"


@contextlib.contextmanager
def disk(path: Path, doing: str) -> Iterator[None]:
    """Turn what the file system refuses within the block into a StoreError that says path, reason and mend."""
    try:
        yield
    except OSError as error:
        reason, fix = _REASONS.get(error.errno or 0, (error.strerror or str(error), "Check the path and the disk."))
        raise StoreError(f"{path} could not be {doing}: {reason}.", fix=fix) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Make `data` the content of `path`, or leave `path` as it was.

    Raises:
        StoreError: the disk refused. `path` holds its old content, or, where only the last flush of the folder was
            refused, the whole new one.

    Example:
        >>> import tempfile
        >>> write_bytes(Path(tempfile.mkdtemp()) / "a.bin", b"abc")
    """
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
    with disk(path, "written"):
        try:
            _fill(temporary, data)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        flush_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text in UTF-8, its line ends kept; lone surrogates become their `\\udcXX` escapes."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of a value as indented JSON; NaN and infinities become null.

    Example:
        >>> import tempfile
        >>> write_json(Path(tempfile.mkdtemp()) / "metrics.json", {"accuracy": 0.9})
    """
    write_bytes(path, strict_json.dumps(value, indent=2) + b"\n")


def write_csv(path: Path, table: pl.DataFrame) -> None:
    """`write_bytes` of a table as `csv_bytes` gives it."""
    write_bytes(path, csv_bytes(table))


def csv_bytes(table: pl.DataFrame) -> bytes:
    """A table as CSV; text that a spreadsheet would run as a formula gets a leading apostrophe.

    Numbers are untouched: -1.5 stays -1.5. Column names are text too.

    Example:
        >>> csv_bytes(pl.DataFrame({"label": ["=1+1"], "loss": [-1.5]}))
        b"label,loss\\n'=1+1,-1.5\\n"
    """
    words = table.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
    marked = (
        pl.when(pl.col(pl.String).str.contains(_FORMULA)).then("'" + pl.col(pl.String)).otherwise(pl.col(pl.String))
    )
    safe = words.with_columns(marked.name.keep())
    names = pl.Series(safe.columns, dtype=pl.String)
    risky = names.str.contains(_FORMULA)
    safe.columns = [f"'{name}" if run else name for name, run in zip(names, risky, strict=True)]
    return safe.write_csv().encode("utf-8")


def read_bytes(path: Path, limit: int | None = None, *, first: int = -1) -> bytes:
    """The content of a regular file, or its `first` bytes.

    Raises:
        StoreError: it cannot be read, is no regular file, or is larger than `limit` bytes (seen before it is read).
    """
    with disk(path, "read"):
        facts = os.stat(path)  # before opening: to open a pipe would wait for ever
        if stat.S_ISDIR(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not stat.S_ISREG(facts.st_mode):
            raise StoreError(f"{path} is not a regular file.", expected="a file on a disk", fix="Check the path.")
        if limit is not None and facts.st_size > limit:
            raise StoreError(f"{path} is too large ({facts.st_size:,} bytes).", expected=f"at most {limit:,} bytes")
        with os.fdopen(_open(path, os.O_RDONLY), "rb") as file:
            return file.read(first)


def read_json(path: Path, depth: int = strict_json.MAX_DEPTH) -> Any:
    """Read a JSON file; duplicate keys, NaN, infinities and deep nests are refused.

    Raises:
        StoreError: it cannot be read, or is not acceptable JSON.
    """
    try:
        return strict_json.parse(read_bytes(path), depth)
    except ValueError as error:
        raise StoreError(f"{path} cannot be used: {error}.", fix="Restore the file, or make it anew.") from None


def digest(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 (hexadecimal) of a file, read in pieces.

    Raises:
        StoreError: it cannot be read.
    """
    with disk(path, "read"), os.fdopen(_open(path, os.O_RDONLY), "rb") as file:
        seen = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), seen


def size(path: Path) -> int | None:
    """Size of a file in bytes; None where there is none.

    Raises:
        StoreError: the disk refused to say.
    """
    with disk(path, "read"):
        try:
            return int(os.stat(path).st_size)
        except FileNotFoundError:
            return None


def names(folder: Path) -> list[str]:
    """Names in a folder, sorted; none where there is no folder.

    Raises:
        StoreError: the folder cannot be read.
    """
    with disk(folder, "read"):
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        StoreError: the disk refused, or a file has that name.
    """
    with disk(folder, "made"):
        missing = [level for level in (folder, *folder.parents) if not os.path.isdir(level)]
        for level in reversed(missing):
            os.mkdir(level)
            flush_folder(level.parent)


def remove(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        StoreError: the disk refused.
    """
    with disk(path, "removed"), contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_leftovers(folder: Path) -> None:
    """Remove what writes that were cut off have left; nobody else may be writing to the folder.

    Raises:
        StoreError: the disk refused.
    """
    for name in names(folder):
        if name.startswith(TEMPORARY) and name.endswith(".tmp"):
            remove(folder / name)


def append(path: Path, data: bytes) -> None:
    """Add bytes to the end of a file and flush them; what a full disk let through in part is taken back.

    Raises:
        StoreError: the disk refused; the file is as long as before, unless the disk refused that too.
    """
    with disk(path, "written"):
        handle = _open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            before = os.fstat(handle).st_size
            try:
                _write_all(handle, data)
                os.fsync(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, before)
                raise
        finally:
            os.close(handle)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder; the OSError of the disk goes through."""
    if os.name == "nt":  # Windows has no handle for a folder, and renames through its own journal
        return
    handle = _open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network and user-space file systems know no flush of a folder; there is nothing better to do there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _fill(path: Path, data: bytes) -> None:
    handle = _open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        _write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left[:_CHUNK]) :]


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0), 0o666)
