"""A run within `budget` seconds: which body and picture size before the data are read, how many epochs after."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from layerwise.config import build, merge
from layerwise.console import Show
from layerwise.data.decode import Preprocess
from layerwise.data.images import ImageSource, find_images
from layerwise.data.loader import ImageBatches
from layerwise.data.pixels import decode_batch
from layerwise.engine.finder import unchanged
from layerwise.errors import LayerwiseError, UsageError
from layerwise.frozen.budget import EPOCHS, expected
from layerwise.frozen.plan import duration
from layerwise.models import MODELS, Entry, at_hand, backbone_preprocess, build_model, find_model
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.image_data import ImageData, auto_model, ids_of
from layerwise.tasks.own_network import CUSTOM
from layerwise.tasks.recipe import ImageRecipe, Stage

# Of the time that is left, what a plan may fill: the rest is for a machine that slows down.
USABLE = 0.85
_END = 3.0  # seconds for loading before the clock starts, and for the files of the end
_SAMPLE = 16  # pictures that a body is timed on
_SMALLER = 0.75  # the other side that is looked at, as a share of the body's own
_TRAIN = 0.8  # of the pictures, about
_STEP = 0.6  # of a forward pass of the whole, that a training step behind a frozen body's last fifth takes, about
_PROBES = 6  # steps that a network from scratch is timed on
_LONGER = 3  # times its own epochs, that a network from scratch is trained at most where there is time


@dataclass(frozen=True)
class _Body:
    """A pretrained network at a picture size, timed."""

    entry: Entry
    side: int
    decode: float  # seconds a picture
    forward: float

    def best(self, pictures: int, seconds: float) -> tuple[float, float]:
        """The accuracy to be expected of the best schedule that fits, and its seconds; -inf where none fits."""
        found = [
            (expected(self.entry.top1 or 0.0, self.side / self.entry.size, epochs, views), cost)
            for views in (1, 2)
            for epochs in (0, *EPOCHS)
            if (cost := self.cost(pictures, views, epochs)) <= seconds
        ]
        return max(found, default=(-float("inf"), self.cost(pictures, 1, 0)))

    def cost(self, pictures: int, views: int, epochs: int) -> float:
        """Seconds of a run: decoding, one pass over all views, thawed epochs, the test part."""
        train = _TRAIN * pictures
        passes = pictures + (views - 1) * train + epochs * train * _STEP
        return pictures * self.decode + passes * self.forward


def choose_body(data: Any, values: Mapping[str, Any], show: Show) -> dict[str, Any]:
    """The values of a recipe with a budget, completed by the body and the picture size to be expected best in time.

    Args:
        data: as `train` takes them.
        values: the user's part of the recipe; what they say stays.
        show: the choice is printed there.
    """
    asked = build(ImageRecipe, values)
    assert asked.budget is not None
    began = time.monotonic()
    source = find_images(data, image=asked.data.image, label=asked.data.label)
    name = auto_model(source) if asked.model == "auto" else asked.model
    if name == CUSTOM or not asked.pretrained or not find_model(name).transfer:
        return dict(values)
    names = [name] if asked.model != "auto" else [entry.name for entry in MODELS.values() if at_hand(entry)]
    if not names:
        return dict(values)  # loading the weights will say what is missing
    bodies = [body for each in names for body in _timed(source, find_model(each), asked)]
    left = USABLE * (asked.budget - (time.monotonic() - began)) - _END
    chosen = max(bodies, key=lambda body: (body.best(len(source), left)[0], -body.forward))
    better = [body for body in bodies if body.entry.top1 and body.entry.top1 > (chosen.entry.top1 or 0)]
    lost = [f"{each.entry.name} at {each.side} pixels" for each in better if each.side == each.entry.size]
    show.say(
        f"Budget {duration(asked.budget)}: {chosen.entry.name} at {chosen.side} pixels."
        + (f" Given up: {', '.join(lost)}." if lost else "")
    )
    return merge(values, {"model": chosen.entry.name, "data": {"size": chosen.side}})


def _timed(source: ImageSource, entry: Entry, asked: ImageRecipe) -> list[_Body]:
    """A body at its own size and at a smaller one."""
    look = build(Preprocess, backbone_preprocess(entry.name))
    rows = np.linspace(0, len(source) - 1, min(_SAMPLE, len(source))).astype(int).tolist()
    items = [source.file(row) if source.arrays is None else source.arrays[row] for row in rows]
    began = time.perf_counter()
    decode_batch(items, look)
    decode = (time.perf_counter() - began) / len(items)
    try:
        # Random weights take as long as trained ones, and are made faster.
        size = (look.height, look.width)
        body = build_model(entry.name, classes=2, channels=3, size=size, pretrained=False, options={}).eval()
    except LayerwiseError:
        return []
    body = body.to(memory_format=torch.channels_last)
    images = torch.rand(len(items), 3, *size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        body(images[:2])
        began = time.perf_counter()
        body(images)
    forward = (time.perf_counter() - began) / len(items)
    sides = [asked.data.size] if asked.data.size else [entry.size, round(_SMALLER * entry.size / 32) * 32]
    return [_Body(entry, side, decode, forward * (side / entry.size) ** 2) for side in sides]


def whole_epochs(
    found: ImageData, task: ImageClassification, batches: ImageBatches, stage: Stage, seconds: float, show: Show
) -> Stage:
    """The stage of a network that starts random, with as many epochs as the seconds reach for.

    Raises:
        UsageError: they do not reach for one epoch.
    """
    with unchanged(task.network):
        task.begin(stage, steps=_PROBES)
        step = _step_seconds(task, batches)
    train, others = (len(ids_of(found.examples, part)) for part in ("train", "valid"))
    epoch = step * batches.steps * (1 + others / (3 * train))  # a forward pass is a third of a step
    reach = int((USABLE * seconds - _END) / epoch)
    if reach < 1:
        raise too_short(found.recipe.budget or 0.0, epoch / USABLE + _END)
    most = stage.epochs if found.recipe.model == CUSTOM else _LONGER * stage.epochs
    epochs = min(reach, most)
    lost = f" Given up: {stage.epochs - epochs} epochs." if epochs < stage.epochs else ""
    show.say(f"Budget {duration(found.recipe.budget or 0.0)}: {epochs} epochs of {duration(epoch)} each.{lost}")
    return stage.model_copy(update={"epochs": epochs})


def _step_seconds(task: ImageClassification, batches: ImageBatches) -> float:
    """Seconds of a step, the first left out."""
    ends = []
    for batch in itertools.islice(batches.train(0), _PROBES):
        task.train_step(batch)
        ends.append(time.perf_counter())
    return (ends[-1] - ends[0]) / max(1, len(ends) - 1)


def too_short(budget: float, needed: float) -> UsageError:
    """What a budget is answered with in which nothing can be trained."""
    return UsageError(
        f"A budget of {duration(budget)} is too short for these data.",
        expected=f"about {duration(needed)} or more on this machine",
        fix="Give more time, fewer images, or a smaller data.size.",
    )
