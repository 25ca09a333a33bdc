"""Classification of texts and sequences: one step, evaluation, prediction. Networks may compete, a stage each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from layerwise.data.ragged import SequenceBatch
from layerwise.device import Device
from layerwise.engine.loop import Metrics
from layerwise.engine.update import Group, OptimizerRecipe, Update, parameter_groups
from layerwise.tasks.run_recipe import Candidate
from layerwise.tasks.scoring import Metric, ranked, validation


@final
class Classification:
    """Networks that compete, their loss and the update of the one that trains.

    Args:
        networks: by name; each gives logits (B, classes) from inputs (B, T) or (B, T, C) and lengths (B,).
        optimizer: how their parameters follow the gradient.
        metric: what is kept best; auto is accuracy where 1,000 examples or more validate, else the loss at the
            temperature that suits best.
        device: where they compute; they are moved there.
        label_smoothing: of the loss, 0 to 1.
        class_weights: (classes,) of the loss, none for 1 each.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        optimizer: OptimizerRecipe,
        metric: Metric,
        device: Device,
        *,
        label_smoothing: float = 0.0,
        class_weights: torch.Tensor | None = None,
        smoothing_undone: bool = True,
    ) -> None:
        self._networks = {name: network.to(device.place) for name, network in networks.items()}
        self._optimizer, self._metric, self._device = optimizer, metric, device
        self._smoothing, self._undone = label_smoothing, label_smoothing if smoothing_undone else 0.0
        self.class_weights = None if class_weights is None else class_weights.to(device.place)
        self.name = next(iter(self._networks))
        self._update: Update | None = None
        self._validated = 0  # examples of the last evaluation

    @property
    def network(self) -> nn.Module:
        """The one that trains, or that was kept."""
        return self._networks[self.name]

    def has(self, name: str) -> bool:
        """Whether a network of that name is among them."""
        return name in self._networks

    def begin(self, candidate: Candidate, *, steps: int, groups: Sequence[Group] | None = None) -> None:
        """Train a network from now on.

        Args:
            candidate: which.
            steps: the updates of its whole stage.
            groups: what of it trains, and how fast; all of it for none.
        """
        self.name = candidate.name
        groups = parameter_groups(self.network, self._optimizer.norm_bias_rate) if groups is None else groups
        self._update = Update(groups, self._optimizer, learning_rate=candidate.learning_rate, steps=steps)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self._update.learning_rate if self._update else 0.0

    def train_step(self, batch: SequenceBatch) -> tuple[Metrics, int]:
        """Forward, cross entropy, one update."""
        assert self._update is not None, "begin() comes first"
        self.network.train()
        with self._device.precision():
            logits = self.network(batch.inputs, batch.lengths).float()  # (B, classes)
        loss = F.cross_entropy(logits, batch.targets, weight=self.class_weights, label_smoothing=self._smoothing)
        self._update(loss)
        right = (logits.argmax(1) == batch.targets).float().mean()
        return {"loss": loss.item(), "accuracy": right.item()}, len(batch.ids)

    def evaluate(self, batches: Iterator[SequenceBatch]) -> Metrics:
        """What `scoring.validation` says of all batches."""
        with self._averaged():
            probabilities, targets = self.predict(batches)
        self._validated = len(targets)
        return validation(probabilities, targets, self._undone)

    def predict(self, batches: Iterator[SequenceBatch]) -> tuple[np.ndarray, np.ndarray]:
        """Uncalibrated probabilities (n, classes) and targets (n,) of all batches, by ascending id."""
        self.network.eval()
        ids, probabilities, targets = [], [], []
        with torch.inference_mode():
            for batch in batches:
                with self._device.precision():
                    logits = self.network(batch.inputs, batch.lengths).float()  # (B, classes)
                ids.append(batch.ids)
                probabilities.append(logits.double().softmax(1).cpu().numpy())
                targets.append(batch.targets.cpu().numpy())
        order = np.argsort(np.concatenate(ids), kind="stable")
        return np.concatenate(probabilities)[order], np.concatenate(targets)[order]

    def score(self, metrics: Metrics) -> list[float]:
        """The metric first; among equals, the lower calibrated loss."""
        return ranked(metrics, self._metric, self._validated)

    def weights(self) -> Mapping[str, torch.Tensor]:
        """The tensors of the network that trains, averaged where averages are kept, named NETWORK.TENSOR."""
        with self._averaged():
            return {f"{self.name}.{name}": tensor.clone() for name, tensor in self.tensors().items()}

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take back what `weights` gave, of whichever network; the stage is over."""
        self.name = next(iter(weights)).split(".", 1)[0]
        self.network.load_state_dict({name.split(".", 1)[1]: tensor for name, tensor in weights.items()})
        self._update = None

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """All of the network's tensors, for the model file."""
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The network that trains and its update."""
        assert self._update is not None, "begin() comes first"
        return {"network": dict(self.tensors()), "update": self._update.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; `begin` has been called for the same stage."""
        assert self._update is not None, "begin() comes first"
        self.network.load_state_dict(state["network"])
        self._update.load_state_dict(state["update"])

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        return self._update.averaged() if self._update else contextlib.nullcontext()
