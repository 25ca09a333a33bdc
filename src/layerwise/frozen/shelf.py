"""Kept activations: what the frozen part of a network gave for each image and view, on disk, found by key, read by row.

A shelf is one boundary of a network. On disk it is a set of shards, each an entry of `layerwise.data.cache`: a folder
`<24 hex of the form's key>-<16 hex at random>` with

    rows.bin     the rows, one after the other, in the dtype that is kept
    keys.bin     16 bytes a row, in the same order
    facts.json   the form, the number of rows and a hash of keys.bin; compared as text, never parsed
    lock         held by `flock` while the shard is used

Shards are written under another name, flushed and renamed, so a killed process leaves whole shards and leftovers that
nobody reads. A shard is never changed. Where a shelf gets many, the smallest are written again as one and removed.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import secrets
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from layerwise.data.cache import claim, clear, remove, write_entry
from layerwise.errors import StoreError
from layerwise.frozen.form import KEY_BYTES, Dtype, Form, Rows, decode, encode, row_key

__all__ = ["Dtype", "Form", "Shelf", "clear", "fill", "row_key"]

FORMAT = 1  # of the files above; shards of another format are removed
MOST_SHARDS = 24  # of a shelf: each costs two file descriptors, and a macOS process has 256
RELEASE_BYTES = 2**27  # brought in from the maps before their pages are handed back
PORTION_SECONDS = 60.0  # of computing that a kill can lose at most
_FAULT_BYTES = 2**21  # a page fault brings its neighbours along, up to a huge page
_COPY_BYTES = 2**24  # held in memory while shards become one
_TRIES = 3


class _Shard(NamedTuple):
    folder: Path
    held: int
    pages: mmap.mmap
    rows: Rows


class _Table(NamedTuple):
    """Where the row of each position lies. Replaced as a whole, so a reader in another thread keeps what it has."""

    shards: tuple[_Shard, ...]
    shard: NDArray[np.int64]  # (N,) index into shards
    row: NDArray[np.int64]  # (N,) within the shard


@final
class Shelf:
    """The rows of one boundary that are kept below `root`; all its shards are held until it is closed or gone.

    Opening removes shards that are damaged, of another format, or that hold nothing new. It never fails for what it
    finds: what cannot be used is missing. Rows that other processes add later are seen by the next shelf.

    Args:
        root: a folder of cache entries; it need not exist yet.
        form: of the rows.

    Example:
        >>> import tempfile, torch
        >>> shelf = Shelf(Path(tempfile.mkdtemp()), Form((2,), "float32", "0" * 64))
        >>> keys = [row_key("ab", "plain"), row_key("ab", "flip")]
        >>> shelf.add(keys[:1], torch.tensor([[1.0, 2.0]]))
        >>> shelf.find(keys)
        array([ 0, -1])
        >>> shelf.read(np.array([0]))
        tensor([[1., 2.]])
    """

    def __init__(self, root: Path, form: Form) -> None:
        self.root, self.form = root.expanduser(), form
        self._keys: list[bytes] = []
        self._positions: dict[bytes, int] = {}
        self._table = _Table((), np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._touched = 0
        self._held: list[int] = []
        self._closing = weakref.finalize(self, _close, self._held)
        found = _open_all(self.root, form)
        self._held += [shard.held for shard, _ in found]
        for shard, keys in sorted(found, key=lambda each: -len(each[1])):
            if not self._take_in(shard, keys):  # two processes kept the same rows, or a merge was cut short
                self._let_go(shard)
        del found
        self._merge()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def bytes_kept(self) -> int:
        """Bytes of the open shards on disk."""
        return sum(shard.rows.nbytes + KEY_BYTES * len(shard.rows) for shard in self._table.shards)

    def find(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """Positions of rows, for `read`; they stay good as long as the shelf is open, whatever is added.

        Args:
            keys: n keys as of `row_key`.

        Returns:
            (n,) positions, -1 where there is no such row.
        """
        return np.fromiter((self._positions.get(key, -1) for key in keys), np.int64, len(keys))

    def add(self, keys: Sequence[bytes], values: Tensor) -> None:
        """Keep rows in a new shard; rows that are here already stay as they are.

        Args:
            keys: B keys as of `row_key`.
            values: (B, *shape), on any device and of any float dtype.

        Raises:
            RecipeError: a value is too large for the dtype. Nothing is written.
            TrainingError: a value is not finite. Nothing is written.
            StoreError: the folder cannot be written, or the disk is full.
        """
        assert len(keys) == len(values), (len(keys), len(values))
        if len(keys):
            self._keep(keys, [encode(self.form, values, np.arange(len(keys)))])

    def read(self, positions: NDArray[np.int64]) -> Tensor:
        """Gather rows into fresh memory; resident memory stays flat however much is read.

        Args:
            positions: (B,) as of `find`, none of them -1.

        Returns:
            (B, *shape) float32.
        """
        assert len(positions) == 0 or positions.min() >= 0, "rows that are missing cannot be read"
        records = _gather(self._table, positions, self.form.row_bytes)
        self._release(len(records))
        return decode(self.form, records)

    def close(self) -> None:
        """Let go of all shards, so that they may be evicted. The shelf is empty afterwards and takes nothing more."""
        self._table = _Table((), self._table.shard[:0], self._table.row[:0])
        self._keys, self._positions = [], {}
        self._closing()

    def _keep(self, keys: Sequence[bytes], portions: Sequence[Rows]) -> None:
        """Write encoded rows, in portions that follow one another, as one shard."""
        assert self._closing.alive, "the shelf is closed"
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in self._positions}
        if not first:
            return
        if len(first) < len(keys):
            rows = sorted(first.values())
            keys, portions = [keys[row] for row in rows], [np.concatenate(portions)[rows]]
        self._take_in(self._write(keys, portions), keys)
        self._merge()

    def _write(self, keys: Sequence[bytes], portions: Iterable[Rows]) -> _Shard:
        content = b"".join(keys)

        def write(folder: Path) -> bool:
            _write_file(folder / "rows.bin", portions)
            _write_file(folder / "keys.bin", [content])
            _write_file(folder / "facts.json", [_facts(self.form, content)])
            return True

        size = len(keys) * self.form.row_bytes + len(content)
        entry = self.root / f"{_prefix(self.form)}{secrets.token_hex(8)}"
        entry, held = write_entry(entry, size, write)
        try:
            shard, _ = _open(entry, held, self.form)
        except (OSError, ValueError) as error:
            os.close(held)
            raise StoreError(f"What was just written to {entry} cannot be read: {error}.") from error
        self._held.append(held)
        return shard

    def _take_in(self, shard: _Shard, keys: Sequence[bytes]) -> bool:
        """Make the rows of a shard that are new known; say whether there are any."""
        table, first = self._table, len(self._keys)
        rows: list[int] = []
        for row, key in enumerate(keys):
            if key not in self._positions:
                self._positions[key] = first + len(rows)
                rows.append(row)
        self._keys += [keys[row] for row in rows]
        if rows:
            number = np.full(len(rows), len(table.shards))
            row_numbers = np.concatenate([table.row, np.array(rows, np.int64)])
            self._table = _Table((*table.shards, shard), np.concatenate([table.shard, number]), row_numbers)
        return bool(rows)

    def _merge(self) -> None:
        """Where there are too many shards, write the smallest ones again as one; positions stay what they are."""
        table = self._table
        if len(table.shards) <= MOST_SHARDS:
            return
        by_size = sorted(range(len(table.shards)), key=lambda number: len(table.shards[number].rows))
        small, large = by_size[: -MOST_SHARDS // 2], sorted(by_size[-MOST_SHARDS // 2 :])
        positions = np.flatnonzero(np.isin(table.shard, small))
        positions = positions[np.lexsort((table.row[positions], table.shard[positions]))]  # as they lie on disk
        step = max(1, _COPY_BYTES // self.form.row_bytes)
        parts = [positions[start : start + step] for start in range(0, len(positions), step)]
        portions = (self._copied(table, part) for part in parts)
        try:
            merged = self._write([self._keys[position] for position in positions], portions)
        except StoreError:  # no room for a copy: many shards serve as well
            return
        numbers = np.full(len(table.shards), len(large))
        numbers[large] = np.arange(len(large))
        rows = table.row.copy()
        rows[positions] = np.arange(len(positions))
        self._table = _Table((*(table.shards[number] for number in large), merged), numbers[table.shard], rows)
        for number in small:
            self._let_go(table.shards[number])

    def _copied(self, table: _Table, positions: NDArray[np.int64]) -> Rows:
        records = _gather(table, positions, self.form.row_bytes)
        self._release(len(records))
        return records

    def _let_go(self, shard: _Shard) -> None:
        self._held.remove(shard.held)
        os.close(shard.held)
        remove(shard.folder)

    def _release(self, rows: int) -> None:
        """Take pages out of this process now and then; they stay in the system's file cache while there is room."""
        self._touched += rows * (self.form.row_bytes + _FAULT_BYTES)
        if self._touched < RELEASE_BYTES or self.bytes_kept < RELEASE_BYTES or sys.platform == "win32":
            return
        self._touched = 0
        for shard in self._table.shards:
            shard.pages.madvise(mmap.MADV_DONTNEED)


