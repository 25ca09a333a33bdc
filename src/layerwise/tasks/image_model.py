"""A trained image classifier: predict, evaluate, and how it comes back from its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch
from torch import nn

from layerwise.config import build
from layerwise.console import Show
from layerwise.data.arrays import image_rows
from layerwise.data.augment import AugmentRecipe
from layerwise.data.decode import Preprocess
from layerwise.data.images import find_images
from layerwise.data.loader import Batch, ImageBatches, Normalise
from layerwise.data.pixels import PixelStore, build_pixels, decode_batch, default_cache
from layerwise.data.rows import printable
from layerwise.data.tables import TABLES
from layerwise.device import Device, pick
from layerwise.errors import DataError, StoreError, UsageError
from layerwise.metrics.scores import losses
from layerwise.models import build_model
from layerwise.store.model_file import ModelCard, check_tensors
from layerwise.tasks.cards import calibrator_of
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.image_data import judged, targets_of, unread
from layerwise.tasks.job import Columns, Outcome, check_classes, check_columns
from layerwise.tasks.loaded import figures, reported, with_sure, without_answers
from layerwise.tasks.own_network import CUSTOM, not_in_file
from layerwise.tasks.recipe import ImageRecipe

TASK = "image-classification"
_BATCH = 64
A = TypeVar("A")


def prediction_table(
    classes: tuple[str, ...], paths: list[str], probabilities: np.ndarray, targets: np.ndarray | None = None
) -> pl.DataFrame:
    """A row an image: path, label and loss where known, the predicted class and every class's probability."""
    best = probabilities.argmax(1)
    columns: dict[str, Any] = {"path": paths}
    if targets is not None:
        columns["label"] = [classes[number] for number in targets]
    columns["predicted"] = [classes[number] for number in best]
    columns["probability"] = probabilities[np.arange(len(best)), best]
    if targets is not None:
        columns["loss"] = losses(probabilities, targets)
    return pl.DataFrame(columns | {f"p:{name}": probabilities[:, place] for place, name in enumerate(classes)})


@dataclass(frozen=True)
class ImageModel:
    """A trained image classifier.

    Args:
        card: of its model file.
        task: holds the network.
        preprocess: from bytes to pixels and inputs.
        device: where it computes.
    """

    card: ModelCard
    task: ImageClassification
    preprocess: Preprocess
    device: Device

    def predict(self, inputs: Any, show: Show) -> pl.DataFrame:
        """Predict paths, folders, bytes or arrays: a row for each, with its problem where it cannot be read."""
        names, parts, problems = answered(inputs, self.preprocess, _BATCH, show, self.probabilities)
        table = prediction_table(self.card.classes, names, np.concatenate(parts))
        return without_answers(with_sure(table, self.card), problems, ("path",))

    def probabilities(self, pixels: torch.Tensor) -> np.ndarray:
        """(B, H, W, C) uint8 pixels, as preprocessed -> (B, classes) probabilities."""
        images = pixels.to(self.device.place).permute(0, 3, 1, 2).float()  # (B, C, H, W)
        nothing = torch.zeros(len(pixels), dtype=torch.int64)
        batch = Batch(np.arange(len(pixels)), Normalise(self.preprocess.mean, self.preprocess.std)(images), nothing)
        return calibrator_of(self.card)(self.task.predict(iter([batch]))[0])

    def evaluate(self, data: Any, show: Show, columns: Columns) -> Outcome:
        """Metrics on other labelled data: its test part where it has one by name, else all of it.

        Args:
            data: in any form that `train` takes.
            show: where progress is shown.
            columns: image and label, where the data are a table.

        Raises:
            UsageError: a column that images do not have.
            DataError: a label that the model does not know, or nothing usable.
        """
        check_columns(columns, ("image", "label"), TASK)
        source = find_images(data, image=columns.get("image"), label=columns.get("label"))
        check_classes(source.classes, self.card.classes)
        with show.bar("reading images", len(source.table)) as advance:
            store = build_pixels(source, self.preprocess, cache=default_cache(), advance=advance)
        examples = judged(source, store)
        for note in (*source.notes, *unread(examples)):
            show.say(note)
        targets = targets_of(examples, self.card.classes)
        part, rows = reported(examples, targets, source.held_out, "image")
        batches = self._batches(store, targets, rows)
        uncalibrated, right = self.task.predict(batches.part("test"))
        metrics = figures(self.card, part, uncalibrated, right)
        probabilities = calibrator_of(self.card)(uncalibrated)
        paths = examples["path"].gather(rows).to_list()
        table = prediction_table(self.card.classes, paths, probabilities, right)
        return Outcome(metrics, table.insert_column(0, pl.Series("id", rows)), self.card)

    def _batches(self, store: PixelStore, targets: np.ndarray, rows: np.ndarray) -> ImageBatches:
        return ImageBatches(
            store=store,
            targets=targets,
            parts={"test": rows},
            classes=len(self.card.classes),
            batch_size=_BATCH,
            augment=AugmentRecipe(),
            normalise=Normalise(self.preprocess.mean, self.preprocess.std),
            seed=0,
            device=self.device.place,
        )


