"""Image classification: one step, evaluation, prediction."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from layerwise.data.loader import Batch
from layerwise.device import Device, pieces
from layerwise.engine.loop import Metrics
from layerwise.engine.solve import DECAY, DECAYS, Solver
from layerwise.engine.update import OptimizerRecipe, Update, parameter_groups
from layerwise.errors import StoreError
from layerwise.models import body_layers
from layerwise.models.backbones import Transfer
from layerwise.tasks.recipe import ImageRecipe, Stage
from layerwise.tasks.run_recipe import metric_of
from layerwise.tasks.scoring import clearly_better, ranked, validation

BLENDS = (0.5, 1.0)  # that a stage's `blend = "auto"` chooses from; the first, unless another is clearly better
Blended = Callable[[], contextlib.AbstractContextManager[None]]


@final
class ImageClassification:
    """A network, its loss and its updates.

    Args:
        network: logits (B, classes) from images (B, C, H, W).
        recipe: of the run; another may take its place between two stages, as a search of settings does.
        device: where it computes; the network is moved there.
        pretrained: whether the body brings statistics that must not be lost: then the batch normalisation of frozen
            layers stays on them, and that of thawed ones too unless `thaw.statistics` is "trained".
    """

    def __init__(self, network: nn.Module, recipe: ImageRecipe, device: Device, *, pretrained: bool) -> None:
        self.network = network.to(device.place, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self._device, self._pretrained = recipe, device, pretrained
        self._tail = self.network  # what trains: the network, or what of it lies behind the stage's cut
        self._update: Update | None = None
        self._solver: Solver | None = None
        self._thawed: list[nn.Module] = []
        self._validated = 0  # examples of the last evaluation
        self.class_weights: torch.Tensor | None = None  # (classes,), used where the recipe balances
        # What a network itself keeps fixed, such as filters taken from the data, no stage thaws.
        self._fixed = {id(parameter) for parameter in self.network.parameters() if not parameter.requires_grad}
        # Where a pretrained network began. Checkpoints hold what differs from it, which is a head in most epochs.
        self._began = _copied(self.network) if pretrained else {}
        self._origin = fingerprint(self._began) if pretrained else ""

    def begin(
        self,
        stage: Stage,
        *,
        steps: int,
        tail: nn.Module | None = None,
        optimizer: OptimizerRecipe | None = None,
    ) -> None:
        """Set what trains in a stage, and make its update.

        Args:
            stage: which layers and how fast.
            steps: updates in the whole stage.
            tail: what of the network lies behind the cut that the stage's batches come from; none for all of it.
            optimizer: in place of the recipe's.
        """
        self._tail = tail or self.network
        layers = body_layers(self.network) if self._pretrained else []
        frozen, self._thawed = thawed(layers, stage.share)
        held = self._fixed | {id(parameter) for layer in frozen for parameter in layer.parameters(recurse=False)}
        for parameter in self.network.parameters():
            parameter.requires_grad_(id(parameter) not in held)
        self._update, self._solver = None, None
        if stage.solver == "lbfgs":
            # Without label smoothing: the penalty holds the weights, and both together fitted worse (docs/log.md).
            # Of all rows at once, to weigh a row and to repeat it are the same fit.
            weights = self.class_weights if self.recipe.balance.way else None
            linear = _linear(self.network)
            self._solver = Solver(linear, decays=decays(stage.epochs), seed=self.recipe.seed, class_weights=weights)
        else:
            groups = parameter_groups(
                self.network, self.recipe.optimizer.norm_bias_rate, self._thawed, self.recipe.thaw.depth_rate
            )
            optimizer = optimizer or self.recipe.optimizer
            blends = BLENDS if stage.blend == "auto" else (stage.blend,)
            self._update = Update(groups, optimizer, learning_rate=stage.learning_rate, steps=steps, blends=blends)
        self._train_mode()

    def _train_mode(self) -> None:
        self.network.train()
        self._tail.train()
        if self._pretrained:
            # A few hundred images would overwrite what a million have measured.
            follow = self._thawed if self.recipe.thaw.statistics == "trained" else []
            for layer in set(body_layers(self.network)) - set(follow):
                layer.eval()

    @property
    def learning_rate(self) -> float:
        """The rate of the next step; 0 where there is none, as in a full fit."""
        return self._update.learning_rate if self._update else 0.0

    def train_step(self, batch: Batch) -> tuple[Metrics, int]:
        """Forward, cross entropy, one update; in a stage that fits the head at once, one fit."""
        if self._solver:
            objective = self._solver(batch.inputs, batch.targets, batch.ids)
            return {"loss": objective, "decay": self._solver.last}, len(batch.ids)
        assert self._update is not None, "begin() comes first"
        with self._device.precision():
            logits = self._tail(batch.inputs).float()  # (B, classes)
        weights = self.class_weights if self.recipe.balance.way in (True, "weights") else None
        loss = F.cross_entropy(logits, batch.targets, weight=weights, label_smoothing=self.recipe.label_smoothing)
        self._update(loss)
        wanted = batch.targets if batch.targets.ndim == 1 else batch.targets.argmax(1)
        right = (logits.argmax(1) == wanted).float().mean()
        return {"loss": loss.item(), "accuracy": right.item()}, len(batch.ids)

    def evaluate(self, batches: Iterator[Batch]) -> Metrics:
        """What `scoring.validation` says of all batches; the network goes on in training mode.

        Of several blends the first counts from then on, or a later one that is clearly better; "blend" says which.
        """
        blends = self._update.blends if self._update else (1.0,)
        found, targets = answers(
            self._tail, batches, self._device, [partial(self._averaged, blend) for blend in blends]
        )
        self._train_mode()
        self._validated = len(targets)
        told = [validation(each, targets, self.recipe.label_smoothing) for each in found]
        if self._update is None or len(blends) == 1:
            return told[0]
        best = 0
        for place in range(1, len(blends)):
            one, other = ((told[each], found[each]) for each in (place, best))
            if self.score(told[place]) > self.score(told[best]) and clearly_better(one, other, targets):
                best = place
        self._update.blend = blends[best]
        return {**told[best], "blend": blends[best]}

    def predict(self, batches: Iterator[Batch], *, tail: nn.Module | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Uncalibrated probabilities (n, classes) and targets (n,) of all batches.

        Args:
            batches: of images.
            tail: what of the network lies behind the cut that batches of activations come from.
        """
        (found,), targets = answers(tail or self.network, batches, self._device)
        return found, targets

    def score(self, metrics: Metrics) -> list[float]:
        """The recipe's metric first; among equals, the lower calibrated loss."""
        return ranked(metrics, metric_of(self.recipe.stop.metric, self.recipe.balance), self._validated)

    def weights(self) -> Mapping[str, torch.Tensor]:
        """The tensors that training has changed; within a stage averaged, where averages are kept."""
        with self._averaged():
            return {name: tensor.clone() for name, tensor in self._changed().items()}

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take back what `weights` gave; the stage is over, and its averages with it."""
        self.network.load_state_dict({**self._began, **weights})
        self._update = None

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """All of the network's tensors, for the model file."""
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """What of the network has changed, what it began as, and the stage's update."""
        owner = self._update or self._solver
        assert owner is not None, "begin() comes first"
        return {"network": self._changed(), "origin": self._origin, "update": owner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; `begin` has been called for the same stage.

        Raises:
            StoreError: the pretrained weights are not those that the run began with.
        """
        owner = self._update or self._solver
        assert owner is not None, "begin() comes first"
        if state["origin"] != self._origin:
            raise StoreError(
                "The pretrained weights are not those that this run began with.",
                expected=f"weights with the fingerprint {state['origin'][:16]}, not {self._origin[:16]}",
                fix="Bring back the file that they came from, or start a new run.",
            )
        self.network.load_state_dict({**self._began, **state["network"]})
        owner.load_state_dict(state["update"])

    def _averaged(self, blend: float | None = None) -> contextlib.AbstractContextManager[None]:
        return self._update.averaged(blend) if self._update else contextlib.nullcontext()

    def _changed(self) -> dict[str, torch.Tensor]:
        """The network's own tensors that are not as it began; all of a network that began random."""
        return {
            name: tensor.detach()
            for name, tensor in self.network.state_dict().items()
            if name not in self._began or not torch.equal(tensor, self._began[name])
        }


def decays(count: int) -> tuple[float, ...]:
    """So many of the path's weight decays, around the middle one; none for a single one, which is then searched for."""
    if count == 1:
        return ()
    first = max(0, DECAYS.index(DECAY) - count // 2)
    return DECAYS[first : first + count]


def thawed(layers: list[nn.Module], share: float) -> tuple[list[nn.Module], list[nn.Module]]:
    """Layers that stay frozen, always a run from the first on, and those that train."""
    first = len(layers) - round(share * len(layers))
    return layers[:first], layers[first:]


def answers(
    network: nn.Module, batches: Iterator[Batch], device: Device, blends: Sequence[Blended] = (contextlib.nullcontext,)
) -> tuple[list[np.ndarray], np.ndarray]:
    """Probabilities (n, classes) under each of several weights, and targets (n,), of all batches.

    Args:
        network: in eval mode afterwards.
        batches: read once.
        device: where it computes.
        blends: each makes a context in which the network holds other weights.
    """
    network.eval()
    probabilities: list[list[np.ndarray]] = [[] for _ in blends]
    targets = []
    with torch.inference_mode():
        for batch in batches:
            for blend, found in zip(blends, probabilities, strict=True):
                with blend(), device.precision():
                    logits = torch.cat([network(part).float() for part in pieces(batch.inputs)])  # (B, classes)
                found.append(logits.double().softmax(1).cpu().numpy())
            targets.append(batch.targets.cpu().numpy())
    return [np.concatenate(found) for found in probabilities], np.concatenate(targets)


def fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex SHA-256 over names, kinds and values."""
    found = hashlib.sha256()
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _copied(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _linear(network: nn.Module) -> nn.Linear:
    """The classifier of a transfer network."""
    assert isinstance(network, Transfer) and network.head.hidden is None
    return network.head.linear
