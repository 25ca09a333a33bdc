"""From a person's images, labelled or not, to everything that training a generator needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import pydantic
import torch

from layerwise.config import build
from layerwise.console import Show
from layerwise.data.augment import AugmentRecipe
from layerwise.data.decode import Preprocess
from layerwise.data.images import ImageSource, find_images
from layerwise.data.loader import ImageBatches, Normalise
from layerwise.data.pixels import PixelStore, build_pixels, default_cache
from layerwise.data.split import SplitKeys
from layerwise.errors import DataError
from layerwise.tasks.image_data import ids_of, judged, targets_of, unread
from layerwise.tasks.image_parts import beside, part_images
from layerwise.tasks.run_recipe import Reading

# Sides of arrays that are taken as they are; files, and larger arrays, are brought to `_SIDE`.
_SMALLEST, _LARGEST, _SIDE = 8, 128, 64
_STEP = 4  # networks halve a side twice
_PARTS = ("train", "valid", "test")
_PLAIN = AugmentRecipe()
# Of one image at least: an epoch is kept by the valid part, and figures are of the test part.
_LEAST = 3


class GeneratorDataRecipe(Reading):
    """How the images of a generator are read."""

    image: str | None = None  # column of image paths, where a table has several candidates
    label: str | None = None  # column of labels; images need none
    # Side of the images in pixels, a multiple of 4; None: what square arrays of up to 128 pixels have, else 64.
    size: int | None = pydantic.Field(None, ge=_SMALLEST, le=_LARGEST, multiple_of=_STEP)
    resize: Literal["crop", "squash", "pad"] = "crop"  # where an image is not square
    channels: Literal[1, 3] | None = None  # 1 is grey; None: what arrays have, colour for files


@dataclass(frozen=True)
class GeneratorData:
    """The images of a run, read, split and decoded.

    Args:
        examples: `examples.parquet`.
        store: decoded pixels.
        preprocess: from bytes to pixels; its mean and deviation are 0 and 1.
        classes: names, sorted; none where images have no labels.
        targets: (N,) int64 class numbers, -1 where there is none.
        held_out: what the reported part is called: "test", or "val".
        conditional: whether the network is told the class.
        notes: what a person should know of the data.
    """

    examples: pl.DataFrame
    store: PixelStore
    preprocess: Preprocess
    classes: tuple[str, ...]
    targets: np.ndarray
    held_out: str
    conditional: bool
    notes: tuple[str, ...]

    @property
    def side(self) -> int:
        """Pixels of a side."""
        return self.preprocess.height

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.preprocess.channels

    @property
    def told(self) -> int:
        """Classes that the network is told of; 0 where it is not conditional."""
        return len(self.classes) if self.conditional else 0

    @property
    def counts(self) -> tuple[int, ...]:
        """Training images of each class that the network is told of."""
        found = np.bincount(self.targets[self.ids("train")], minlength=self.told) if self.conditional else np.zeros(0)
        return tuple(found.astype(int).tolist())

    @property
    def shares(self) -> tuple[float, ...]:
        """The same as shares of all, 0 to 1."""
        return tuple((np.array(self.counts) / sum(self.counts)).tolist()) if self.conditional else ()

    def ids(self, part: str) -> np.ndarray:
        """Row numbers of a part: (n,) int64."""
        return ids_of(self.examples, part)

    def pixels(self, ids: np.ndarray) -> np.ndarray:
        """(n,) ids -> (n, H, W, C) uint8."""
        pixels: np.ndarray = self.store.read(ids).numpy()
        return pixels

    def batches(
        self,
        device: torch.device,
        *,
        batch_size: int,
        seed: int,
        centred: bool,
        augment: AugmentRecipe = _PLAIN,
    ) -> ImageBatches:
        """Batches of all parts, values 0 to 1, or -1 to 1 where they are to be centred."""
        half = (0.5,) * self.channels
        normalise = Normalise(half, half) if centred else Normalise((0.0,) * self.channels, (1.0,) * self.channels)
        return ImageBatches(
            store=self.store,
            targets=self.targets,
            parts={part: self.ids(part) for part in _PARTS},
            classes=len(self.classes),
            batch_size=batch_size,
            augment=augment,
            normalise=normalise,
            seed=seed,
            device=device,
        )


def read(
    data: Any, recipe: GeneratorDataRecipe, parts: SplitKeys, *, seed: int, conditional: bool, show: Show
) -> GeneratorData:
    """Find, hash, decode and split images, with labels or without.

    Args:
        data: a path, arrays or a table; see `find_images`. A flat folder of images will do.
        recipe: how they are read.
        parts: the shares that are held out.
        seed: of the split.
        conditional: whether the network is to be told the class.
        show: tells a person how far it is.

    Raises:
        DataError: there is nothing to learn from, or labels are wanted and missing.
    """
    # Where labels are wanted, an image without one is refused, or has a problem: none of it reaches a network.
    columns = beside(parts)
    source = find_images(data, image=recipe.image, label=recipe.label, labelled=conditional, beside=columns)
    if conditional and len(source.classes) < 2:
        raise DataError(
            f"conditional=true, and the images are of {len(source.classes)} class.",
            expected="a label for each image, and two classes or more",
            fix="Leave conditional out, or put the images into a folder per class.",
        )
    preprocess = _preprocess(source, recipe)
    with show.bar("reading images", len(source.table)) as advance:
        store = build_pixels(source, preprocess, cache=default_cache(), advance=advance)
    table = judged(source, store)
    # A single label says nothing, and the split asks for two where there are any.
    plain = table if len(source.classes) > 1 else table.with_columns(label=pl.lit(None, dtype=pl.String))
    filled, notes = part_images(plain, source, parts, recipe.exclude, seed=seed, show=show)
    examples = filled.with_columns(table["label"])
    _check(examples)
    bad = [f"{note} All are in examples.parquet." for note in unread(examples)]
    return GeneratorData(
        examples=examples,
        store=store,
        preprocess=preprocess,
        classes=source.classes,
        targets=targets_of(examples, source.classes),
        held_out=source.held_out,
        conditional=conditional,
        notes=tuple(dict.fromkeys((*source.notes, *notes, *bad))),
    )


def _preprocess(source: ImageSource, recipe: GeneratorDataRecipe) -> Preprocess:
    height, width, channels = (0, 0, 3) if source.arrays is None else source.arrays.shape[1:]
    usable = height == width and _SMALLEST <= height <= _LARGEST and height % _STEP == 0
    side = recipe.size or (height if usable else _nearest_side(max(height, width)))
    channels = recipe.channels or (1 if channels == 1 else 3)  # a fourth is alpha, which is laid over white
    values = {"height": side, "width": side, "channels": channels, "resize": recipe.resize}
    return build(Preprocess, {**values, "mean": (0.0,) * channels, "std": (1.0,) * channels})


def _nearest_side(longest: int) -> int:
    """The side of arrays that are not square, or no multiple of 4: the next multiple; of files, and large ones, 64."""
    if not longest or longest > _LARGEST:
        return _SIDE
    return max(_SMALLEST, -(-longest // _STEP) * _STEP)


def _check(examples: pl.DataFrame) -> None:
    for part in _PARTS:
        if not len(ids_of(examples, part)):
            usable = examples.filter(pl.col("problem").is_null()).height
            raise DataError(
                f"The {part} part is empty: {usable} of {examples.height} images are usable.",
                expected=f"{_LEAST} different usable images or more, and shares above 0 in split.valid and split.test",
            )
