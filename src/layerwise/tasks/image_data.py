"""From a person's images and a recipe to everything that a run of image classification needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from layerwise.config import build, merge
from layerwise.console import Show
from layerwise.data.decode import Preprocess
from layerwise.data.images import ImageSource, find_images
from layerwise.data.loader import ImageBatches, Normalise
from layerwise.data.pixels import PixelStore, build_pixels, default_cache
from layerwise.data.split import split
from layerwise.device import Device
from layerwise.errors import DataError
from layerwise.models import Entry, backbone_preprocess, find_model
from layerwise.tasks.recipe import ImageRecipe

# Images that statistics (mean, deviation, whitening) are taken from: more change the third digit only.
_SAMPLE = 5000
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
        )

    def sample(self) -> torch.Tensor:
        """Normalised training images (n, C, H, W), at most 5,000, spread over the training part."""
        pixels = _sample(self.store, ids_of(self.examples, "train"))
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
    source = find_images(data, image=asked.data.image, label=asked.data.label)
    entry = None if asked.model == "custom" else find_model(_choose(source) if asked.model == "auto" else asked.model)
    own = {} if entry is None else {**entry.recipe, "model": entry.name}
    recipe = build(ImageRecipe, merge(merge(own, values), {"model": entry.name if entry else "custom"}))
    preprocess = _preprocess(source, recipe, entry)
    with show.bar("reading images", len(source.table)) as advance:
        store = build_pixels(source, preprocess, cache=default_cache(), advance=advance)
    examples, notes = _examples(source, store, recipe)
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
        notes=(*source.notes, *notes, *_problems(examples)),
    )


def _choose(source: ImageSource) -> str:
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
        values = {"height": height, "width": width, "channels": channels, "mean": (0.0,), "std": (1.0,)}
    if recipe.data.size is not None:
        values |= {"height": recipe.data.size, "width": recipe.data.size}
    if recipe.data.resize is not None:
        values |= {"resize": recipe.data.resize}
    if entry is None or not entry.transfer:
        channels = values["channels"]
        values |= {"mean": (0.0,) * channels, "std": (1.0,) * channels}  # type: ignore[operator]
    return build(Preprocess, values)


def _examples(source: ImageSource, store: PixelStore, recipe: ImageRecipe) -> tuple[pl.DataFrame, tuple[str, ...]]:
    problems = [store.problems.get(row, old) for row, old in enumerate(source.table["problem"].to_list())]
    table = source.table.with_columns(
        pl.Series("hash", store.hashes, dtype=pl.String), pl.Series("problem", problems, dtype=pl.String)
    )
    return split(table, recipe.split, seed=recipe.seed)


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
                expected="at least three usable images of a class, so that each part has one",
            )


def _problems(examples: pl.DataFrame) -> tuple[str, ...]:
    bad = examples.filter(pl.col("problem").is_not_null())
    if not bad.height:
        return ()
    first = "; ".join(f"{path}: {reason}" for path, reason in bad.head(3).select("path", "problem").iter_rows())
    more = "; ..." if bad.height > 3 else ""
    return (f"{bad.height} of {examples.height} images cannot be read ({first}{more}). All are in examples.parquet.",)


def _sample(store: PixelStore, ids: np.ndarray) -> torch.Tensor:
    spread = ids[:: max(1, -(-len(ids) // _SAMPLE))]
    return store.read(spread).permute(0, 3, 1, 2).float()  # (n, C, H, W)


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
    pixels = _sample(store, ids_of(examples, "train")) / 255
    mean = pixels.mean((0, 2, 3), dtype=torch.float64)
    std = pixels.double().std((0, 2, 3)).clamp_min(1 / 255)
    return preprocess.model_copy(update={"mean": tuple(mean.tolist()), "std": tuple(std.tolist())})