def restore(
    card: ModelCard, tensors: Mapping[str, torch.Tensor], network: nn.Module | None, device_name: str
) -> ImageModel:
    """A model from its file.

    Raises:
        StoreError: the card contradicts itself, the tensors do not fit the network that it names, or the network is
            the user's own and was not given.
    """
    shape, look = card.network, build(Preprocess, card.preprocess)
    if not len(card.classes) == len(card.train_counts) == shape["classes"]:
        raise StoreError(
            f"The model file has {len(card.classes)} class names, counts of {len(card.train_counts)} classes, and a "
            f"network of {shape['classes']}.",
            expected="one number for all three",
        )
    if look.channels != shape["channels"]:  # which also bounds what a made-up card may ask for
        raise StoreError(
            f"The model file prepares images of {look.channels} channels for a network of {shape['channels']}.",
            expected="one number for both",
        )
    if network is None:
        if card.model == CUSTOM:
            raise not_in_file()
        network = build_model(
            card.model,
            classes=shape["classes"],
            channels=shape["channels"],
            size=(look.height, look.width),
            pretrained=False,
            options=shape["options"],
        )
    check_tensors(network.state_dict(), tensors)
    network.load_state_dict(dict(tensors))
    device = pick(device_name, card.precision)
    task = ImageClassification(network, ImageRecipe(), device, pretrained=False)
    return ImageModel(card, task, look, device)


def answered(
    inputs: Any, preprocess: Preprocess, batch: int, show: Show, answer: Callable[[torch.Tensor], A]
) -> tuple[list[str], list[A], list[str | None]]:
    """Names of images, answers to each batch of them, and what is wrong with each image that cannot be read.

    Args:
        inputs: see `find_inputs`.
        preprocess: from bytes to pixels.
        batch: images that are decoded at a time.
        show: where progress is shown.
        answer: to pixels (B, H, W, C) uint8.
    """
    found = find_inputs(inputs)
    answers: list[A] = []
    problems: dict[int, str] = {}
    with show.bar("predicting", len(found)) as advance:
        for first in range(0, len(found), batch):
            chunk = found[first : first + batch]
            pixels, bad = decode_batch([item for _, item in chunk], preprocess)
            problems |= {first + row: reason for row, reason in bad.items()}
            answers.append(answer(pixels))
            advance(len(chunk))
    return [name for name, _ in found], answers, [problems.get(row) for row in range(len(found))]


def find_inputs(inputs: Any) -> list[tuple[str, Any]]:
    """What is to be predicted, each with a name for people; folders are looked through.

    Args:
        inputs: a path, bytes of a file, an array of images (N, H, W[, C]), or a list of any of these but arrays.

    Raises:
        DataError: there is nothing, or a path does not exist.
        UsageError: it is something else.
    """
    if isinstance(inputs, np.ndarray | torch.Tensor):
        if inputs.ndim == 3 and inputs.shape[-1] in (3, 4):
            raise DataError(
                f"An array of shape {tuple(inputs.shape)} looks like one image.", expected="many", fix="Give x[None]."
            )
        images, _ = image_rows(inputs)  # as for training: all values together say whether they are 0..1 or 0..255
        return [(str(row), image) for row, image in enumerate(images)]
    listed: Sequence[Any] = [inputs] if isinstance(inputs, str | Path | bytes) else inputs
    found = [pair for item in listed for pair in _inputs_of(item)]
    if not found:
        raise DataError("There is nothing to predict.", expected="one image or more")
    return found


def _inputs_of(item: Any) -> list[tuple[str, Any]]:
    if isinstance(item, bytes):
        return [(f"{len(item)} bytes", item)]
    if isinstance(item, np.ndarray | torch.Tensor):
        return [("array", item)]
    if not isinstance(item, str | Path):
        raise UsageError(f"An input is a {type(item).__name__}.", expected="a path, bytes of a file, or an array")
    path = Path(item)
    if path.is_dir() or path.suffix.lower() in TABLES:
        source = find_images(path, labelled=False)
        names = source.table["path"].to_list()  # relative to the folder, and named as the person named that
        if source.arrays is not None:
            return list(zip(names, source.arrays, strict=True))
        above = path if path.is_dir() else path.parent
        return [(printable(str(above / name)), source.file(row)) for row, name in enumerate(names)]
    if not path.exists():
        raise DataError(f"There is no image at {path}.", expected="an image or a folder of images")
    return [(printable(str(path)), path)]
