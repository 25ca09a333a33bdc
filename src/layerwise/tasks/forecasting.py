"""Forecasting: one step, evaluation, prediction. Networks compete, a stage each; the mean of two may compete as well.

B windows, L steps in, H steps ahead, Q quantiles.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from layerwise.data.windows import Values
from layerwise.device import Device
from layerwise.engine.loop import Metrics
from layerwise.engine.update import OptimizerRecipe, Update, parameter_groups
from layerwise.errors import Diverged
from layerwise.models.forecast_levels import LEVELS
from layerwise.models.forecast_linear import ForecastLinear
from layerwise.models.forecast_mean import ForecastMean
from layerwise.models.forecast_tutorial import ForecastTutorial
from layerwise.tasks import forecast_fit as fit
from layerwise.tasks.forecast_batches import FitBatch, WindowBatch, WindowBatches
from layerwise.tasks.forecast_look import Look
from layerwise.tasks.forecast_recipe import ForecastStage, Metric, members
from layerwise.tasks.forecast_ridge import Solution

_LOW, _MIDDLE, _HIGH = 0, LEVELS.index(0.5), len(LEVELS) - 1
_TOO_FAST = "Lower optimizer.learning_rate, or set optimizer.clip=1."


@dataclass(frozen=True)
class Answers:
    """Forecasts of many windows, (n, H) each, float64 in scaled values.

    Args:
        ids, origins: (n,) series and first step ahead.
        low, middle, high: the outer quantiles, and the forecast.
        targets: NaN where unknown.
        shift, factor: (n, 1): original = scaled * factor + shift, before the transform is undone.
        loss: mean pinball loss of all quantiles in scaled values; NaN without targets.
    """

    ids: NDArray[np.int64]
    origins: NDArray[np.int64]
    low: Values
    middle: Values
    high: Values
    targets: Values
    shift: Values
    factor: Values
    loss: float


@final
class Forecasting:
    """Networks that compete, their losses and the update of the one that trains.

    Args:
        networks: by name, each (B, L) scaled values -> (B, H, Q), or (B, H) or (B, H, 1) for one value a step. A name
            such as a+b is the mean of two others.
        look: gives original values.
        scales: (series,) what errors are divided by: the mean change from season to season before the validation part.
        optimizer: how parameters follow the gradient.
        metric: what is kept best.
        device: where networks compute; they are moved there.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        look: Look,
        scales: Values,
        optimizer: OptimizerRecipe,
        metric: Metric,
        device: Device,
    ) -> None:
        self._networks = {name: network.to(device.place) for name, network in networks.items()}
        self._look, self._scales = look, scales
        self._optimizer, self._metric, self._device = optimizer, metric, device
        self.name = next(iter(self._networks))
        self._update: Update | None = None
        self._solution: Solution | None = None  # of the linear network, for `refit`
        # The best weights of each network by itself, which a mean of networks is made of.
        self._own: dict[str, tuple[list[float], dict[str, Tensor]]] = {}

    @property
    def network(self) -> nn.Module:
        """The one that trains, or that was kept."""
        return self._networks[self.name]

    @property
    def learning_rate(self) -> float:
        """The rate of the next step; 0 for a network that is not trained by steps."""
        return self._update.learning_rate if self._update else 0.0

    def begin(self, stage: ForecastStage, *, steps: int) -> None:
        """Train another network from now on; `steps` are the updates of its whole stage."""
        self.name, self._update = stage.name, None
        if isinstance(self.network, ForecastMean):
            for name in members(stage.name):
                if name in self._own:  # else a saved state follows, which holds them
                    self._networks[name].load_state_dict(self._own[name][1])
        elif not isinstance(self.network, ForecastLinear):
            groups = parameter_groups(self.network, self._optimizer.norm_bias_rate)
            self._update = Update(groups, self._optimizer, learning_rate=stage.learning_rate, steps=steps)

    def train_step(self, batch: WindowBatch | FitBatch) -> tuple[Metrics, int]:
        """Forward, loss, one update; or all of a fit; a mean of networks has nothing to learn."""
        if isinstance(batch, FitBatch):
            assert isinstance(self.network, ForecastLinear)
            self._solution = fit.solve(self.network, batch.batches, self._scales)
            seen = fit.cut(batch.batches, fit.thinned(batch.batches.parts["train"], fit.SPREAD))
            return {"loss": self.predict(seen).loss}, len(batch.ids)
        self.network.train(self._update is not None)
        with self._device.precision():
            if isinstance(self.network, ForecastTutorial):  # as in the course: the next value, and its squared error
                answer = self.network(batch.inputs, steps=1)[..., 0].float()  # (B, 1)
                loss = _known_mean(F.mse_loss, answer, batch.targets[:, :1])
            else:
                loss = pinball(_quantiles(self.network(batch.inputs)), batch.targets)
        if self._update is not None:
            self._update(loss)
        return {"loss": loss.item()}, len(batch.ids)

    def evaluate(self, batches: Iterator[WindowBatch]) -> Metrics:
        """What `measured` says of all batches."""
        with self._averaged():
            answers = self.predict(batches)
            metrics = measured(answers, self._look, self._scales)
            score = self.score(metrics)
            if self.name not in self._own or score > self._own[self.name][0]:
                self._own[self.name] = (score, dict(self.tensors()))
        return metrics

    def predict(self, batches: Iterable[WindowBatch]) -> Answers:
        """Forecasts of all windows, in their order."""
        self.network.eval()
        parts: list[tuple[WindowBatch, list[Values]]] = []
        losses, known = 0.0, 0
        with torch.inference_mode():
            for batch in batches:
                with self._device.precision():
                    quantiles = _quantiles(self.network(batch.inputs))  # (B, H, Q)
                here = int(batch.targets.isfinite().sum())
                losses += float(pinball(quantiles, batch.targets)) * here if here else 0.0
                known += here
                kept = (quantiles[..., place] for place in (_LOW, _MIDDLE, _HIGH))
                parts.append((batch, [each.double().cpu().numpy() for each in (*kept, batch.targets)]))
        low, middle, high, targets = (np.concatenate([values[place] for _, values in parts]) for place in range(4))
        return Answers(
            ids=np.concatenate([batch.ids for batch, _ in parts]),
            origins=np.concatenate([batch.origins for batch, _ in parts]),
            low=low,
            middle=middle,
            high=high,
            targets=targets,
            shift=np.concatenate([batch.shift for batch, _ in parts]),
            factor=np.concatenate([batch.factor for batch, _ in parts]),
            loss=losses / known if known else float("nan"),
        )

    def score(self, metrics: Metrics) -> list[float]:
        """The metric first; among equals, the lower loss."""
        return [-metrics[self._metric], -metrics["loss"]]

    def refit(self, batches: WindowBatches, index: NDArray[np.int64]) -> None:
        """Fit the linear network again, kept by itself or within a mean, to the windows of an index (N, 2)."""
        for name in members(self.name):
            network = self._networks[name]
            if isinstance(network, ForecastLinear) and self._solution is not None:
                fit.put(fit.again(fit.gather(batches, index), self._look.season, self._solution), network)

    def weights(self) -> Mapping[str, Tensor]:
        """The tensors of the network that trains, averaged where averages are kept, named NETWORK.TENSOR."""
        with self._averaged():
            return {f"{self.name}.{name}": tensor for name, tensor in self.tensors().items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take back what `weights` gave, of whichever network; the stage is over."""
        self.name = next(iter(weights)).split(".", 1)[0]
        self.network.load_state_dict({name.split(".", 1)[1]: tensor for name, tensor in weights.items()})
        self._update = None

    def tensors(self) -> Mapping[str, Tensor]:
        """All of the network's tensors, for the model file."""
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The network that trains and its update, and the best weights of each network so far."""
        return {
            "network": dict(self.tensors()),
            "update": None if self._update is None else self._update.state_dict(),
            "own": {name: {"score": score, "tensors": kept} for name, (score, kept) in self._own.items()},
            "solution": None if self._solution is None else [self._solution.prior, self._solution.penalty],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; `begin` has been called for the same stage."""
        self._own = {name: (list(kept["score"]), dict(kept["tensors"])) for name, kept in state["own"].items()}
        self.network.load_state_dict(state["network"])
        if self._update is not None:
            self._update.load_state_dict(state["update"])
        if state["solution"] is not None:
            prior, penalty = state["solution"]
            self._solution = Solution(prior, penalty, torch.empty(0), torch.empty(0))

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        return self._update.averaged() if self._update else contextlib.nullcontext()


def measured(answers: Answers, look: Look, scales: Values) -> Metrics:
    """Pinball loss of scaled values, MASE, and the share of values between the outer quantiles.

    Args:
        answers: with targets.
        look: gives original values.
        scales: (series,) what errors are divided by.

    Raises:
        Diverged: a forecast is not finite.
    """
    broken = int((~np.isfinite(answers.middle)).any(axis=1).sum())
    if broken:
        raise Diverged(
            f"The forecasts of {broken} of {len(answers.ids)} validation windows are not finite numbers.",
            fix=_TOO_FAST,
        )
    wrong = fit.errors(answers.middle, answers.targets, answers, look, scales)
    inside = (answers.low <= answers.targets) & (answers.targets <= answers.high)
    return {
        "loss": answers.loss,
        "mase": fit.series_mean(wrong, answers.ids),
        "coverage": float(inside[np.isfinite(answers.targets)].mean()),
    }


def pinball(quantiles: Tensor, targets: Tensor) -> Tensor:
    """The mean pinball loss over all levels, of the targets that are known (R. Koenker, G. Bassett, Econometrica 1978).

    Args:
        quantiles: (B, H, Q), or (B, H, 1) for one value that stands for all levels.
        targets: (B, H), NaN where unknown; one at least is known.

    Example:
        >>> pinball(torch.zeros(1, 1, 1), torch.ones(1, 1)).item()
        0.5
    """
    known = targets.isfinite()
    levels = quantiles.new_tensor(LEVELS)
    over = (targets[..., None] - quantiles)[known]  # (known, Q)
    return torch.maximum(levels * over, (levels - 1) * over).mean()


def _quantiles(answer: Tensor) -> Tensor:
    """(B, H, Q), ascending whatever the network."""
    answer = answer.float()
    answer = answer[..., None] if answer.ndim == 2 else answer
    if answer.shape[-1] == 1:
        return answer.expand(*answer.shape[:2], len(LEVELS))
    return answer.sort(dim=-1).values


def _known_mean(loss: Any, answer: Tensor, targets: Tensor) -> Tensor:
    known = targets.isfinite()
    found: Tensor = loss(answer[known], targets[known])
    return found if known.any() else answer.sum() * 0.0
