"""Image classification: one step, evaluation, prediction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from layerwise.data.loader import Batch
from layerwise.device import Device
from layerwise.engine.loop import Metrics
from layerwise.engine.update import Group, Update
from layerwise.errors import Diverged
from layerwise.metrics import scores
from layerwise.models import body_layers
from layerwise.tasks.recipe import ImageRecipe, Stage


class ImageClassification:
    """A network, its loss and its updates.

    Args:
        network: logits (B, classes) from images (B, C, H, W).
        recipe: of the run.
        device: where it computes; the network is moved there.
        pretrained: whether the body brings statistics that must not be lost: then its batch normalisation stays on
            them in every stage.
    """

    def __init__(self, network: nn.Module, recipe: ImageRecipe, device: Device, *, pretrained: bool) -> None:
        self.network = network.to(device.place, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._recipe, self._device, self._pretrained = recipe, device, pretrained
        self._update: Update | None = None
        self._validated = 0  # examples of the last evaluation
        # What a network itself keeps fixed, such as filters taken from the data, no stage thaws.
        self._fixed = {id(parameter) for parameter in self.network.parameters() if not parameter.requires_grad}

    def begin(self, stage: Stage, *, steps: int) -> None:
        """Set what trains in a stage, and make its update.

        Args:
            stage: which layers and how fast.
            steps: updates in the whole stage.
        """
        frozen = self._frozen(stage.share)
        held = self._fixed | {id(parameter) for layer in frozen for parameter in layer.parameters(recurse=False)}
        for parameter in self.network.parameters():
            parameter.requires_grad_(id(parameter) not in held)
        groups = parameter_groups(self.network, self._recipe.optimizer.norm_bias_rate)
        self._update = Update(groups, self._recipe.optimizer, learning_rate=stage.learning_rate, steps=steps)
        self._train_mode()

    def _frozen(self, share: float) -> list[nn.Module]:
        """Layers of a pretrained body that do not train; always a run from the first on."""
        layers = body_layers(self.network) if self._pretrained else []
        return layers[: len(layers) - round(share * len(layers))]

    def _train_mode(self) -> None:
        self.network.train()
        if self._pretrained:
            # A few hundred images would overwrite what a million have measured.
            for layer in body_layers(self.network):
                layer.eval()

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        assert self._update is not None
        return self._update.learning_rate

    def train_step(self, batch: Batch) -> tuple[Metrics, int]:
        """Forward, cross entropy, one update."""
        assert self._update is not None, "begin() comes first"
        with self._device.precision():
            logits = self.network(batch.inputs).float()  # (B, classes)
        loss = F.cross_entropy(logits, batch.targets, label_smoothing=self._recipe.label_smoothing)
        self._update(loss)
        wanted = batch.targets if batch.targets.ndim == 1 else batch.targets.argmax(1)
        right = (logits.argmax(1) == wanted).float().mean()
        return {"loss": loss.item(), "accuracy": right.item()}, len(batch.ids)

    def evaluate(self, batches: Iterator[Batch]) -> Metrics:
        """Loss (log loss of the true class), accuracy and macro F1.

        Raises:
            Diverged: an answer is not finite, so that no epoch could ever be told better than this one.
        """
        assert self._update is not None, "begin() comes first"
        with self._update.averaged():
            probabilities, targets = self.predict(batches)
        self._train_mode()
        self._validated = len(targets)
        broken = int((~np.isfinite(probabilities).all(1)).sum())
        if broken:
            raise Diverged(
                f"The answers to {broken} of {len(targets)} validation examples are not finite numbers.", fix=_TOO_FAST
            )
        found = scores.classification(probabilities, targets)
        return {"loss": found["log_loss"], "accuracy": found["accuracy"], "macro_f1": found["macro_f1"]}

    def predict(self, batches: Iterator[Batch], temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n, classes) and targets (n,) of all batches."""
        self.network.eval()
        probabilities, targets = [], []
        with torch.inference_mode():
            for batch in batches:
                with self._device.precision():
                    logits = self.network(batch.inputs).float()  # (B, classes)
                probabilities.append((logits.double() / temperature).softmax(1).cpu().numpy())
                targets.append(batch.targets.cpu().numpy())
        return np.concatenate(probabilities), np.concatenate(targets)

    def score(self, metrics: Metrics) -> list[float]:
        """The recipe's metric first; among equals, the lower loss."""
        metric = self._recipe.stop.metric
        if metric == "auto":
            metric = "accuracy" if self._validated >= _MANY else "loss"
        return [-metrics["loss"]] if metric == "loss" else [metrics[metric], -metrics["loss"]]

    def weights(self) -> Mapping[str, torch.Tensor]:
        """The network's tensors; within a stage averaged, where averages are kept."""
        with self._update.averaged() if self._update else contextlib.nullcontext():
            return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take back what `weights` gave; the stage is over, and its averages with it."""
        self.network.load_state_dict(dict(weights))
        self._update = None

    def state_dict(self) -> dict[str, Any]:
        """The network and its update."""
        assert self._update is not None
        return {"network": dict(self.network.state_dict()), "update": self._update.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; `begin` has been called for the same stage."""
        assert self._update is not None
        self.network.load_state_dict(dict(state["network"]))
        self._update.load_state_dict(state["update"])


# From so many validation examples on, accuracy is known to about a point, and epochs can be told apart by it.
_MANY = 1000

_TOO_FAST = "Lower optimizer.learning_rate, or set optimizer.clip=1."

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


def parameter_groups(network: nn.Module, norm_bias_rate: float) -> list[Group]:
    """Trainable parameters by how they are updated: weights decay, biases and norms do not."""
    norm_biases = {id(module.bias) for module in network.modules() if isinstance(module, _NORMS)}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    weights = [parameter for parameter in trained if parameter.ndim > 1]
    shifts = [parameter for parameter in trained if parameter.ndim <= 1 and id(parameter) in norm_biases]
    others = [parameter for parameter in trained if parameter.ndim <= 1 and id(parameter) not in norm_biases]
    groups = [Group(weights), Group(others, decays=False), Group(shifts, rate=norm_bias_rate, decays=False)]
    return [group for group in groups if group.parameters]
