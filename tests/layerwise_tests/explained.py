"""Models to explain, made without a run, and images whose class a planted square decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from layerwise.data.decode import Preprocess
from layerwise.data.tokens import train_tokenizer
from layerwise.device import pick
from layerwise.metrics.calibration import Calibrator
from layerwise.models.by_task import Sizes, build_task_model
from layerwise.tasks import image_model, sequence_model, text_model
from layerwise.tasks.cards import new_card
from layerwise_tests.texts import film_reviews

SQUARES = ("red", "green", "blue", "none")
_COLOURS = np.array([(220, 30, 30), (30, 180, 30), (30, 30, 220)])


def image_classifier(network: nn.Module, side: int, classes: Sequence[str]) -> image_model.ImageModel:
    """A model of a network for images of side x side pixels in colour."""
    look = Preprocess(height=side, width=side, channels=3, crop_share=1.0, mean=(0.5,) * 3, std=(0.5,) * 3)
    sizes = {"classes": len(classes), "channels": 3, "size": side, "options": {}}
    card = new_card(
        image_model.TASK, "custom", pick("cpu", "float32"), network=sizes, classes=classes,
        preprocess=look.model_dump(mode="json"), train_counts=[1] * len(classes),
    )  # fmt: skip
    return image_model.restore(card, network.state_dict(), network, "cpu")


def text_classifier(name: str, classes: int = 2, network: nn.Module | None = None) -> text_model.TextModel:
    """A model with weights far from zero, whose words are those of `film_reviews`."""
    tokenizer = train_tokenizer(film_reviews(40)[0], "words", 60)
    torch.manual_seed(0)
    sizes = Sizes(len(tokenizer), classes, 64)
    net = build_task_model(text_model.TASK, name, sizes, {}) if network is None else network
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    card = new_card(
        text_model.TASK, name, pick("cpu", "float32"),
        network={"classes": classes, "channels": len(tokenizer), "size": 64, "options": {}},
        classes="abcdef"[:classes], preprocess={"tokenizer": tokenizer.json, "max_length": 64},
        train_counts=[1] * classes, calibrator=Calibrator(1.3),
    )  # fmt: skip
    return text_model.restore(card, net.state_dict(), network, "cpu")


def sequence_classifier(name: str, channels: int = 2, every: int = 1) -> sequence_model.SequenceModel:
    """A model of three classes with random weights, scaled by the training part."""
    torch.manual_seed(0)
    net = build_task_model("sequence-classification", name, Sizes(channels, 3, 40), {})
    look: dict[str, Any] = {"scale": "train", "mean": [0.5] * channels, "std": [2.0] * channels, "every": every}
    card = new_card(
        "sequence-classification", name, pick("cpu", "float32"),
        network={"classes": 3, "channels": channels, "size": 40, "options": {}}, classes="abc", preprocess=look,
        train_counts=[1] * 3,
    )  # fmt: skip
    return sequence_model.restore(card, net.state_dict(), None, "cpu")


def fingerprint(network: nn.Module) -> list[Any]:
    """All that an explanation must leave as it is: tensors, gradients, what trains, and hooks."""
    tensors = [(name, tensor.clone().numpy().tobytes()) for name, tensor in network.state_dict().items()]
    flags = [(parameter.requires_grad, parameter.grad is None) for parameter in network.parameters()]
    return [tensors, flags, [len(module._forward_hooks) for module in network.modules()]]


def squares(count: int, side: int, *, seed: int, share: float = 0.4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey noise with a chequered square in one of three colours, or none, at a random place.

    Returns:
        Images (count, side, side, 3) uint8, classes (count,) by place in `SQUARES`, and where the squares are,
        (count, side, side) bool.
    """
    random, size = np.random.default_rng(seed), round(side * share)
    blocks = random.normal(128, 20, (count, side // 4, side // 4, 1)).repeat(4, 1).repeat(4, 2)
    images = np.clip(blocks + random.normal(0, 8, (count, side, side, 3)), 0, 255).astype(np.uint8)
    classes, inside = np.arange(count) % 4, np.zeros((count, side, side), bool)
    field = np.arange(size) // max(2, side // 14)
    pattern = 0.35 + 0.65 * ((field[:, None] + field) % 2)[..., None]
    for row, (top, left) in enumerate(random.integers(0, side - size + 1, (count, 2)).tolist()):
        if classes[row] < 3:
            images[row, top : top + size, left : left + size] = _COLOURS[classes[row]] * pattern
            inside[row, top : top + size, left : left + size] = True
    return images, classes, inside
