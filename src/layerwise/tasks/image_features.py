"""What images are to a model that has not seen their labels: features of a pretrained body, or small pixels.

N images of some rows, D numbers each.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from layerwise.data.augment import AugmentRecipe
from layerwise.device import Device
from layerwise.errors import UsageError
from layerwise.frozen import infer
from layerwise.frozen.batches import Kept, Recomputed, keep, present
from layerwise.frozen.cuts import Cut
from layerwise.frozen.shelf import Shelf
from layerwise.frozen.views import Views
from layerwise.models import build_model
from layerwise.models.backbones import Transfer
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.image_data import ImageData
from layerwise.tasks.image_frozen import Frontier, plain

SIDE = 16  # of the pixels that are looked at
_BATCH = 64
_PROBE = 16  # images that say how long one takes
Rows = NDArray[np.int64]
Compute = Callable[[Rows, Rows], tuple[torch.Tensor, ...]]


@final
class PretrainedBody:
    """The pretrained network of a run as the run began with it; the run's own has learnt the labels by now.

    Args:
        found: the data of a run of a pretrained network.
        device: where it computes.
        engine: that ran the frozen part; with another one, digits would hang on what was kept.
        shelf: where the run has kept what this body gives; none where it has not.
    """

    def __init__(self, found: ImageData, device: Device, engine: infer.Engine, shelf: Shelf | None = None) -> None:
        self._found, self._device, self._engine, self._shelf = found, device, engine, shelf

    @functools.cached_property
    def _front(self) -> Frontier:
        return _front(self._found, self._device)  # when it is needed: it takes a second

    def features(self, rows: Rows, seconds: float | None = None) -> tuple[Rows, torch.Tensor]:
        """What it gives for the images themselves, before any training: no label is in it.

        What training has kept is read; the rest is computed and kept too, unless the recipe says otherwise.

        Args:
            rows: of the images, (N,).
            seconds: that computing may take, by what the first batch took; none for as long as it takes.

        Returns:
            Those of the rows for which there was time, and (n, D) float32.

        Raises:
            UsageError: the network cannot be cut before its head.
        """
        kept = self._kept(rows)
        if kept is not None and kept.ndim == 2:
            return rows, kept
        front = self._front
        cut = front.cut(0.0)
        if cut is None:
            model = self._found.recipe.model
            raise UsageError(f'"{model}" cannot be cut before its head. {front.net.note or ""}'.strip())
        with torch.no_grad():
            some, values = _read(front, cut, self._engine, rows, seconds)
            return some, pooled(front, values)

    def _kept(self, rows: Rows) -> torch.Tensor | None:
        """What the run has kept of these images, if it has of all."""
        hashes, views = self._found.store.hashes, _views(self._found)
        if self._shelf is None or not present(self._shelf, hashes, views, *plain(rows)).all():
            return None
        return Kept(self._shelf, hashes, views, _nothing).read(*plain(rows))


def _nothing(rows: Rows, numbers: Rows) -> tuple[torch.Tensor, ...]:
    raise AssertionError("all of it is kept")


def _views(found: ImageData) -> Views:
    return Views(AugmentRecipe(), count=1, refresh=0.0, seed=found.recipe.seed)


def pixel_features(found: ImageData, rows: Rows) -> torch.Tensor:
    """Pixels of images, averaged down to 16 x 16 at most: (n,) rows -> (n, D) float32, 0 to 1."""
    parts = []
    for first in range(0, len(rows), _BATCH):
        images = found.store.read(rows[first : first + _BATCH]).permute(0, 3, 1, 2).float() / 255  # (B, C, H, W)
        sides = (min(SIDE, images.shape[2]), min(SIDE, images.shape[3]))
        parts.append(F.adaptive_avg_pool2d(images, sides).flatten(1))
    return torch.cat(parts)


def _front(found: ImageData, device: Device) -> Frontier:
    look = found.preprocess
    network = build_model(
        found.recipe.model,
        classes=len(found.classes),
        channels=look.channels,
        size=(look.height, look.width),
        pretrained=True,
        options=found.recipe.network,
    )
    task = ImageClassification(network, found.recipe, device, pretrained=True)
    return Frontier(found, task, device, _views(found))


def _read(
    front: Frontier, cut: Cut, engine: infer.Engine, rows: Rows, seconds: float | None
) -> tuple[Rows, torch.Tensor]:
    """Activations at a cut, by way of the shelf where the recipe keeps them: its digits are those that are kept."""
    hashes, views = front.found.store.hashes, front.views
    with_shelf = front.found.recipe.frozen.keep
    shelf = front.shelf(cut, engine)
    there = present(shelf, hashes, views, *plain(rows)) & with_shelf
    compute = front.compute([cut.name], engine, int((~there).sum()))
    some = rows if seconds is None or there.all() else _affordable(rows, there, compute, seconds)
    if with_shelf:
        keep([shelf], hashes, views, *plain(some), compute, lambda done: None)
        values = Kept(shelf, hashes, views, compute).read(*plain(some))
    else:
        values = Recomputed(compute).read(*plain(some))
    front.close_shelves()
    front.forget_runs()
    return some, values


def _affordable(rows: Rows, there: NDArray[np.bool_], compute: Compute, seconds: float) -> Rows:
    """The rows that are kept, and as many of the others, evenly spread, as there is time for."""
    began, lacking = time.monotonic(), rows[~there]
    first = lacking[:_PROBE]
    compute(*plain(first))  # which may take an export
    warm = time.monotonic()
    compute(*plain(first))
    now = time.monotonic()
    many = int(max(0.0, seconds - (now - began)) / max(1e-6, (now - warm) / len(first)))
    if many >= len(lacking):
        return rows
    chosen = lacking[np.linspace(0, len(lacking) - 1, many).astype(np.int64)] if many else lacking[:0]
    return np.sort(np.concatenate([rows[there], chosen]))


def pooled(front: Frontier, values: torch.Tensor) -> torch.Tensor:
    """(N, D), or (N, ...) of a network that could only be cut before its pooling -> (N, D)."""
    network = front.task.network.eval()
    if values.ndim == 2:
        return values
    assert isinstance(network, Transfer)
    return torch.cat([network.pool(part.to(front.device.place)).float().cpu() for part in torch.split(values, _BATCH)])
