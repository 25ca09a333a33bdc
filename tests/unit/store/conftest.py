"""A disk that fails on the n-th call, as a full disk, a faulty one, or a process that is killed there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from layerwise.store import atomic

COUNTED = ("open", "write", "fsync", "close", "replace", "unlink", "mkdir", "listdir", "stat", "fstat", "ftruncate")


class Killed(BaseException):
    """The process ends at this call: nothing after it happens."""


class FaultyDisk:
    """Stands in for the module `os`: call number `at` fails, with an error of the disk or as by kill -9.

    `full` makes every write fail, as on a disk that stays full.
    """

    def __init__(self, at: int = -1, *, error: int | None = None, torn: bool = False, full: bool = False) -> None:
        self.at, self.error, self.torn, self.full = at, error, torn, full
        self.calls: list[str] = []
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(name, real) if name in COUNTED else real

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                if name == "close":  # the kernel closes what a dead process held
                    return real(*args, **kwargs)
                raise Killed
            self.calls.append(name)
            if self.full and name == "write":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if len(self.calls) - 1 != self.at:
                return real(*args, **kwargs)
            if name == "close":
                real(*args)
            if name == "write" and self.torn:
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
            self.dead = True
            raise Killed

        return call


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """`faulty.disk(at, ...)` puts a faulty disk in place and returns it; `faulty.mend()` takes it away."""

    def disk(at: int = -1, *, error: int | None = None, torn: bool = False, full: bool = False) -> FaultyDisk:
        made = FaultyDisk(at, error=error, torn=torn, full=full)
        monkeypatch.setattr(atomic, "os", made)
        return made

    def mend() -> None:
        monkeypatch.setattr(atomic, "os", os)

    errors = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EACCES)
    yield SimpleNamespace(disk=disk, mend=mend, errors=errors, Killed=Killed)
    mend()
