"""A trained model, from a run folder or a model file: predict, evaluate, and what a generator makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from layerwise.config import build
from layerwise.console import Show, Silent
from layerwise.errors import StoreError, UsageError
from layerwise.store.model_file import ModelCard, load_model
from layerwise.store.run import named_run
from layerwise.tasks import job as jobs
from layerwise.tasks import task_entry
from layerwise.tasks.explanation import Explained, ExplainRecipe


@dataclass(frozen=True)
class Model:
    """A trained model: what `load` gives.

    Example:
        >>> model = load("runs/20261122-flowers")                           # doctest: +SKIP
        >>> model.predict("new-photos/")                                    # doctest: +SKIP
    """

    _model: jobs.Model

    @property
    def card(self) -> ModelCard:
        """What the model file says beside the weights: task, network, classes, preprocessing, temperature."""
        return self._model.card

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self._model.card.classes

    def predict(self, inputs: Any, *, show: Show | None = None) -> pl.DataFrame:
        """A row for each input: what is predicted, with every class's probability; of a forecast, a row a step ahead.

        Args:
            inputs: files, folders, texts or arrays, such as the model's task takes.
            show: where progress is shown; nowhere by default.
        """
        return self._model.predict(inputs, show or Silent())

    def evaluate(
        self, data: Any, *, columns: Mapping[str, str] | None = None, show: Show | None = None
    ) -> dict[str, Any]:
        """Metrics on labelled data, in the form of `metrics.json`.

        Args:
            data: in any form that `train` takes.
            columns: of a table, by what they hold (image, text, label, target, time, series), where they cannot be
                guessed: `{"label": "species"}`.
            show: where progress is shown; nowhere by default.
        """
        return self._model.evaluate(data, show or Silent(), columns or {}).metrics

    def explain(self, inputs: Any, *, label: str | None = None, most: int = 64, show: Show | None = None) -> Explained:
        """Why each input is answered as it is: what of it speaks for a class, or moves a forecast, with a picture.

        Args:
            inputs: as `predict` takes them.
            label: the class that is asked about; the predicted one of each input by default.
            most: inputs that are explained; those behind are left out.
            show: where progress is shown; nowhere by default.

        Raises:
            UsageError: no method is known for the task or the network, or the class is unknown.

        Example:
            >>> found = load("runs/20261122-flowers").explain("new.jpg")    # doctest: +SKIP
            >>> found.items[0].words                                        # doctest: +SKIP
            'strongest at the centre (row 4, column 3 of 7 x 7), a ninth of the image with 71 % of it'
        """
        method = task_entry(self.card.task).explain
        if method is None:
            raise UsageError(
                f"A model of {self.card.task} gives no answer that could be explained.",
                expected="a classifier or a forecaster",
            )
        return method(self._model, inputs, build(ExplainRecipe, {"class": label, "most": most}), show or Silent())

    def sample(
        self,
        count: int = 16,
        *,
        seed: int = 0,
        label: str | None = None,
        sampler: str = "auto",
        truncation: float = 1.0,
    ) -> NDArray[np.uint8]:
        """New images of a VAE or GAN: (count, H, W, C) uint8. The first of many are those of few.

        Args:
            count: how many.
            seed: the same one gives the same images.
            label: the class, of a model that was trained with `conditional`; all in turn without.
            sampler: of a VAE: normal (the prior), mixture (of Gaussians, fitted to what it has encoded), or auto,
                whichever came nearer to real images in validation.
            truncation: factor on the latents; below 1 samples are more alike and more typical.

        Raises:
            UsageError: the model makes no images, or has no such class or sampler.
        """
        values = {"seed": seed, "label": label, "sampler": sampler, "truncation": truncation}
        return self.sample_with(count, values)

    def reconstruct(self, images: Any) -> NDArray[np.uint8]:
        """Images such as `predict` takes, encoded and decoded again by a VAE: (n, H, W, C) uint8."""
        return self._maker("reconstruct").reconstruct(images)

    def interpolate(self, first: Any, second: Any, steps: int = 9) -> NDArray[np.uint8]:
        """From one image to another through a VAE's latents: (steps, H, W, C) uint8."""
        return self._maker("interpolate").interpolate(first, second, steps)

    def traverse(self, image: Any = None, *, reach: float = 3.0, steps: int = 9) -> NDArray[np.uint8]:
        """One latent of a VAE after another, from -reach to reach: (Z, steps, H, W, C) uint8.

        Args:
            image: whose other latents stay; those of the origin without.
            reach: deviations of the prior.
            steps: images a latent.
        """
        return self._maker("traverse").traverse(image, reach, steps)

    def _maker(self, what: str) -> jobs.Maker:
        able = task_entry(self.card.task).makes
        if what not in able:
            raise UsageError(
                f"A model of {self.card.task} cannot {what}.",
                expected="a VAE" if what != "sample" else "a VAE or a GAN",
                fix="Train one: layerwise train DATA --task vae.",
            )
        return cast(jobs.Maker, self._model)

    def sample_with(self, count: int, values: Mapping[str, Any]) -> NDArray[np.uint8]:
        """`sample` with its words in one mapping; what the command line calls."""
        return self._maker("sample").sample(count, values)


def load(path: str | Path, *, network: torch.nn.Module | None = None, device: str = "auto") -> Model:
    """A trained model, from a run folder or a model file. Loading runs no code that the file could hold.

    Args:
        path: a run folder, or a `.safetensors` file that layerwise wrote.
        network: only for a model that was your own `nn.Module`: one like it.
        device: auto, cpu, cuda or mps.

    Raises:
        UsageError: there is nothing at the path, or a folder that is no run.
        StoreError: it is no such file, it is damaged, or it was made by a newer layerwise.
    """
    file = Path(path)
    if not file.is_file():
        folder = named_run(file)
        if not folder.model.is_file():
            raise StoreError(f"The run {file} has no model yet.", fix=f"Go on with: layerwise resume {file}")
        file = folder.model
    card, tensors = load_model(file)
    return Model(task_entry(card.task).restore(card, tensors, network, device))
