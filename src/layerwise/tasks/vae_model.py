"""A trained variational autoencoder: scores, samples, what it draws, and how it comes back from its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn

from layerwise.config import build
from layerwise.console import Show
from layerwise.data.images import find_images
from layerwise.data.pixels import build_pixels, decode_batch, default_cache
from layerwise.device import pick
from layerwise.errors import DataError, StoreError, UsageError
from layerwise.metrics import elbo
from layerwise.metrics.generation_verdict import verdict_nats
from layerwise.metrics.means import mean_interval
from layerwise.store.model_file import ModelCard
from layerwise.tasks.generator_judge import MEAN_IMAGE
from layerwise.tasks.generator_run import SampleRecipe, check_card, wanted_classes
from layerwise.tasks.image_data import judged, targets_of, unread
from layerwise.tasks.image_model import answered, find_inputs
from layerwise.tasks.job import Columns, Outcome, check_classes, check_columns
from layerwise.tasks.loaded import network_of, reported, without_answers
from layerwise.tasks.vae_bound import as_vae, measured, measured_untold
from layerwise.tasks.vae_latents import VaeLook, latents
from layerwise.tasks.vae_outcome import DRAWS, Scored, score_columns
from layerwise.tasks.vae_pictures import Drawing
from layerwise.tasks.vae_recipe import TASK

_BATCH = 256  # images that are decoded from files at a time


@dataclass(frozen=True)
class VaeModel:
    """A trained variational autoencoder.

    Args:
        card: of its model file.
        look: what the card says beside the network.
        drawing: holds the network, in eval mode on its device.
    """

    card: ModelCard
    look: VaeLook
    drawing: Drawing

    def predict(self, inputs: Any, show: Show) -> pl.DataFrame:
        """How unlike the training images each image is: a row for each, with its problem where it cannot be read.

        `score` is the negative ELBO in nats: the higher, the less the image is like those of training. `percentile` is
        the share of the validation images whose score is lower, 0 to 100: above 99 is unusual. `reconstruction` and
        `kl` are its two parts, `z0` and on the means of the latents. Where the network is told of classes, the score is
        that of an image whose class is not known, and the rest is of its likeliest class.
        """
        names, parts, problems = answered(
            inputs, self.look.image, _BATCH, show, lambda pixels: self._scored(pixels.numpy())
        )
        columns = pl.concat([pl.DataFrame(score_columns(part)) for part in parts])
        share = elbo.percentile(columns["score"].to_numpy(), self.look.scores)
        columns = columns.insert_column(1, pl.Series("percentile", share))
        table = columns.insert_column(0, pl.Series("path", names))
        return without_answers(table, problems, ("path",))

    def evaluate(self, data: Any, show: Show, columns: Columns) -> Outcome:
        """The bound on other images: their test part where they have one by name, else all of them.

        Args:
            data: in any form that `train` takes; with labels where the network is told of classes.
            show: where progress is shown.
            columns: image and label, where the data are a table.

        Raises:
            UsageError: a column that images do not have.
            DataError: a label that the model does not know, or nothing usable.
        """
        check_columns(columns, ("image", "label"), TASK)
        told = self.drawing.conditional
        source = find_images(data, image=columns.get("image"), label=columns.get("label"), labelled=told)
        if told:
            check_classes(source.classes, self.card.classes)
        with show.bar("reading images", len(source.table)) as advance:
            store = build_pixels(source, self.look.image, cache=default_cache(), advance=advance)
        examples = judged(source, store)
        for note in (*source.notes, *unread(examples)):
            show.say(note)
        targets = targets_of(examples, self.card.classes) if told else np.zeros(len(source), np.int64)
        part, rows = reported(examples, targets, source.held_out, "image")
        pixels: NDArray[np.uint8] = store.read(rows).numpy()
        given = measured(self.drawing.network, self.drawing.device, pixels, targets[rows] if told else None, DRAWS)
        found = Scored(given, self._scored(pixels).scores if told else given.negative_elbo)
        rival = elbo.mean_image_nats(pixels, pixels, as_vae(self.drawing.network).likelihood)
        baseline = {"name": f"{MEAN_IMAGE} of these data", "metrics": {"negative_elbo": mean_interval(rival)}}
        metrics = {
            "task": TASK,
            "split": part,
            "n": len(rows),
            "metrics": {
                "negative_elbo": mean_interval(given.negative_elbo),
                "reconstruction": mean_interval(given.reconstruction),
                "kl": mean_interval(given.kl),
                "active_units": elbo.active_count(given.means),
            },
            "baseline": baseline,
            "verdict": verdict_nats(given.negative_elbo, rival, than="the mean image of these data"),
            "seconds": {},
        }
        given_columns = examples[rows.tolist()]
        table = pl.DataFrame({"id": rows, "path": given_columns["path"], "label": given_columns["label"]})
        return Outcome(metrics, table.hstack(score_columns(found)), self.card)

    def sample(self, count: int, values: Mapping[str, Any]) -> np.ndarray:
        """New images (count, H, W, C) uint8: what the decoder expects, of latents that a sampler draws.

        Args:
            count: how many, at least 1.
            values: of a `SampleRecipe`: seed, label, sampler, truncation.

        Raises:
            RecipeError: a value that cannot be used. UsageError: a class that the model is not told of.
        """
        recipe = build(SampleRecipe, values)
        labels = wanted_classes(recipe.label, count, self.card.classes)
        sampler = self.look.sampler if recipe.sampler == "auto" else recipe.sampler
        drawn = latents(sampler, self.look.mixture, seed=recipe.seed, labels=labels, truncation=recipe.truncation)
        return self.drawing.decoded(drawn, labels)

    def reconstruct(self, images: Any) -> np.ndarray:
        """Images such as `predict` takes, encoded and decoded again: (n, H, W, C) uint8.

        Where the network is told of classes, each image is of its likeliest class.

        Raises:
            DataError: an image cannot be read.
        """
        pixels = self._pixels(images)
        return self.drawing.reconstructed(pixels, self._labels(pixels))

    def interpolate(self, first: Any, second: Any, steps: int) -> np.ndarray:
        """From one image to another through the latents between them: (steps, H, W, C) uint8.

        Raises:
            DataError: an image cannot be read. UsageError: fewer than two steps.
        """
        _check_steps(steps)
        pair = np.concatenate([self._pixels(_one(first)), self._pixels(_one(second))])
        if len(pair) != 2:
            raise UsageError(f"{len(pair)} images were given to go between.", expected="one and another")
        return self.drawing.between(pair, self._labels(pair), steps)

    def traverse(self, image: Any, reach: float, steps: int) -> np.ndarray:
        """One latent after another from -reach to reach, the others those of an image: (Z, steps, H, W, C) uint8.

        Args:
            image: None for the origin, which where the network is told of classes is of the first.
            reach: in deviations of N(0, I).
            steps: images a latent.

        Raises:
            DataError: the image cannot be read. UsageError: fewer than two steps, or several images.
        """
        _check_steps(steps)
        if image is None:
            return self.drawing.along(np.zeros(self.look.mixture.latent, np.float32), 0, reach, steps)
        pixels = self._pixels(_one(image))
        if len(pixels) != 1:
            raise UsageError(f"{len(pixels)} images were given to start from.", expected="one, or none")
        labels = self._labels(pixels)
        origin = self.drawing.encoded(pixels, labels)[0]
        return self.drawing.along(origin, 0 if labels is None else int(labels[0]), reach, steps)

    def plane(self, side: int = 20, label: str | None = None) -> np.ndarray:
        """The plane of two latents: (side * side, H, W, C) uint8, at evenly spaced quantiles of N(0, 1), row by row.

        Args:
            side: images a row and a column; the first latent grows to the right, the second upwards.
            label: the class, where the network is told of classes; the first of them without.

        Raises:
            UsageError: the model has another number of latents, or no such class.
        """
        if self.look.mixture.latent != 2:
            raise UsageError(f"This model has {self.look.mixture.latent} latents.", expected="2, for a plane")
        return self.drawing.plane(int(max(0, wanted_classes(label, 1, self.card.classes)[0])), side)

    def _scored(self, pixels: NDArray[np.uint8]) -> Scored:
        network, device = self.drawing.network, self.drawing.device
        if not self.drawing.conditional:
            found = measured(network, device, pixels, None, DRAWS)
            return Scored(found, found.negative_elbo)
        scores, likeliest, _ = measured_untold(network, device, pixels, self.look.shares, DRAWS)
        return Scored(likeliest, scores)

    def _labels(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64] | None:
        """The likeliest class of each image, where the network is told of classes."""
        if not self.drawing.conditional:
            return None
        network, device = self.drawing.network, self.drawing.device
        return measured_untold(network, device, pixels, self.look.shares, DRAWS)[2]

    def _pixels(self, images: Any) -> NDArray[np.uint8]:
        found = find_inputs(images)
        pixels, bad = decode_batch([item for _, item in found], self.look.image)
        if bad:
            place, reason = next(iter(bad.items()))
            raise DataError(f"{found[place][0]} cannot be read: {reason}.", expected="an image")
        array: NDArray[np.uint8] = pixels.numpy()
        return array


def restore(
    card: ModelCard, tensors: Mapping[str, torch.Tensor], network: nn.Module | None, device_name: str
) -> VaeModel:
    """A model from its file.

    Raises:
        StoreError: the card contradicts itself, the tensors do not fit the network that it names, or the network is
            the user's own and was not given.
    """
    look = build(VaeLook, card.preprocess)
    check_card(card, look.image, look.shares)
    device = pick(device_name, card.precision)
    loaded = network_of(card, tensors, network).to(device.place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if as_vae(loaded).latent != look.mixture.latent:
        raise StoreError(
            f"The model file draws {look.mixture.latent} latents for a network of {as_vae(loaded).latent}.",
            expected="one number for both",
        )
    return VaeModel(card, look, Drawing(loaded.eval(), device, conditional=bool(card.classes)))


def _one(image: Any) -> Any:
    """One array of an image as a list of one; anything else as it is."""
    single = isinstance(image, np.ndarray | torch.Tensor) and (
        image.ndim == 2 or (image.ndim == 3 and image.shape[-1] in (1, 3, 4))
    )
    return [image] if single else image


def _check_steps(steps: int) -> None:
    if steps < 2:
        raise UsageError(f"{steps} steps were asked for.", expected="2 or more, the ends among them")
