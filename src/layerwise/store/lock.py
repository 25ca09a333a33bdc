"""One process a run folder."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from layerwise.errors import StoreError
from layerwise.store import atomic

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)

if sys.platform == "win32":
    import msvcrt

    # Beyond the text, as Windows lets nobody read a locked byte.
    _BYTE = 1 << 20

    def _take(handle: int) -> None:
        os.lseek(handle, _BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock file `path` within the block.

    The lock belongs to the open file, not to the file's being there: it ends with the process, however that ends, and
    a lock file that was left over stops nobody. The file is not deleted, as another process may just be opening it.

    Raises:
        StoreError: another process holds it (its number is named), or the disk refused.
    """
    with atomic.disk(path, "opened"):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        try:
            _take(handle)
        except OSError as error:
            # A file system without locks (some network drives) must not make training impossible.
            if error.errno not in _NO_LOCKS:
                raise _refused(path, handle) from None
        with atomic.disk(path, "written"):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode("ascii"))
        yield
    finally:
        os.close(handle)


def _refused(path: Path, handle: int) -> StoreError:
    try:
        holder = int(os.read(handle, 20))
    except (OSError, ValueError):
        holder = 0
    who = f"process {holder}" if holder else "another process"
    return StoreError(
        f"{path.parent} is in use by {who}.",
        expected="one process a run folder",
        fix="Wait until it ends or stop it, or choose another folder.",
    )
