"""A trained GAN: sample, predict, evaluate, and how it comes back from its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from layerwise.config import build
from layerwise.console import Show
from layerwise.data.loader import Batch, Normalise
from layerwise.data.split import SplitRecipe
from layerwise.device import Device, pick
from layerwise.errors import UsageError
from layerwise.store.model_file import ModelCard
from layerwise.tasks import generator_data
from layerwise.tasks.feature_network import JudgeRecipe, feature_network
from layerwise.tasks.gan import Gan
from layerwise.tasks.gan_outcome import GanLook, judged, score_table
from layerwise.tasks.gan_recipe import TASK
from layerwise.tasks.generator_data import GeneratorDataRecipe
from layerwise.tasks.generator_judge import Judge
from layerwise.tasks.generator_run import SampleRecipe, check_card, wanted_classes
from layerwise.tasks.image_model import answered
from layerwise.tasks.job import Columns, Outcome, check_classes, check_columns
from layerwise.tasks.loaded import network_of, without_answers

_BATCH = 64


@dataclass(frozen=True)
class GanModel:
    """A trained GAN.

    Args:
        card: of its model file.
        task: holds the network.
        look: from bytes to pixels, and what else the file says.
        device: where it computes.
    """

    card: ModelCard
    task: Gan
    look: GanLook
    device: Device

    def sample(self, count: int, values: Mapping[str, Any]) -> np.ndarray:
        """New images (count, S, S, C) uint8; the first do not depend on `count`.

        Args:
            count: how many, at least 1.
            values: of a `SampleRecipe`: seed, label (a class by name, of a conditional model), truncation.

        Raises:
            UsageError: a class that the model is not told of, or none to draw. RecipeError: an unknown value.
        """
        recipe = build(SampleRecipe, values)
        if count < 1:
            raise UsageError(f"{count} samples were asked for.", expected="1 or more")
        if recipe.sampler == "mixture":
            raise UsageError('sampler is "mixture", and a GAN has no encoder to fit one to.', expected="auto or normal")
        classes = wanted_classes(recipe.label, count, self.card.classes)
        return self.task.draw(count, seed=recipe.seed, classes=classes, truncation=recipe.truncation).pixels

    def predict(self, inputs: Any, show: Show) -> pl.DataFrame:
        """The discriminator's logit of paths, folders, bytes or arrays: a row for each, with its problem.

        Higher is more like the training images to the discriminator, which learns to tell them from samples alone: a
        hint, and no measure of how odd an image is.
        """
        names, scores, problems = answered(
            inputs, self.look.image, _BATCH, show, lambda pixels: self.task.logits(self._batches(pixels))
        )
        return without_answers(pl.DataFrame({"path": names, "score": np.concatenate(scores)}), problems, ("path",))

    def evaluate(self, data: Any, show: Show, columns: Columns) -> Outcome:
        """How near samples come to other images: to their test part, or a share of them where none is named so.

        The feature network is that of these images, so that distances compare with other figures of the same images
        and the same network only; metrics name it.

        Args:
            data: in any form that `train` takes; labels do not matter.
            show: where progress is shown.
            columns: image and label, where the data are a table.

        Raises:
            UsageError: a column that images do not have.
            DataError: a class that the model is not told of, or too few usable images.
        """
        check_columns(columns, ("image", "label"), TASK)
        image = self.look.image
        recipe = GeneratorDataRecipe(
            image=columns.get("image"),
            label=columns.get("label"),
            size=image.height,
            resize=image.resize,
            channels=image.channels,
        )
        found = generator_data.read(data, recipe, SplitRecipe(), seed=0, conditional=False, show=show)
        if self.card.classes:
            check_classes(found.classes, self.card.classes)
        features = feature_network(found, JudgeRecipe(), self.device, show)
        judge = Judge.of(found, features, JudgeRecipe(), 0)
        for note in (*found.notes, *judge.notes):
            show.say(note)
        metrics, _ = judged(found, self.task, judge)
        batches = found.batches(self.device.place, batch_size=_BATCH, seed=0, centred=True)
        return Outcome(metrics, score_table(found, self.task.logits(batches.part("test"))), self.card)

    def _batches(self, pixels: torch.Tensor) -> Iterator[Batch]:
        """(B, S, S, C) uint8 pixels, as one batch of inputs from -1 to 1."""
        half = (0.5,) * self.look.image.channels
        images = Normalise(half, half)(pixels.to(self.device.place).permute(0, 3, 1, 2).float())  # (B, C, S, S)
        nothing = torch.zeros(len(pixels), dtype=torch.int64, device=self.device.place)
        yield Batch(np.arange(len(pixels)), images, nothing)


def restore(
    card: ModelCard, tensors: Mapping[str, torch.Tensor], network: nn.Module | None, device_name: str
) -> GanModel:
    """A model from its file.

    Raises:
        StoreError: the card contradicts itself, the tensors do not fit the network that it names, or the network is
            the user's own and was not given.
    """
    look = build(GanLook, card.preprocess)
    check_card(card, look.image, look.shares)
    device = pick(device_name, card.precision)
    task = Gan({card.model: network_of(card, tensors, network)}, device, shares=look.shares)
    return GanModel(card, task, look, device)
