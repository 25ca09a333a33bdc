"""What a set of images holds, and what is wrong with it, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import polars as pl

from layerwise.console import Show
from layerwise.data.copies import Groups, equal
from layerwise.data.decode import Preprocess
from layerwise.data.headers import Header, read_headers
from layerwise.data.images import ImageSource, find_images
from layerwise.data.likeness import MOST, bursts, near_copies
from layerwise.data.pixels import PixelStore, build_pixels, decode_batch, default_cache
from layerwise.data.rows import sort_classes
from layerwise.data.split import SplitRecipe, split
from layerwise.errors import DataError
from layerwise.tasks.copy_findings import Copies, of_groups
from layerwise.tasks.image_data import judged
from layerwise.tasks.image_flaws import blank_images, converted, facts, form_findings
from layerwise.tasks.inspection import Finding, Inspection
from layerwise.tasks.job import Columns, check_columns
from layerwise.tasks.label_findings import class_counts, gravest_first, label_findings, part_counts, unusable

_TASK = "image-classification"
_WHAT = "images"
# Every image is opened and decoded; small, so that memory stays flat, and whole, so that a crop is seen as one.
_LOOK = Preprocess(height=64, width=64, resize="squash", mean=(0.0,) * 3, std=(1.0,) * 3)
_THUMBNAIL = Preprocess(height=160, width=160, resize="pad", mean=(0.0,) * 3, std=(1.0,) * 3)
_THUMBNAILS = 64  # kept at once; a page asks for the same ones in several findings


def inspect(data: Any, columns: Columns, show: Show) -> Inspection:
    """Look at images and their labels; every image is opened, nothing is changed.

    Args:
        data: a path, a table or arrays; see `find_images`.
        columns: "image" and "label" of a table, where they cannot be guessed.
        show: tells a person how far it is.

    Raises:
        UsageError: a column is named that images do not have.
        DataError: there is nothing there, no labels, or no image can be used.

    Example:
        >>> from layerwise.console import Silent
        >>> x = np.random.default_rng(0).integers(0, 255, (4, 16, 16), dtype=np.uint8)
        >>> x[3] = x[0]
        >>> inspect((x, ["a", "b", "a", "b"]), {}, Silent()).findings[0].kind
        'copies-across-labels'
    """
    return _inspect(data, columns, show, task=_TASK, labelled=True)


def for_generators(task: str) -> Callable[[Any, Columns, Show], Inspection]:
    """The same for images that may have no labels.

    Args:
        task: that they are to be used for: "vae" or "gan".
    """
    return partial(_inspect, task=task, labelled=False)


def _inspect(data: Any, columns: Columns, show: Show, *, task: str, labelled: bool) -> Inspection:
    check_columns(columns, ("image", "label"), task)
    source = find_images(data, image=columns.get("image"), label=columns.get("label"), labelled=labelled)
    with show.bar("reading images", len(source)) as advance:
        store = build_pixels(source, _LOOK, cache=default_cache(), advance=advance)
    table = judged(source, store)
    classes = sort_classes({*source.classes, *source.empty})
    headers = _headers(source, show)
    found = unusable(table, _WHAT)
    found += label_findings(table, classes, _WHAT) if labelled else []
    found += blank_images(table, store)
    with show.bar("comparing images", 1) as advance:
        found += _copies(source, table, store)
        advance(1)
    found += form_findings(table, headers) + converted(table, store)
    return Inspection(
        task=task,
        what=_WHAT,
        table=table,
        classes=class_counts(table, classes),
        parts=part_counts(table, source.held_out),
        findings=gravest_first(found),
        notes=(*source.reading, *_hindrance(table, labelled), *_limits(table)),
        facts=facts(headers, source, store),
        thumbnail=_thumbnails(source, table),
    )


def _headers(source: ImageSource, show: Show) -> list[Header | None]:
    """Of files; of arrays there are none."""
    if source.arrays is not None:
        return []
    with show.bar("reading headers", len(source)) as advance:
        return read_headers(source.files, advance)


def _copies(source: ImageSource, table: pl.DataFrame, store: PixelStore) -> list[Finding]:
    """Byte for byte, then of what is left one of each kind, label and part: the same picture; then bursts."""
    hashes = table.select(pl.when(pl.col("problem").is_null()).then("hash")).to_series()
    found = of_groups(table, equal(hashes), Copies("copies", _WHAT, "byte for byte", source.held_out))
    rows = np.flatnonzero(table["problem"].is_null().to_numpy()).astype(np.int64)
    near = _near(table, near_copies(store.read, rows))
    alike = "but for size, compression, a mirror or a small crop"
    found += of_groups(table, near, Copies("near-copies", _WHAT, alike, source.held_out))
    if source.arrays is not None:
        return found
    runs = bursts(table["path"].to_list(), store.read, rows)
    return found + _bursts(table, tuple(run for run in runs if not any(set(run) <= set(group) for group in near)))


def _near(table: pl.DataFrame, groups: Groups) -> Groups:
    """Groups without their exact copies, which are told by themselves: one of each content, label and part."""
    keys = list(zip(table["hash"].to_list(), table["label"].to_list(), table["split"].to_list(), strict=True))
    kept = []
    for group in groups:
        first = {keys[row]: row for row in reversed(group)}
        if len({content for content, _, _ in first}) > 1:
            kept.append(tuple(sorted(first.values())))
    return tuple(kept)


def _bursts(table: pl.DataFrame, groups: Groups) -> list[Finding]:
    """Frames that follow one another: a doubt where a part cuts them."""
    parts = table["split"].to_list()
    cut = tuple(group for group in groups if len({parts[row] for row in group}) > 1)
    rest = tuple(group for group in groups if group not in set(cut))
    found = []
    for some, kind in ((cut, "bursts-across-parts"), (rest, "bursts")):
        if not some:
            continue
        shown = " to ".join(table["path"][row] for row in (some[0][0], some[0][-1]))
        what = f"{sum(map(len, some)):,} images are frames of {len(some):,} burst{'s' * (len(some) > 1)} ({shown})"
        message = (
            f"{what}, and a burst is in several parts: figures look better than they are. Keep each burst in one part."
            if some is cut
            else f"{what}: their names count up, and each is nearly the one before. A split should not cut a burst."
        )
        found.append(Finding(kind, "doubt" if some is cut else "note", message, some))
    return found


def _hindrance(table: pl.DataFrame, labelled: bool) -> tuple[str, ...]:
    """Why nothing can be trained on this, if so."""
    if not labelled:
        return ()
    try:
        split(table, SplitRecipe(), seed=0)
    except DataError as error:
        return (str(error),)
    return ()


def _limits(table: pl.DataFrame) -> tuple[str, ...]:
    if table["problem"].null_count() <= MOST:
        return ()
    return (f"There are more than {MOST:,} images: copies were looked for byte for byte and pixel for pixel only.",)


def _thumbnails(source: ImageSource, table: pl.DataFrame) -> Callable[[int], np.ndarray | None]:
    """Pixels of a row, decoded anew: what the store holds is too small and out of shape for people."""
    bad = set(table.filter(pl.col("problem").is_not_null())["id"].to_list())

    @lru_cache(_THUMBNAILS)
    def pixels(row: int) -> np.ndarray | None:
        if row in bad:
            return None
        given = source.file(row) if source.arrays is None else source.arrays[row]
        if isinstance(given, np.ndarray) and max(given.shape[:2]) <= _THUMBNAIL.height and given.shape[2] != 4:
            return given
        found, problems = decode_batch([given], _THUMBNAIL)
        return None if problems else _unpadded(found[0].numpy())

    return pixels


def _unpadded(pixels: np.ndarray) -> np.ndarray:
    """Without the black bars on two sides; (H, W, C)."""
    for axis in (0, 1):
        lit = np.flatnonzero(pixels.max(axis=(1 - axis, 2)))
        edge = min(lit[0], pixels.shape[axis] - 1 - lit[-1]) if len(lit) else 0
        pixels = pixels.take(range(edge, pixels.shape[axis] - edge), axis=axis)
    return pixels
