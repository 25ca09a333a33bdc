"""From a person's images and a recipe to everything that a run of image classification needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch

from layerwise.config import build, merge
from layerwise.console import Show
from layerwise.data.decode import Preprocess
from layerwise.data.exclusions import classes_left, left_out
from layerwise.data.images import ImageSource, find_images
from layerwise.data.loader import ImageBatches, Normalise
from layerwise.data.pixels import PixelStore, build_pixels, default_cache
from layerwise.data.rows import counted, untrained
from layerwise.device import Device
from layerwise.errors import DataError, RecipeError
from layerwise.models import Entry, backbone_preprocess, find_model
from layerwise.tasks.balance import uneven_note
from layerwise.tasks.image_parts import beside, part_images
from layerwise.tasks.own_network import CUSTOM
from layerwise.tasks.recipe import ImageRecipe

# Images that statistics (mean, deviation, whitening) are taken from: more change the third digit only.
_SAMPLE = 5000
# Values that such a sample may hold at once as floats: 256 MB, which is 5,000 images of 64 pixels or 425 of 224.
_SAMPLE_VALUES = 64_000_000
# Up to this side, a network made for small images learns more than an ImageNet network that sees them blown up.
_SMALL = 64


@dataclass(frozen=True)
class ImageData:
    """The data of a run, read, split and decoded.

    Args:
        recipe: complete: the network's own values and the user's laid over them.
        entry: facts of the network; none where the user brought one.
        examples: `examples.parquet`.
        classes: names, in the order of the logits.
        preprocess: from bytes to pixels, and from pixels to inputs.
        store: decoded pixels.
        targets: (N,) int64 class numbers, -1 where there is none.
        held_out: what the reported part is called: "test", or "val".
        notes: what a person should know of the data.
        valid_given: whether the validation part is the user's own, and not split off here.
    """

    recipe: ImageRecipe
    entry: Entry | None
    examples: pl.DataFrame
    classes: tuple[str, ...]
    preprocess: Preprocess
    store: PixelStore
    targets: np.ndarray
    held_out: str
    notes: tuple[str, ...]
    valid_given: bool = False

    def batches(self, device: Device) -> ImageBatches:
        """Batches of its parts."""
        return ImageBatches(
            store=self.store,
            targets=self.targets,
            parts={name: ids_of(self.examples, name) for name in ("train", "valid", "test")},
            classes=len(self.classes),
            batch_size=self.recipe.batch_size,
            augment=self.recipe.augment,
            normalise=Normalise(self.preprocess.mean, self.preprocess.std),
            seed=self.recipe.seed,
            device=device.place,
            balanced=self.recipe.balance.way == "sampling",
        )

    def sample(self) -> torch.Tensor:
        """Normalised training images (n, C, H, W), at most 5,000 and fewer of large ones, evenly spaced."""
        most = min(_SAMPLE, max(1, _SAMPLE_VALUES // math.prod(self.store.shape[1:])))
        return self.inputs(_spread(ids_of(self.examples, "train"), most))

    def inputs(self, ids: np.ndarray) -> torch.Tensor:
        """What the network takes: (n,) ids -> (n, C, H, W) normalised."""
        pixels = self.store.read(ids).permute(0, 3, 1, 2).float()  # (n, C, H, W)
        return Normalise(self.preprocess.mean, self.preprocess.std)(pixels)


def ids_of(examples: pl.DataFrame, part: str) -> np.ndarray:
    """Row numbers of a part: (n,) int64."""
    return examples.filter(pl.col("split") == part)["id"].to_numpy().astype(np.int64)


def read(data: Any, values: Mapping[str, Any], show: Show) -> ImageData:
    """Find, hash, decode and split the images of a run.

    Args:
        data: a path, arrays or a table; see `find_images`.
        values: the user's part of the recipe.
        show: tells a person how far it is.

    Raises:
        DataError: there is nothing to learn from.
        RecipeError: an unknown key or an unusable value.
    """
    asked = build(ImageRecipe, values)
    if asked.stages and asked.epochs:
        raise RecipeError(f'"epochs" is {asked.epochs} beside stages that are written out.', fix="Leave epochs out.")
    columns = beside(asked.split)
    source = find_images(data, image=asked.data.image, label=asked.data.label, beside=columns)
    entry = None if asked.model == CUSTOM else find_model(auto_model(source) if asked.model == "auto" else asked.model)
    own = {} if entry is None else {**entry.recipe, "model": entry.name}
    if asked.stages:
        own.pop("epochs", None)
    recipe = build(ImageRecipe, merge(merge(own, values), {"model": entry.name if entry else CUSTOM}))
    preprocess = _preprocess(source, recipe, entry)
    with show.bar("reading images", len(source.table)) as advance:
        store = build_pixels(source, preprocess, cache=default_cache(), advance=advance)
    table = judged(source, store)
    examples, notes = part_images(table, source, recipe.split, recipe.data.exclude, seed=recipe.seed, show=show)
    source = replace(source, classes=classes_left(source.classes, examples))
    _check(source, examples)
    preprocess = _statistics(preprocess, recipe, entry, store, examples)
    return ImageData(
        recipe=recipe,
        entry=entry,
        examples=examples,
        classes=source.classes,
        preprocess=preprocess,
        store=store,
        targets=targets_of(examples, source.classes),
        held_out=source.held_out,
        notes=tuple(dict.fromkeys((*source.notes, *notes, *_notes(examples, source.classes, store, recipe)))),
        valid_given=bool((source.table["split"] == "valid").any()),
    )


def auto_model(source: ImageSource) -> str:
    """The network for data for which none is named."""
    if source.arrays is not None and max(source.arrays.shape[1:3]) <= _SMALL:
        return "airbench-small"
    return "efficientnet_lite0"


def _preprocess(source: ImageSource, recipe: ImageRecipe, entry: Entry | None) -> Preprocess:
    """The network's own way, changed by what the recipe says; arrays keep their size for networks that start random."""
    if entry is not None and entry.transfer:
        values = backbone_preprocess(entry.name)
    else:
        native = None if source.arrays is None else source.arrays.shape[1:]
        side = entry.size if entry else 224
        height, width, channels = native or (side, side, entry.channels if entry else 3)
        channels = 1 if channels == 1 else 3  # a fourth is alpha, which is laid over white
        plain = {"mean": (0.0,) * channels, "std": (1.0,) * channels}  # `_statistics` has the last word
        values = {"height": height, "width": width, "channels": channels, **plain}
    if recipe.data.size is not None:
        values |= {"height": recipe.data.size, "width": recipe.data.size}
    if recipe.data.resize is not None:
        values |= {"resize": recipe.data.resize}
    return build(Preprocess, values)


