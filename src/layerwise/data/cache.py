"""Folders of derived files on disk that any process may read, write and clear away at the same time.

An entry is a folder with a file `lock` in it. Whoever writes or uses the entry holds a shared `flock` on that file; the
kernel drops it when the process ends, however it ends. Entries are written under another name and renamed when they are
complete. Only an entry that nobody holds is ever removed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from layerwise.errors import StoreError

CACHE_BYTES = 20_000_000_000  # of all entries in one folder; the least recently used go first
_GRACE = 60.0  # seconds that an unfinished folder is left alone: its writer may not hold its lock yet
_UNFINISHED, _DOOMED = "tmp-", "old-"
_LEFT = re.compile(
    rf"{_UNFINISHED}.{{0,16}}-[0-9a-f]{{8}}|{_DOOMED}[0-9a-f]{{16}}"
)  # names of leftovers, and no others


def default_cache() -> Path:
    """Where derived files live: $LAYERWISE_CACHE, else $XDG_CACHE_HOME/layerwise, else ~/.cache/layerwise."""
    if chosen := os.environ.get("LAYERWISE_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "layerwise"


def claim(entry: Path) -> int | None:
    """Hold an entry so that nobody removes it, and mark it as just used.

    Returns:
        a file descriptor to close when done, or None where there is no such entry.
    """
    try:
        held = os.open(entry / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        if _lock(held, shared=True) and os.path.samestat(os.fstat(held), os.stat(entry / "lock")):
            _touch(entry / "lock")
            return held
    except OSError:  # it was removed between opening and locking
        pass
    os.close(held)
    return None


def write_entry(entry: Path, size: int, fill: Callable[[Path], bool]) -> tuple[Path, int]:
    """Write an entry: make room, have `fill` write into a folder of another name, rename, and hold the result.

    Args:
        entry: the folder to be; where another process finishes it first, that one is kept.
        size: bytes that it will take.
        fill: writes the files, flushes them to disk, and says whether they may serve again; where not, the entry gets
            a name that nobody looks for.

    Returns:
        the folder, and a file descriptor as of `claim`.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    root = entry.parent
    unfinished = root / f"{_UNFINISHED}{entry.name[:16]}-{secrets.token_hex(4)}"
    held = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        tidy(root, size)
        if (free := shutil.disk_usage(root).free) < size:
            raise _full(root, f"{size / 1e9:,.2f} GB are needed and {free / 1e9:,.2f} GB are free")
        unfinished.mkdir()
        held = os.open(unfinished / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        _lock(held, shared=True)
        entry = entry if fill(unfinished) else root / f"once-{secrets.token_hex(8)}"
        return entry, _publish(unfinished, entry, held)
    except BaseException as error:
        if held is not None:
            os.close(held)
        if isinstance(error, OSError):
            raise _full(root, error.strerror or str(error)) from error
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # nothing is left there once it was renamed


def _publish(unfinished: Path, entry: Path, held: int) -> int:
    try:
        os.rename(unfinished, entry)
    except OSError:
        other = claim(entry)
        if other is None:
            raise
        os.close(held)
        return other
    if sys.platform != "win32":  # make the new name itself last
        folder = os.open(entry.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    return held


def tidy(root: Path, need: int = 0, cap: int = CACHE_BYTES) -> int:
    """Remove what killed processes left, then the least recently used entries until `need` more bytes fit the cap.

    A folder without a lock is no entry: somebody else put it there, and it stays.

    Returns:
        the bytes that were freed.
    """
    entries: list[tuple[float, int, Path]] = []
    freed = 0
    for folder in list(root.iterdir()):
        if _LEFT.fullmatch(folder.name):
            size = _size(folder)
            if time.time() - _age(folder) > _GRACE:
                freed += size if remove(folder) else 0
        elif (folder / "lock").is_file():
            entries.append((_age(folder / "lock"), _size(folder), folder))
    total = sum(size for _, size, _ in entries)
    for _, size, folder in sorted(entries):
        if total + need <= cap:
            break
        if remove(folder):
            total, freed = total - size, freed + size
    return freed


def clear(root: Path) -> int:
    """Remove every entry that nobody holds; return the bytes that were freed.

    Example:
        >>> clear(Path("no such folder"))
        0
    """
    return tidy(root, need=1, cap=0) if root.is_dir() else 0


def remove(entry: Path) -> bool:
    """Remove an entry that nobody holds; say whether it is gone."""
    try:
        held = os.open(entry / "lock", os.O_RDONLY)
    except OSError:
        held = None
    try:
        if held is not None and not _lock(held, shared=False):
            return False
        doomed = entry.with_name(f"{_DOOMED}{secrets.token_hex(8)}")
        os.rename(entry, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        return True
    except OSError:  # gone already, or still mapped (Windows)
        return not entry.exists()
    finally:
        if held is not None:
            os.close(held)


def _lock(held: int, *, shared: bool) -> bool:
    if sys.platform == "win32":
        return True  # there a file that is in use cannot be renamed away
    import fcntl

    try:
        fcntl.flock(held, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:  # a cache that may only be read
        return


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def folder_bytes(root: Path) -> int:
    """Bytes of all entries in a folder; 0 where there is none."""
    return sum(map(_size, root.iterdir())) if root.is_dir() else 0


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except OSError:
        return 0


def _full(root: Path, reason: str) -> StoreError:
    return StoreError(
        f"Derived files cannot be kept in {root}: {reason}.",
        expected="a folder that can be written, with room",
        fix="Set LAYERWISE_CACHE to such a folder.",
    )
