"""The pixel store: every image decoded once, kept as uint8 in one mapped file, read by index.

The file is named by the hashes of the images and by what was made of them, so that other data, another size or another
release of Pillow never meet old pixels, and the same data anywhere find theirs.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from layerwise.data.cache import claim, default_cache, remove, write_entry
from layerwise.data.decode import OUT_OF_MEMORY, Pixels, Preprocess, decode, from_array
from layerwise.data.files import hash_file, read_file
from layerwise.data.images import ImageSource
from layerwise.data.rows import require_usable
from layerwise.data.workers import spread
from layerwise.errors import BadImage, DataError

__all__ = ["PixelStore", "build_pixels", "decode_batch", "default_cache"]

FORMAT = 1  # of the files below; raise it when decoding changes any pixel
RELEASE_BYTES = 2**24  # read from the map before its pages are handed back
_CHANGED = "it changed while it was read"


class PixelStore:
    """Decoded images by row.

    Attributes:
        shape: (N, H, W, C) of uint8.
        problems: row -> reason, for rows that hold no image (their pixels are zero).
        notes: row -> what was left out on the way, such as "first frame of 12".
        hashes: SHA-256 of each file's bytes (of each array's shape and bytes); "" where it could not be read.
    """

    def __init__(
        self, rows: Pixels, hashes: list[str], problems: dict[int, str], notes: dict[int, tuple[str, ...]]
    ) -> None:
        self.shape: tuple[int, int, int, int] = (rows.shape[0], rows.shape[1], rows.shape[2], rows.shape[3])
        self.hashes, self.problems, self.notes = hashes, problems, notes
        self._rows = rows
        self._map: mmap.mmap | None = None
        self._touched = 0

    @classmethod
    def mapped(cls, folder: Path, shape: tuple[int, int, int, int], hashes: list[str], held: int) -> PixelStore:
        """Open the store in `folder`; the entry is held until the store is gone.

        Raises:
            ValueError, OSError: the files are not complete.
        """
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        with open(folder / "pixels.u8", "rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        rows = np.frombuffer(pages, np.uint8).reshape(shape)  # a file of another length does not fit: ValueError
        problems = {int(row): str(reason) for row, reason in facts["problems"].items()}
        notes = {int(row): tuple(texts) for row, texts in facts["notes"].items()}
        store = cls(rows, hashes, problems, notes)
        store._map = pages
        weakref.finalize(store, os.close, held)
        return store

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, ids: NDArray[Any]) -> torch.Tensor:
        """Gather rows into a fresh tensor; resident memory stays flat however much is read.

        Args:
            ids: (B,) integers in 0..N-1.

        Returns:
            (B, H, W, C) uint8.

        Example:
            >>> store = PixelStore(np.zeros((3, 2, 2, 1), np.uint8), [], {}, {})
            >>> store.read(np.array([2, 0])).shape
            torch.Size([2, 2, 2, 1])
        """
        batch = np.take(self._rows, ids, axis=0)  # (B, H, W, C)
        if self._map is not None:
            self._touched += batch.nbytes
            if self._touched >= RELEASE_BYTES:
                self._touched = 0
                _release(self._map)
        return torch.from_numpy(batch)


def _release(pages: mmap.mmap) -> None:
    """Take the pages out of this process; they stay in the system's file cache as long as there is room."""
    if sys.platform != "win32":
        pages.madvise(mmap.MADV_DONTNEED)


def build_pixels(
    source: ImageSource, preprocess: Preprocess, *, cache: Path, advance: Callable[[int], None]
) -> PixelStore:
    """Decode all images of a source once, or find them decoded.

    Arrays that have the asked size and channels are used as they are, with nothing written.

    Args:
        source: as of `find_images`.
        preprocess: what to make of each image (mean and std do not count here).
        cache: a folder such as `default_cache()`; the store goes below `pixels/` in it.
        advance: called with the number of images just done; the numbers add up to `len(source)`.

    Returns:
        a store of shape (N, height, width, channels); rows with a problem of the source have it here too.

    Raises:
        DataError: no image at all can be used (with the reasons counted).
        StoreError: the cache cannot be written, or the disk is full.
    """
    shape = (len(source), preprocess.height, preprocess.width, preprocess.channels)
    problems = {row: str(text) for row, text in enumerate(source.table["problem"].to_list()) if text is not None}
    hashes = _hashes(source, problems)
    if source.arrays is not None and source.arrays.shape == shape:
        advance(len(source))
        return PixelStore(source.arrays, hashes, problems, {})
    _require_some(source, problems)
    entry = cache.expanduser() / "pixels" / _key(hashes, shape, preprocess)
    store = _open(entry, shape, hashes)
    if store is None:
        store = _build(source, preprocess, entry, shape, hashes, advance)
    else:
        advance(len(source))
    store.problems = dict(sorted({**store.problems, **problems}.items()))
    _require_some(source, store.problems)
    return store


def _require_some(source: ImageSource, problems: dict[int, str]) -> None:
    if len(problems) >= len(source):
        require_usable(problems.values(), str(source.root or "the data"))


