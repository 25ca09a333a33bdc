"""Rows of numbers that are needed again, but never all at once: on disk, so that memory does not grow with the data."""

from __future__ import annotations

import os
import tempfile
from types import TracebackType

import numpy as np
import torch
from numpy.typing import DTypeLike

from layerwise.data.cache import default_cache
from layerwise.errors import StoreError

_HELD = 2**22  # bytes, up to which there is no file


class ScratchRows:
    """Rows of one shape and type, in several forms, that are written once and read in blocks.

    Little stays in memory; more goes into a file without a name, of which nothing is left however the process ends. The
    file lies on the disk of the cache where there is one, as a system's temporary folder may be kept in memory.

    Args:
        forms: of each row.
        count: of rows, at most.
        shape: of one row.
        dtype: of its numbers.

    Example:
        >>> with ScratchRows(forms=2, count=9, shape=(3,), dtype=np.float32) as kept:
        ...     kept.write(1, 4, torch.ones(2, 3))
        ...     kept.read(1, 4, 6).sum().item()
        6.0
    """

    def __init__(self, *, forms: int, count: int, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.forms, self.shape = forms, shape
        self._count, self._dtype = count, np.dtype(dtype)
        self._bytes = int(np.prod(shape)) * self._dtype.itemsize
        self._file = tempfile.SpooledTemporaryFile(max_size=_HELD, dir=_folder())  # noqa: SIM115

    def __enter__(self) -> ScratchRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, form: int, start: int, values: torch.Tensor) -> None:
        """Puts `values` (B, *shape) at the rows from `start` on.

        Raises:
            StoreError: the disk refused.
        """
        assert values.shape[1:] == self.shape and start + len(values) <= self._count
        content = np.ascontiguousarray(values.numpy(), self._dtype)
        try:
            self._file.seek((form * self._count + start) * self._bytes)
            self._file.write(content.data)
            self._file.flush()  # so that a full disk is told here
        except OSError as error:
            raise _refused(error) from error

    def read(self, form: int, start: int, stop: int) -> torch.Tensor:
        """The rows from `start` to before `stop`, which were written: (stop - start, *shape).

        Raises:
            StoreError: the disk refused.
        """
        values = np.empty((stop - start, *self.shape), self._dtype)
        try:
            self._file.seek((form * self._count + start) * self._bytes)
            got = self._file.readinto(values.reshape(-1).view(np.uint8).data)
        except OSError as error:
            raise _refused(error) from error
        assert got == values.nbytes
        return torch.from_numpy(values)


def _folder() -> str | None:
    """Where files go; None for the system's temporary folder."""
    folder = default_cache()
    return str(folder) if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) else None


def _refused(error: OSError) -> StoreError:
    folder = _folder() or tempfile.gettempdir()
    return StoreError(
        f"A temporary file cannot be kept in {folder}: {error.strerror or error}.",
        expected="a folder that can be written, with room",
        fix="Set LAYERWISE_CACHE to such a folder.",
    )
