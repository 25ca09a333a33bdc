"""Text classification: networks that compete, one of which may begin as a language model, and their average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.data.ragged import SequenceBatch, SequenceBatches
from layerwise.device import Device
from layerwise.engine.loop import Metrics
from layerwise.engine.update import OptimizerRecipe
from layerwise.metrics.scores import losses
from layerwise.models.text_average import TextAverage
from layerwise.tasks.classification import Classification
from layerwise.tasks.run_recipe import Candidate
from layerwise.tasks.scoring import calibrator_in
from layerwise.tasks.text_pretraining import LanguageModel, Telling, thawed
from layerwise.tasks.text_recipe import AVERAGE, TextStage, Trained


@final
class TextClassification:
    """`Classification`, with two kinds of stages more.

    "language-model": a network's body learns to tell the next word. What it scores ranks below every classifier, so
    that no stage of it is ever kept in the end.

    "nothing": the networks that were trained answer together, each with the weights and the temperature that validated
    best. The average is kept unless one of them validates better by more than a standard error: the best of many epochs
    is partly luck (L. Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3).

    Args:
        classes: the networks, under the name "average" the one that joins all others.
        optimizer: of language models.
        device: where it computes.
        language: of one of the networks, or none.
    """

    def __init__(
        self, classes: Classification, optimizer: OptimizerRecipe, device: Device, language: LanguageModel | None = None
    ) -> None:
        self._classes, self._optimizer, self._device = classes, optimizer, device
        self.language = None if language is None else language.to(device.place)
        self._telling: Telling | None = None  # in the stage of the language model
        self._trains: Trained = "all"
        self._errors = (0.0, 0.0)  # standard errors of the average's accuracy and loss in validation
        self._best: dict[str, dict[str, Any]] = {}  # by network: score, temperature and weights of its best epoch

    @property
    def name(self) -> str:
        """The network that trains, or that was kept."""
        return self._classes.name

    @property
    def network(self) -> nn.Module:
        """The module of that name."""
        return self._classes.network

    def begin(self, stage: TextStage, *, steps: int) -> None:
        """Make ready for a stage; `steps` are the updates of all of it."""
        self._telling, self._trains, self._classes.name = None, stage.trains, stage.network
        if stage.trains == "nothing":
            _join(self.network, self._best)
        elif stage.trains == "language-model":
            assert self.language is not None
            self._telling = Telling(self.language, self._optimizer, stage, steps, self._device)
        else:
            body = self.language.body if self.language is not None else None
            shown = thawed(body, stage) if body is not None and body is self.network else None
            candidate = Candidate(name=stage.network, epochs=stage.epochs, learning_rate=stage.learning_rate)
            self._classes.begin(candidate, steps=steps, groups=shown)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step; 0 where nothing trains."""
        if self._trains == "nothing":
            return 0.0
        return (self._telling or self._classes).learning_rate

    def train_step(self, batch: SequenceBatch) -> tuple[Metrics, int]:
        """Forward, log loss of the classes or of the next tokens, one update; an average is only looked at."""
        if self._trains == "nothing":
            return _looked_at(self.network, batch, self._device), len(batch.ids)
        return (self._telling or self._classes).train_step(batch)

    def evaluate(self, batches: Iterator[SequenceBatch]) -> Metrics:
        """Of a language model its log loss a token and its perplexity; else what `Classification` says."""
        if self._telling is not None:
            return self._telling.evaluate(batches)
        if self._trains == "nothing":
            seen = list(batches)
            metrics = self._classes.evaluate(iter(seen))
            probabilities, targets = self._classes.predict(iter(seen))
            self._errors = _errors(calibrator_in(metrics)(probabilities), targets)
        else:
            metrics = self._classes.evaluate(batches)
            self._note(metrics)
        return metrics

    def predict(self, batches: Iterator[SequenceBatch]) -> tuple[np.ndarray, np.ndarray]:
        """Uncalibrated probabilities (n, classes) and targets (n,) of all batches, by ascending id."""
        return self._classes.predict(batches)

    def score(self, metrics: Metrics) -> list[float]:
        """First whether it classifies at all, then how well."""
        if "perplexity" in metrics:
            return [0.0, -metrics["loss"]]
        first, second = self._classes.score(metrics)
        if self._trains == "nothing":
            accuracy, loss = self._errors
            return [1.0, first + (loss if first < 0 else accuracy), second + loss]
        return [1.0, first, second]

    def weights(self) -> Mapping[str, Tensor]:
        """The tensors of the network that trains, named NETWORK.TENSOR."""
        return self._classes.weights()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take back what `weights` gave; the stage is over."""
        self._telling = None
        self._classes.load_weights(weights)

    def tensors(self) -> Mapping[str, Tensor]:
        """All of the kept network's tensors, for the model file."""
        return self._classes.tensors()

    def state_dict(self) -> dict[str, Any]:
        """What trains, its update, and the best of each network that an average may join."""
        state: dict[str, Any] = {"best": self._best}
        if self._trains == "nothing":
            return state
        return {**state, "trains": (self._telling or self._classes).state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; `begin` has been called for the same stage."""
        self._best = dict(state["best"])
        if self._trains == "nothing":
            _join(self.network, self._best)
        else:
            (self._telling or self._classes).load_state_dict(state["trains"])

    def _note(self, metrics: Metrics) -> None:
        """Hold on to a network's best epoch, where an average is to come."""
        if self.name == AVERAGE or not self._classes.has(AVERAGE):
            return
        score = self._classes.score(metrics)
        if self.name not in self._best or score > self._best[self.name]["score"]:
            weights = {name: tensor.cpu() for name, tensor in self.weights().items()}
            self._best[self.name] = {"score": score, "temperature": metrics["temperature"], "weights": weights}


def _join(average: nn.Module, best: Mapping[str, Mapping[str, Any]]) -> None:
    """Give the members of the average their best weights; those that have none leave it."""
    assert isinstance(average, TextAverage)
    if not best:  # on resuming, the saved state brings them a moment later
        return
    average.keep({name: found["temperature"] for name, found in best.items()})
    for name, member in average.members.items():
        weights = best[name]["weights"]
        member.load_state_dict({key.split(".", 1)[1]: value for key, value in weights.items()})


def _errors(probabilities: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Standard errors of accuracy and mean log loss, of (n, classes) and (n,)."""
    right, root = probabilities.argmax(1) == targets, len(targets) ** 0.5
    return float(right.std() / root), float(losses(probabilities, targets).std() / root)


def _looked_at(network: nn.Module, batch: SequenceBatch, device: Device) -> Metrics:
    network.eval()
    with torch.inference_mode(), device.precision():
        logits = network(batch.inputs, batch.lengths).float()  # (B, classes)
    right = (logits.argmax(1) == batch.targets).float().mean()
    return {"loss": F.cross_entropy(logits, batch.targets).item(), "accuracy": right.item()}


@final
class OneBatch:
    """One batch of an epoch, for a stage in which nothing learns."""

    def __init__(self, batches: SequenceBatches) -> None:
        self._batches = batches

    @property
    def steps(self) -> int:
        """1."""
        return 1

    def train(self, epoch: int, start: int = 0) -> Iterator[SequenceBatch]:
        """The first batch of the epoch."""
        yield from (batch for batch, _ in zip(self._batches.train(epoch), range(1 - start), strict=False))

    def part(self, name: str) -> Iterator[SequenceBatch]:
        """The batches of "valid" or "test"."""
        return self._batches.part(name)