def fill(
    shelves: Sequence[Shelf],
    keys: Sequence[bytes],
    compute: Callable[[NDArray[np.int64]], tuple[Tensor, ...]],
    advance: Callable[[int], None],
    *,
    batch: int = 32,
    portion_bytes: int = 64_000_000,
) -> int:
    """Compute what any shelf lacks, in one pass for all shelves, and keep it.

    A portion is written when it is full or a minute old. A process killed between portions loses only the last one;
    the next call goes on behind it.

    Args:
        shelves: one for each boundary.
        keys: of the rows that are wanted, in order; equal keys are computed once.
        compute: gets (b,) indices into `keys`, b <= batch, and gives one (b, *shape) tensor for each shelf.
        advance: called with the number of keys just done, those that are kept already first; the numbers add up to
            `len(keys)`.
        batch: rows computed at once.
        portion_bytes: of encoded rows held in memory, over all shelves.

    Returns:
        how many rows were computed.

    Raises:
        RecipeError: a value is too large for the dtype; what was written before stays.
        TrainingError: a value is not finite; the message names the indices into `keys`.
        StoreError: the folder cannot be written, or the disk is full.

    Example:
        >>> import tempfile, torch
        >>> shelf = Shelf(Path(tempfile.mkdtemp()), Form((3,), "float16", "0" * 64))
        >>> keys = [row_key(name, "plain") for name in ("a", "b", "a")]
        >>> fill([shelf], keys, lambda rows: (torch.ones(len(rows), 3),), lambda done: None)
        2
    """
    assert shelves
    lacking = np.stack([shelf.find(keys) < 0 for shelf in shelves])  # (shelves, n)
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    wanted = np.array(sorted(place for place in first.values() if lacking[:, place].any()), np.int64)
    if len(keys) > len(wanted):
        advance(len(keys) - len(wanted))
    waiting: list[tuple[list[bytes], list[Rows]]] = [([], []) for _ in shelves]
    batch_bytes = batch * sum(shelf.form.row_bytes for shelf in shelves)
    size, since = 0, time.monotonic()
    for start in range(0, len(wanted), batch):
        rows = wanted[start : start + batch]
        outputs = compute(rows)
        for number, (shelf, values) in enumerate(zip(shelves, outputs, strict=True)):
            new = np.flatnonzero(lacking[number, rows])
            if len(new):
                records = encode(shelf.form, values if len(new) == len(rows) else values[new], rows[new])
                waiting[number][0].extend(keys[row] for row in rows[new])
                waiting[number][1].append(records)
                size += records.nbytes
        advance(len(rows))
        is_last = start + batch >= len(wanted)
        if is_last or size + batch_bytes > portion_bytes or time.monotonic() - since > PORTION_SECONDS:
            for shelf, (names, portions) in zip(shelves, waiting, strict=True):
                shelf._keep(names, portions)
                names.clear()
                portions.clear()  # in place: the memory goes before the next portion is computed
            size, since = 0, time.monotonic()
    return len(wanted)