def _hashes(source: ImageSource, problems: dict[int, str]) -> list[str]:
    """A hash for each row, and new problems where a file cannot be read."""
    if source.arrays is not None:
        arrays = source.arrays
        shape = str(arrays.shape[1:]).encode()
        return [hashlib.sha256(shape + arrays[row].tobytes()).hexdigest() for row in range(len(source))]

    def one(row: int) -> tuple[str, str | None]:
        try:
            return hash_file(source.files[row]), None
        except BadImage as error:
            return "", str(error)

    hashes = [""] * len(source)
    rows = [row for row in range(len(source)) if row not in problems]
    for row, (found, problem) in zip(rows, spread(one, rows), strict=True):
        hashes[row] = found
        if problem is not None:
            problems[row] = problem
    return hashes


def _key(hashes: list[str], shape: tuple[int, ...], preprocess: Preprocess) -> str:
    made = preprocess.model_dump(mode="json", exclude={"mean", "std"})
    head = json.dumps([FORMAT, PIL.__version__, shape, made], sort_keys=True)
    return hashlib.sha256("\n".join([head, *hashes]).encode()).hexdigest()


def _open(entry: Path, shape: tuple[int, int, int, int], hashes: list[str]) -> PixelStore | None:
    held = claim(entry)
    if held is None:
        return None
    try:
        return PixelStore.mapped(entry, shape, hashes, held)
    except (OSError, ValueError, KeyError, AttributeError):  # damaged from outside: decode again
        os.close(held)
        remove(entry)
        return None


def _build(
    source: ImageSource,
    preprocess: Preprocess,
    entry: Path,
    shape: tuple[int, int, int, int],
    hashes: list[str],
    advance: Callable[[int], None],
) -> PixelStore:
    row_bytes = shape[1] * shape[2] * shape[3]
    facts: dict[str, dict[int, Any]] = {"problems": {}, "notes": {}}

    def fill(folder: Path) -> bool:
        with open(folder / "pixels.u8", "wb") as file:
            file.truncate(len(source) * row_bytes)  # rows that nobody writes are zero

            def one(row: int) -> tuple[str | None, tuple[str, ...]]:
                if not hashes[row]:
                    return None, ()
                try:
                    pixels, notes = _one(source, row, preprocess, hashes[row])
                except BadImage as error:
                    return str(error), ()
                _write_at(file.fileno(), np.ascontiguousarray(pixels), row * row_bytes)
                return None, notes

            for row, (problem, notes) in enumerate(spread(one, range(len(source)), advance)):
                if problem is not None:
                    facts["problems"][row] = problem
                elif notes:
                    facts["notes"][row] = notes
            os.fsync(file.fileno())
        with open(folder / "facts.json", "w", encoding="utf-8") as file_of_facts:
            json.dump(facts, file_of_facts)
            file_of_facts.flush()
            os.fsync(file_of_facts.fileno())
        return not any(reason == _CHANGED or OUT_OF_MEMORY in reason for reason in facts["problems"].values())

    entry, held = write_entry(entry, len(source) * row_bytes, fill)
    return PixelStore.mapped(entry, shape, hashes, held)


def _one(source: ImageSource, row: int, preprocess: Preprocess, known: str) -> tuple[Pixels, tuple[str, ...]]:
    if source.arrays is not None:
        return from_array(source.arrays[row], preprocess), ()
    content = read_file(source.files[row])
    if hashlib.sha256(content).hexdigest() != known:
        raise BadImage(_CHANGED)
    decoded = decode(content, preprocess)
    return decoded.pixels, decoded.notes


_one_writer = threading.Lock()


def _write_at(handle: int, pixels: Pixels, offset: int) -> None:
    view = pixels.data.cast("B")
    while view:
        if sys.platform == "win32":
            with _one_writer:
                os.lseek(handle, offset, os.SEEK_SET)
                written = os.write(handle, view)
        else:
            written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def decode_batch(
    inputs: Sequence[Path | str | bytes | NDArray[Any] | torch.Tensor], preprocess: Preprocess
) -> tuple[torch.Tensor, dict[int, str]]:
    """Pixels of a few images of any kind, for prediction.

    Args:
        inputs: paths, bytes of files, or arrays (H, W) or (H, W, C); a large number is best given in portions.
        preprocess: what to make of each.

    Returns:
        (B, H, W, C) uint8 with zeros where an image is bad, and place -> reason for those.

    Raises:
        DataError: an input is none of these kinds.

    Example:
        >>> form = Preprocess(height=4, width=4, channels=1, mean=(0.5,), std=(0.5,))
        >>> decode_batch([b"", np.zeros((8, 8), np.uint8)], form)[1]
        {0: 'the file is empty'}
    """
    for place, value in enumerate(inputs):
        if not isinstance(value, Path | str | bytes | np.ndarray | torch.Tensor):
            raise DataError(f"Input {place} is a {type(value).__name__}.", expected="a path, bytes, or an array")
    batch = np.zeros((len(inputs), preprocess.height, preprocess.width, preprocess.channels), np.uint8)
    problems: dict[int, str] = {}

    def one(place: int) -> None:
        value = inputs[place]
        try:
            if isinstance(value, torch.Tensor):
                value = value.detach().cpu().numpy()
            batch[place] = (
                from_array(value, preprocess) if isinstance(value, np.ndarray) else decode(value, preprocess).pixels
            )
        except BadImage as error:
            problems[place] = str(error)

    for _ in spread(one, range(len(inputs))):
        pass
    return torch.from_numpy(batch), dict(sorted(problems.items()))
