"""The card of a model that has just been trained."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import layerwise
from layerwise.device import Device
from layerwise.metrics.calibration import NONE, Calibrator
from layerwise.store.model_file import ModelCard


def new_card(
    task: str,
    model: str,
    device: Device,
    *,
    network: Mapping[str, Any],
    preprocess: Mapping[str, Any],
    classes: Sequence[str] = (),
    train_counts: Sequence[int] = (),
    calibrator: Calibrator = NONE,
) -> ModelCard:
    """All but the hash of the tensors, which `save_model` fills in.

    Args:
        task, model: names in the tables.
        device: its precision is that of the run's figures.
        network: classes, channels and size, and the network's options; see `ModelCard`.
        preprocess: from an input to what the network takes.
        classes: names, in the order of the logits.
        train_counts: training examples of each class.
        calibrator: what makes answers as sure as they are right.
    """
    return ModelCard(
        layerwise=layerwise.__version__,
        task=task,
        model=model,
        network=dict(network),
        classes=tuple(classes),
        preprocess=dict(preprocess),
        train_counts=tuple(train_counts),
        precision="bfloat16" if device.autocast else "float32",
        temperature=calibrator.temperature,
        smoothing=calibrator.smoothing,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        tensors_sha256="",
    )


def calibrator_of(card: ModelCard) -> Calibrator:
    """What makes a model's answers as sure as they are right."""
    return Calibrator(card.temperature, card.smoothing)