def _prefix(form: Form) -> str:
    return f"{form.key[:24]}-"


def _facts(form: Form, keys: bytes) -> bytes:
    facts = {
        "format": FORMAT,
        "shape": form.shape,
        "dtype": form.dtype,
        "key": form.key,
        "byteorder": sys.byteorder,
        "rows": len(keys) // KEY_BYTES,
        "keys_sha256": hashlib.sha256(keys).hexdigest(),
    }
    return json.dumps(facts, indent=1).encode()


def _write_file(path: Path, parts: Iterable[bytes] | Iterable[Rows]) -> None:
    with open(path, "wb") as file:
        for part in parts:
            file.write(part if isinstance(part, bytes) else part.data)
        file.flush()
        os.fsync(file.fileno())


def _open_all(root: Path, form: Form) -> list[tuple[_Shard, list[bytes]]]:
    """Claim and map all shards of a form. Where one vanishes meanwhile, its rows may have moved: look again."""
    name = re.compile(f"{_prefix(form)}[0-9a-f]{{16}}")
    seen: set[Path] = set()
    found = []
    for _ in range(_TRIES):
        folders = {folder for folder in _listed(root) if name.fullmatch(folder.name)} - seen
        seen |= folders
        claims = [(folder, claim(folder)) for folder in sorted(folders)]
        for folder, held in claims:
            if held is not None and (opened := _try_open(folder, held, form)) is not None:
                found.append(opened)
        if all(held is not None for _, held in claims):
            break
    return found


def _listed(root: Path) -> list[Path]:
    try:
        return list(root.iterdir())
    except OSError:
        return []


def _try_open(folder: Path, held: int, form: Form) -> tuple[_Shard, list[bytes]] | None:
    """Map a claimed shard, or let it go; it is removed where it is damaged, and stays where the system refused."""
    try:
        return _open(folder, held, form)
    except (ValueError, FileNotFoundError, IsADirectoryError):
        os.close(held)
        remove(folder)
    except OSError:
        os.close(held)
    return None


def _open(folder: Path, held: int, form: Form) -> tuple[_Shard, list[bytes]]:
    content = (folder / "keys.bin").read_bytes()
    if (folder / "facts.json").read_bytes() != _facts(form, content):
        raise ValueError("its facts are not those of its form and keys")
    keys = [content[start : start + KEY_BYTES] for start in range(0, len(content), KEY_BYTES)]
    with open(folder / "rows.bin", "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    rows = np.frombuffer(pages, np.uint8).reshape(len(keys), form.row_bytes)  # another length does not fit: ValueError
    return _Shard(folder, held, pages, rows), keys


def _close(held: list[int]) -> None:
    while held:
        os.close(held.pop())


def _gather(table: _Table, positions: NDArray[np.int64], row_bytes: int) -> Rows:
    records = np.empty((len(positions), row_bytes), np.uint8)
    rows = [shard.rows for shard in table.shards]
    places = zip(table.shard[positions].tolist(), table.row[positions].tolist(), strict=True)
    for place, (shard, row) in enumerate(places):
        records[place] = rows[shard][row]
    return records
