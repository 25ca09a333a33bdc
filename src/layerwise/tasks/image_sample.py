"""The images that screening sees: a sample of what is not reported on, the same for every network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.config import build
from layerwise.console import Show
from layerwise.data.decode import Preprocess
from layerwise.data.images import ImageSource, find_images
from layerwise.data.pixels import build_pixels, default_cache
from layerwise.errors import DataError, UsageError
from layerwise.models import backbone_preprocess
from layerwise.tasks.image_data import judged, targets_of
from layerwise.tasks.image_parts import beside, part_images
from layerwise.tasks.recipe import ImageRecipe

SAMPLE = 1000  # images: accuracy is then known to about two points
# Every image is opened once; what it is shrunk to does not matter.
_LOOK = Preprocess(height=64, width=64, resize="squash", mean=(0.0,) * 3, std=(1.0,) * 3)


@dataclass(frozen=True)
class Sample:
    """The images that every network sees.

    Args:
        source: what is decoded: the sample, or all images where they are few, so that training finds them decoded.
        examples: of that source, the sample marked as the part "train".
        targets: (N,) class numbers of that source.
        usable: images that the sample was drawn from.
        left_out: images of the reported part.
        notes: what a person should know of the data.
    """

    source: ImageSource
    examples: pl.DataFrame
    targets: NDArray[np.int64]
    usable: int
    left_out: int
    notes: tuple[str, ...]

    @property
    def images(self) -> int:
        """How many they are."""
        return int((self.examples["split"] == "train").sum())


def look_of(name: str, asked: ImageRecipe) -> Preprocess:
    """What training would feed a pretrained network.

    Raises:
        UsageError: the network has no pretrained weights, or other statistics than its own are asked for.
    """
    values = dict(backbone_preprocess(name))
    if asked.data.normalise not in (None, "pretrained"):
        raise UsageError(
            f"Screening feeds networks what they were trained on, and data.normalise is {asked.data.normalise}.",
            fix="Leave it out.",
        )
    if asked.data.size is not None:
        values |= {"height": asked.data.size, "width": asked.data.size}
    if asked.data.resize is not None:
        values |= {"resize": asked.data.resize}
    return build(Preprocess, values)


def draw_sample(data: Any, asked: ImageRecipe, first: str, show: Show) -> Sample:
    """The sample, from the parts that training would make with the same seed.

    Args:
        data: a path, arrays or a table; see `find_images`.
        asked: the user's part of a recipe.
        first: the network that comes first: a few images are decoded for it at once.
        show: tells a person how far it is.

    Raises:
        DataError: the data cannot be used, or no class has two images.
    """
    columns = beside(asked.split)
    source = find_images(data, image=asked.data.image, label=asked.data.label, beside=columns)
    few = len(source) <= 2 * SAMPLE
    with show.bar("reading images", len(source)) as advance:
        look = look_of(first, asked) if few else _LOOK
        store = build_pixels(source, look, cache=default_cache(), advance=advance)
    table = judged(source, store)
    examples, notes = part_images(table, source, asked.split, asked.data.exclude, seed=asked.seed, show=show)
    pool = _pool(examples)
    rows = _spread(pool, asked.seed)
    if np.bincount(targets_of(examples, source.classes)[rows], minlength=1).max() < 2:
        raise DataError(
            f"No class has two images among the {len(rows)} that are screened on.",
            expected="two images of a class, one to learn from and one to check",
        )
    left_out = examples.filter(pl.col("split") == "test").height
    chosen = np.isin(np.arange(len(source)), rows)
    examples = examples.with_columns(split=pl.when(pl.Series(chosen)).then(pl.lit("train")))
    if not few:
        examples = examples[rows].with_columns(id=pl.arange(len(rows), dtype=pl.UInt32))
        source = replace(
            source,
            table=source.table[rows].with_columns(id=examples["id"]),
            arrays=None if source.arrays is None else source.arrays[rows],
            files=tuple(source.files[row] for row in rows) if source.files else (),
        )
    return Sample(source, examples, targets_of(examples, source.classes), pool.height, left_out, source.notes + notes)


def _pool(examples: pl.DataFrame) -> pl.DataFrame:
    """Labelled images that are not reported on, byte-identical ones once: two folds must not share an image."""
    test = examples.filter(pl.col("split") == "test").select("hash")
    usable = examples.filter(pl.col("split").is_in(["train", "valid"]) & pl.col("label").is_not_null())
    return usable.join(test, on="hash", how="anti").sort("hash", "label", "id").unique("hash", keep="first")


def _spread(pool: pl.DataFrame, seed: int) -> NDArray[np.int64]:
    """Rows of at most 1,000 images, each class in its share: which ones follows from the seed and their content."""
    ranked: list[tuple[float, bytes, int]] = []
    for _, part in pool.group_by("label"):
        drawn = sorted(
            (hashlib.sha256(f"screen:{seed}:{content}".encode()).digest(), row)
            for row, content in part.select("id", "hash").iter_rows()
        )
        ranked += [((place + 0.5) / len(drawn), digest, row) for place, (digest, row) in enumerate(drawn)]
    return np.array(sorted(row for _, _, row in sorted(ranked)[:SAMPLE]), np.int64)
