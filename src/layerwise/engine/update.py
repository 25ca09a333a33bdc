"""One optimizer's update: backward, clip, step, average.

A task holds one `Update` for each set of parameters that it trains by its own loss: a classifier has one, a GAN two.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pydantic
import torch
from torch import Tensor, nn

from layerwise.config import Section
from layerwise.engine.schedule import Schedule, factor
from layerwise.errors import Diverged


class OptimizerRecipe(Section):
    """How parameters follow their gradients."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"  # sgd is Nesterov's
    learning_rate: float = pydantic.Field(1e-3, gt=0.0)  # the highest of the schedule
    # Not applied to biases and norms. None: 0.01 for adamw, which decouples it from the gradient, and 0 for the others,
    # in which it would be a penalty many times stronger.
    weight_decay: float | None = pydantic.Field(None, ge=0.0)
    momentum: float = pydantic.Field(0.9, ge=0.0, lt=1.0)  # of sgd, and the first decay of adam and adamw
    second_decay: float = pydantic.Field(0.999, ge=0.0, lt=1.0)  # of adam and adamw: how long squared gradients count
    norm_bias_rate: float = pydantic.Field(1.0, gt=0.0)  # factor on the rate of the biases of normalisation layers
    schedule: Schedule = "cosine"
    warmup: float = pydantic.Field(0.0, ge=0.0, lt=1.0)  # share of a stage's steps
    clip: float = pydantic.Field(0.0, ge=0.0)  # largest norm of the gradient; 0 is off
    ema: float = pydantic.Field(0.0, ge=0.0, lt=1.0)  # decay of the average of weights used to evaluate; 0 is off


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate.

    Args:
        parameters: leaves of the network.
        rate: factor on the learning rate.
        decays: whether weight decay applies.
    """

    parameters: Sequence[Tensor]
    rate: float = 1.0
    decays: bool = True


class Update:
    """Takes a loss, changes its own parameters, touches no others.

    Args:
        groups: what it changes.
        recipe: how.
        learning_rate: the highest of the schedule.
        steps: how many updates the schedule spans.
        blends: how far evaluated weights may lie on the way from the first ones to those that were trained, each above
            0 to 1 (M. Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv 2109.01903).

    Attributes:
        blend: that of them which counts; the first, until whoever evaluates has found a better one.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> update = Update([Group([weight])], OptimizerRecipe(name="sgd"), learning_rate=0.1, steps=10)
        >>> update((weight**2).sum())
        >>> weight.item() < 1
        True
    """

    def __init__(
        self,
        groups: Sequence[Group],
        recipe: OptimizerRecipe,
        *,
        learning_rate: float,
        steps: int,
        blends: Sequence[float] = (1.0,),
    ) -> None:
        self._recipe, self._learning_rate, self._steps, self._done = recipe, learning_rate, max(1, steps), 0
        self._rates = [group.rate for group in groups]
        self._parameters = [parameter for group in groups for parameter in group.parameters]
        self._optimizer = _optimizer(groups, recipe, learning_rate)
        self._average = [parameter.detach().clone() for parameter in self._parameters] if recipe.ema else []
        self._start = [parameter.detach().clone() for parameter in self._parameters] if min(blends) < 1 else []
        self.blends, self.blend = tuple(blends), blends[0]

    @property
    def learning_rate(self) -> float:
        """The rate of the next step, before the groups' own factors."""
        return self._learning_rate * factor(self._recipe.schedule, self._done / self._steps, warmup=self._recipe.warmup)

    def __call__(self, loss: Tensor) -> None:
        """Backward, clip, step, average.

        Raises:
            Diverged: the loss or the norm of the gradient is not finite; nothing was changed.
        """
        if not torch.isfinite(loss.detach()):
            raise Diverged(f"The loss is {loss.item()}.", fix=_DIVERGED)
        loss.backward(inputs=self._parameters)  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        if not torch.isfinite(norm):
            raise Diverged(f"The norm of the gradient is {norm.item()}.", fix=_DIVERGED)
        if self._recipe.clip:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self._recipe.clip, norm)
        rate = self.learning_rate
        for group, own in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * own
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._done += 1
        if self._average:
            # Early on a long average would remember the start: the decay grows with the number of steps.
            decay = min(self._recipe.ema, (1 + self._done) / (10 + self._done))
            torch._foreach_lerp_(self._average, [p.detach() for p in self._parameters], 1 - decay)

    @contextlib.contextmanager
    def averaged(self, blend: float | None = None) -> Iterator[None]:
        """Within it, the parameters hold what is evaluated: averages, where they are kept, and blended.

        Args:
            blend: one of `blends`; none for the one that counts.
        """
        blend = self.blend if blend is None else blend
        trained = [parameter.data for parameter in self._parameters]
        found = self._average or trained
        if blend < 1:
            found = [torch.lerp(*pair, blend) for pair in zip(self._start, found, strict=True)]
        self._place(found)
        try:
            yield
        finally:
            self._place(trained)

    def _place(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.data = value

    def state_dict(self) -> dict[str, Any]:
        """Moments, averages, first weights, blend, rate and number of steps done; the parameters are the network's."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "average": self._average,
            "start": self._start,
            "blend": self.blend,
            "learning_rate": self._learning_rate,
            "done": self._done,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._optimizer.load_state_dict(dict(state["optimizer"]))
        for own, saved in zip(self._average, state["average"], strict=True):
            own.copy_(saved)
        for own, saved in zip(self._start, state.get("start", ()), strict=True):  # older ones have none
            own.copy_(saved)
        self.blend = float(state.get("blend", self.blend))
        self._learning_rate = float(state["learning_rate"])  # it may have been found, and not be the recipe's
        self._done = int(state["done"])


_DIVERGED = "Lower optimizer.learning_rate, set optimizer.clip=1, or look for broken values in the data."


def _optimizer(groups: Sequence[Group], recipe: OptimizerRecipe, learning_rate: float) -> torch.optim.Optimizer:
    decay = recipe.weight_decay if recipe.weight_decay is not None else 0.01 if recipe.name == "adamw" else 0.0
    settings = [{"params": list(group.parameters), "weight_decay": decay if group.decays else 0.0} for group in groups]
    if recipe.name == "sgd":
        nesterov = recipe.momentum > 0
        return torch.optim.SGD(settings, lr=learning_rate, momentum=recipe.momentum, nesterov=nesterov, fused=True)
    kind = torch.optim.AdamW if recipe.name == "adamw" else torch.optim.Adam
    return kind(settings, lr=learning_rate, betas=(recipe.momentum, recipe.second_decay), fused=True)


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


def parameter_groups(
    network: nn.Module, norm_bias_rate: float, thawed: Sequence[nn.Module] = (), depth_rate: float = 1.0
) -> list[Group]:
    """Trainable parameters by how they are updated: weights decay, biases and norms do not.

    Args:
        network: whose parameters that require gradients are taken.
        norm_bias_rate: factor on the rate of the biases of normalisation layers.
        thawed: layers of a pretrained body that train, in order.
        depth_rate: factor on the rate of the first of them; from there it rises to 1 at the last, evenly in its
            logarithm (discriminative rates: J. Howard, S. Ruder, arXiv 1801.06146).
    """
    norm_biases = {id(module.bias) for module in network.modules() if isinstance(module, _NORMS)}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    depth = {
        id(parameter): depth_rate ** ((len(thawed) - 1 - place) / max(1, len(thawed) - 1))
        for place, layer in enumerate(thawed)
        for parameter in layer.parameters(recurse=False)
    }
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in trained:
        rate = norm_bias_rate if parameter.ndim <= 1 and id(parameter) in norm_biases else 1.0
        found.setdefault((rate * depth.get(id(parameter), 1.0), parameter.ndim > 1), []).append(parameter)
    return [Group(parameters, rate=rate, decays=decays) for (rate, decays), parameters in found.items()]
