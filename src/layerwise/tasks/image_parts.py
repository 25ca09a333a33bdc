"""Which image goes into which part: what is left out, what belongs together, and the split itself."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.console import Show
from layerwise.data.cache import claim, default_cache, remove, write_entry
from layerwise.data.decode import Preprocess
from layerwise.data.exclusions import exclude
from layerwise.data.images import ImageSource
from layerwise.data.likeness import MOST, bursts, near_copies
from layerwise.data.pixels import PixelStore, build_pixels
from layerwise.data.split import ImageSplitRecipe, SplitKeys, split
from layerwise.data.split_groups import ALIKE, GROUP
from layerwise.errors import DataError, StoreError

BURST = "burst"  # split.group that needs no column
_FORMAT = 1  # of what is kept; raise it when the search for near copies finds other ones
_SIDE = 64  # pixels that images are compared at
# Images, beyond which a run does not look for near copies: 20,000 take a minute of one core, twice as many four.
_MOST = 20_000
_HANDFUL = 8  # images in a group that are taken for copies in any data
_LARGE = 0.05  # share of all images in one group, from which it is no set of copies
_MUCH, _COPIES = 0.2, 32  # share of all images in groups, from which one of so many images makes them doubtful

Groups = Sequence[Sequence[int]]


def beside(recipe: SplitKeys) -> dict[str, str]:
    """The columns of a table of images that decide on its parts, as `find_images` takes them."""
    return {name: column for name, column in recipe.columns.items() if (name, column) != (GROUP, BURST)}


def part_images(
    table: pl.DataFrame, source: ImageSource, recipe: SplitKeys, left_out: str | None, *, seed: int, show: Show
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table with every image in its part, and notes.

    What belongs together is told from images of one size, whatever the network sees, so that all networks are judged
    on the same ones.

    Args:
        table: of the source, with hash and problem as decoding found them.
        source: what was found.
        recipe: of the split.
        left_out: the file of `data.exclude`.
        seed: of the split.
        show: tells a person how far it is.

    Raises:
        DataError: the list cannot be used, bursts are wanted of images that are not files, or as `split` says.
    """
    table, notes = exclude(table, left_out)
    usable = table.filter(pl.col("problem").is_null())
    rows = usable["id"].to_numpy().astype(np.int64)
    if recipe.group == BURST:
        if source.arrays is not None:
            raise DataError("split.group=burst goes by the names of files, and the images are arrays.")
        store = _small(source, show)
        table = _grouped(table, bursts(table["path"].to_list(), store.read, _readable(store, rows)))
    if isinstance(recipe, ImageSplitRecipe) and recipe.near_copies:
        alike, said = _alike(source, usable, rows, show)
        table, notes = _linked(table, alike), notes + said
    examples, said = split(table, recipe, seed=seed)
    return examples, notes + said


def _small(source: ImageSource, show: Show) -> PixelStore:
    """All images at one small size; arrays of that size or below as they are."""
    height, width, channels = (_SIDE, _SIDE, 3) if source.arrays is None else source.arrays.shape[1:]
    if max(height, width) > _SIDE:
        height = width = _SIDE
    channels = 1 if channels == 1 else 3
    plain = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    look = Preprocess(height=height, width=width, channels=channels, resize="squash", **plain)
    with show.bar("reading small images", len(source)) as advance:
        return build_pixels(source, look, cache=default_cache(), advance=advance)


def _readable(store: PixelStore, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[~np.isin(rows, list(store.problems))]


def _alike(
    source: ImageSource, usable: pl.DataFrame, rows: NDArray[np.int64], show: Show
) -> tuple[list[list[int]], tuple[str, ...]]:
    """Groups of near copies with two different contents or more, and a note on them; none where they are doubtful."""
    if len(rows) > _MOST:
        more = " (layerwise inspect looks among more)" if len(rows) <= MOST else ""
        return [], (
            f"Before a run near copies are looked for among {_MOST:,} images at most, and {len(rows):,} came: only "
            f"images that are the same byte for byte are kept in one part{more}.",
        )
    hashes = dict(usable.select("id", "hash").iter_rows())
    groups = [list(group) for group in _found(source, rows, hashes, show)]
    found = [group for group in groups if len({hashes[row] for row in group}) > 1]
    if not found:
        return [], ()
    sizes = [len({hashes[row] for row in group}) for group in found]
    distinct, largest, together = len(set(hashes.values())), max(sizes), sum(sizes)
    if largest > max(_HANDFUL, _LARGE * distinct) or (largest > _COPIES and together > _MUCH * distinct):
        return [], (
            f"{together:,} of {distinct:,} images look like others, up to {largest:,} of them alike: they are taken "
            "for pictures of one kind and not for copies. Only images that are the same byte for byte are kept in one "
            "part.",
        )
    paths = dict(usable.select("id", "path").iter_rows())
    first, second = (paths[row] for row in found[0][:2])
    return found, (
        f"{together:,} images are near copies of one another, in {len(found):,} group{'s' * (len(found) > 1)} (such as "
        f"{first} and {second}): each group is kept in one part.",
    )


def _found(source: ImageSource, rows: NDArray[np.int64], hashes: dict[int, str], show: Show) -> Groups:
    """Near copies, as found before among the same images, or now."""
    words = json.dumps([_FORMAT, _SIDE, [hashes[row] for row in rows.tolist()]])
    entry = default_cache() / "alike" / hashlib.sha256(words.encode()).hexdigest()
    held = claim(entry)
    if held is not None:
        try:
            return [rows[group].tolist() for group in _kept(entry / "groups.json", len(rows))]
        except (OSError, ValueError):  # damaged, and found again below
            os.close(held)
            held = None
            remove(entry)
        finally:
            if held is not None:
                os.close(held)
    store = _small(source, show)
    with show.bar("looking for near copies", 1) as advance:
        groups = near_copies(store.read, _readable(store, rows))
        advance(1)
    place_of = {row: place for place, row in enumerate(rows.tolist())}
    content = json.dumps([[place_of[row] for row in group] for group in groups]).encode()

    def fill(folder: Path) -> bool:
        (folder / "groups.json").write_bytes(content)
        return True

    with contextlib.suppress(StoreError):  # a cache that cannot be written costs the search again, and no run
        os.close(write_entry(entry, len(content), fill)[1])
    return groups


def _kept(file: Path, count: int) -> Groups:
    """Groups of places below `count`, as they were written. Raises ValueError for anything else."""
    groups = json.loads(file.read_text(encoding="utf-8"))
    good = isinstance(groups, list) and all(isinstance(group, list) and group for group in groups)
    places = [place for group in groups for place in group] if good else [-1]
    if not all(type(place) is int and 0 <= place < count for place in places) or len(set(places)) < len(places):
        raise ValueError("no groups of images")
    return [list(group) for group in groups]


def _grouped(table: pl.DataFrame, groups: Groups) -> pl.DataFrame:
    """The table with the name of its first frame for each frame of a burst."""
    paths = table["path"].to_list()
    names = {row: paths[group[0]] for group in groups for row in group}
    return table.with_columns(pl.Series(GROUP, [names.get(row) for row in range(table.height)], dtype=pl.String))


def _linked(table: pl.DataFrame, groups: Groups) -> pl.DataFrame:
    """The table with the smallest hash of its group for each near copy; as it is where there are none."""
    if not groups:
        return table
    hashes = table["hash"].to_list()
    keys = {row: min(hashes[each] for each in group) for group in groups for row in group}
    return table.with_columns(pl.Series(ALIKE, [keys.get(row) for row in range(table.height)], dtype=pl.String))