def judged(source: ImageSource, store: PixelStore) -> pl.DataFrame:
    """The source's table with what decoding found out: `hash`, and every row's `problem` or null."""
    problems = [store.problems.get(row) for row in range(len(source))]
    return source.table.with_columns(
        pl.Series("hash", store.hashes, dtype=pl.String), pl.Series("problem", problems, dtype=pl.String)
    )


def targets_of(examples: pl.DataFrame, classes: tuple[str, ...]) -> np.ndarray:
    """Class numbers (N,) int64; -1 for rows without a label."""
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers.get(label, -1) for label in examples["label"].to_list()], dtype=np.int64)


def _check(source: ImageSource, examples: pl.DataFrame) -> None:
    if len(source.classes) < 2:
        raise DataError(
            f"All images are of one class: {', '.join(source.classes) or 'none'}.",
            expected="two classes or more to tell apart",
            fix="A folder holds one folder per class.",
        )
    for part in ("train", "valid", "test"):
        if not len(ids_of(examples, part)):
            usable = examples.filter(pl.col("problem").is_null()).height
            raise DataError(
                f"The {part} part is empty: {usable} of {examples.height} images are usable.",
                expected="three different usable images of a class or more, so that each part has one, and shares "
                "above 0 in split.valid and split.test",
            )


def unread(table: pl.DataFrame) -> tuple[str, ...]:
    """A note on the images with a problem, or none."""
    bad = table.filter(pl.col("problem").is_not_null() & ~left_out())
    if not bad.height:
        return ()
    first = "; ".join(f"{path}: {reason}" for path, reason in bad.head(3).select("path", "problem").iter_rows())
    return (f"{bad.height} of {table.height} images cannot be read ({first}{'; ...' if bad.height > 3 else ''}).",)


def _notes(examples: pl.DataFrame, classes: tuple[str, ...], store: PixelStore, recipe: ImageRecipe) -> list[str]:
    notes = [f"{note} All are in examples.parquet." for note in unread(examples)]
    if store.notes:
        texts = counted(text for each in store.notes.values() for text in each)
        notes.append(f"{len(store.notes)} images could not be taken as they are: {texts}.")
    train = examples.filter(pl.col("split") == "train")
    uneven = uneven_note(targets_of(train, classes), classes, "images", recipe.balance)
    return [*notes, *untrained(classes, train["label"], "image"), *uneven]


def _spread(ids: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the ids, evenly spaced."""
    return ids[:: max(1, -(-len(ids) // most))]


def _statistics(
    preprocess: Preprocess, recipe: ImageRecipe, entry: Entry | None, store: PixelStore, examples: pl.DataFrame
) -> Preprocess:
    """Mean and deviation of the training part, where the recipe wants inputs normalised by them."""
    normalise = recipe.data.normalise or ("pretrained" if entry is not None and entry.transfer else "data")
    if normalise == "pretrained" and (entry is None or not entry.transfer):
        raise DataError(
            'data.normalise is "pretrained", and this network has no pretrained weights.', expected="data or unit"
        )
    if normalise == "unit":
        channels = preprocess.channels
        return preprocess.model_copy(update={"mean": (0.0,) * channels, "std": (1.0,) * channels})
    if normalise == "pretrained":
        return preprocess
    mean, std = _moments(store, _spread(ids_of(examples, "train"), _SAMPLE))
    return preprocess.model_copy(update={"mean": tuple(mean.tolist()), "std": tuple(std.tolist())})


def _moments(store: PixelStore, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of pixels in 0..1, a number a channel: (C,) and (C,) float64.

    Sums of whole numbers, which float64 holds exactly, so that neither portions nor threads change a bit.
    """
    _, height, width, channels = store.shape
    portion = max(1, 4_000_000 // (height * width * channels))
    total, squares = np.zeros(channels), np.zeros(channels)
    for first in range(0, len(ids), portion):
        values = store.read(ids[first : first + portion]).numpy().reshape(-1, channels).astype(np.float64)
        total += values.sum(0)
        squares += (values * values).sum(0)
    count = len(ids) * height * width
    mean = total / count
    variance = (squares - total * mean) / max(1, count - 1)
    return mean / 255, np.sqrt(variance.clip(1)) / 255  # a channel that never changes is not blown up
