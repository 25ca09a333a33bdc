"""The range test: it leaves no trace, depends on the seed alone, and its rate trains."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.engine.finder import HIGHEST, Found, choose, find_rate, range_recipe, unchanged
from layerwise.engine.update import Group, OptimizerRecipe, Update
from layerwise.errors import Diverged
from layerwise.models import build_model
from layerwise_tests.images import KINDS, arrays

FALLBACK = 0.00123


class Examples:
    """Batches of rows in an order that depends on the epoch."""

    def __init__(self, inputs: Tensor, targets: Tensor, size: int = 20) -> None:
        self.inputs, self.targets, self.size, self.epochs = inputs, targets, size, []

    @property
    def steps(self) -> int:
        return math.ceil(len(self.targets) / self.size)

    def train(self, epoch: int, start: int = 0) -> Iterator[Any]:
        self.epochs.append(epoch)
        order = torch.randperm(len(self.targets), generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(self.size)[start:]:
            yield SimpleNamespace(ids=rows.numpy(), inputs=self.inputs[rows], targets=self.targets[rows])

    def part(self, name: str) -> Iterator[Any]:
        raise NotImplementedError


class Classifier:
    """The part of a task that a range test asks for."""

    def __init__(self, network: nn.Module, recipe: OptimizerRecipe, rate: float, steps: int) -> None:
        self.network = network
        self.update = Update([Group(list(network.parameters()))], recipe, learning_rate=rate, steps=steps)

    @property
    def learning_rate(self) -> float:
        return self.update.learning_rate

    def train_step(self, batch: Any) -> tuple[dict[str, float], int]:
        loss = F.cross_entropy(self.network(batch.inputs), batch.targets)
        self.update(loss)
        return {"loss": loss.item()}, len(batch.targets)


@pytest.fixture(scope="module")
def shapes() -> Examples:
    """Grey 28x28 pictures of three kinds."""
    images, kinds = arrays(60, 28)
    inputs = torch.from_numpy(images[..., :1]).permute(0, 3, 1, 2).float() / 255  # (B, 1, 28, 28)
    return Examples(inputs, torch.tensor([KINDS.index(kind) for kind in kinds]))


def points(rows: int = 200) -> Examples:
    draws = torch.Generator().manual_seed(3)
    inputs = torch.randn(rows, 8, generator=draws)
    return Examples(inputs, (inputs @ torch.randn(8, 3, generator=draws)).argmax(1))


def normed() -> nn.Sequential:
    """With batch normalisation, dropout, a frozen layer and a buffer that is not saved."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    net[1].register_buffer("unsaved", torch.ones(2), persistent=False)
    return net


def range_test(
    network: nn.Module, batches: Examples, *, name: str = "adamw", highest: float = HIGHEST, steps: int = 60
) -> Found:
    task = Classifier(network, range_recipe(OptimizerRecipe(name=name)), highest, steps)
    return find_rate(task, network, batches, fallback=FALLBACK, steps=steps, seed=1)


def everything(network: nn.Module) -> list[Any]:
    """All that must not change, as plain values."""
    tensors = [*network.parameters(), *network.buffers(), torch.get_rng_state()]
    return [
        [tensor.detach().numpy().tobytes() for tensor in tensors],
        [id(tensor) for tensor in (*network.parameters(), *network.buffers())],
        [parameter.requires_grad for parameter in network.parameters()],
        [None if each.grad is None else each.grad.numpy().tobytes() for each in network.parameters()],
        [module.training for module in network.modules()],
    ]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("highest", [0.1, 100.0, 1e20])
def test_nothing_is_changed_also_where_it_diverges(name: str, highest: float) -> None:
    net = normed()
    net[4].eval()
    net[4].weight.grad = torch.full((3, 16), 0.5)
    before = everything(net)
    found = range_test(net, points(), name=name, highest=highest)
    assert everything(net) == before
    assert len(found.rates) == len(found.losses)
    assert (len(found.rates) < 60) == (highest > 1)
    assert math.isinf(found.losses[-1]) == (highest == 1e20)


def test_a_frozen_layer_stays_frozen() -> None:
    net = normed()
    net[0].requires_grad_(False)
    task_of = [parameter for parameter in net.parameters() if parameter.requires_grad]
    task = Classifier(net, range_recipe(OptimizerRecipe()), HIGHEST, 60)
    task.update = Update([Group(task_of)], range_recipe(OptimizerRecipe()), learning_rate=HIGHEST, steps=60)
    before = everything(net)
    find_rate(task, net, points(), fallback=FALLBACK, seed=1)
    assert everything(net) == before


def test_nothing_is_changed_where_a_step_fails() -> None:
    net = normed()
    before = everything(net)
    with pytest.raises(ZeroDivisionError), unchanged(net):
        torch.rand(1)
        net.train(False)
        net.requires_grad_(False)
        net(torch.zeros(4, 8))
        nn.init.zeros_(net[0].weight)
        net[0].weight.grad = torch.ones(16, 8)
        raise ZeroDivisionError
    assert everything(net) == before


def test_a_loss_that_is_not_finite_ends_it() -> None:
    class Breaking(Classifier):
        def train_step(self, batch: Any) -> tuple[dict[str, float], int]:
            if self.learning_rate > 0.0011:
                raise Diverged("The loss is nan.")
            return super().train_step(batch)

    net = normed()
    found = find_rate(
        Breaking(net, range_recipe(OptimizerRecipe()), HIGHEST, 60), net, points(), fallback=FALLBACK, seed=1
    )
    assert math.isinf(found.losses[-1]) and all(math.isfinite(loss) for loss in found.losses[:-1])
    assert found.rates[-1] > 0.0011 > found.rates[-2]


def test_rates_rise_by_the_same_factor_to_the_highest() -> None:
    found = range_test(normed(), points(), highest=0.01)
    factors = np.diff(np.log(found.rates))
    assert np.allclose(factors, factors[0]) and factors[0] > 0
    assert found.rates[0] == pytest.approx(0.01 * 1e-6) and found.rates[-1] < 0.01


def test_it_is_a_function_of_the_seed_and_the_data() -> None:
    net = normed()
    first = range_test(net, points())
    torch.rand(7)
    assert range_test(net, points()) == first
    task = Classifier(net, range_recipe(OptimizerRecipe()), HIGHEST, 60)
    assert find_rate(task, net, points(), fallback=FALLBACK, seed=2).losses != first.losses  # dropout


def test_short_epochs_are_followed_by_further_ones() -> None:
    batches = points(50)  # 3 steps
    found = range_test(normed(), batches, steps=30)
    assert len(found.rates) > 12 and batches.epochs[:4] == [0, 1, 2, 3]


def trained(batches: Examples, name: str, rate: float) -> float:
    """Loss over all examples after five epochs of `cnn-28`."""
    torch.manual_seed(0)
    net = build_model("cnn-28", classes=3, channels=1, size=28, pretrained=False, options={})
    task = Classifier(net, OptimizerRecipe(name=name), rate, 5 * batches.steps)
    try:
        for epoch in range(5):
            for step, batch in enumerate(batches.train(epoch)):
                torch.manual_seed(1000 * epoch + step)
                task.train_step(batch)
    except Diverged:
        return math.inf
    with torch.no_grad():
        return F.cross_entropy(net.eval()(batches.inputs), batches.targets).item()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_rate_trains_better_than_much_lower_and_much_higher_ones(name: str, shapes: Examples) -> None:
    torch.manual_seed(0)
    net = build_model("cnn-28", classes=3, channels=1, size=28, pretrained=False, options={})
    found = range_test(net, shapes, name=name)
    assert found.note is None
    lower, at, higher = (trained(shapes, name, found.rate * factor) for factor in (1 / 30, 1, 30))
    assert at < lower and at < higher


@pytest.mark.parametrize("steps", [1, 5, 11])
def test_too_few_steps_give_the_fallback_and_a_note(steps: int) -> None:
    found = range_test(normed(), points(), steps=steps)
    assert found.rate == FALLBACK and found.note is not None and "too few" in found.note


def test_a_flat_loss_gives_the_fallback_and_a_note() -> None:
    found = range_test(normed(), points(), highest=1e-9)
    assert found.rate == FALLBACK and found.note is not None and "0.00123" in found.note


RATES = [10.0 ** (place / 10 - 6) for place in range(60)]
# Flat, then falling between the rates 1e-3 and 1e-2, then rising.
CURVE = [1.0 - 0.9 * min(1, max(0, (place - 30) / 10)) + 0.05 * max(0, place - 40) for place in range(60)]


def test_the_rate_lies_where_the_loss_falls() -> None:
    assert 1e-3 < choose(RATES, CURVE, FALLBACK).rate < 1e-2


@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_the_rate_little(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.05, 60)
    assert 1e-3 < choose(RATES, [loss + each for loss, each in zip(CURVE, noise, strict=True)], FALLBACK).rate < 2e-2


def test_noise_alone_gives_the_fallback() -> None:
    found = [choose(RATES, np.random.default_rng(seed).normal(1, 0.1, 60).tolist(), FALLBACK) for seed in range(20)]
    assert sum(each.note is None for each in found) <= 2


def test_a_rising_loss_gives_the_fallback() -> None:
    found = choose(RATES, [1 + place / 10 for place in range(60)], FALLBACK)
    assert found.rate == FALLBACK and found.note is not None


def test_nothing_measured_gives_the_fallback() -> None:
    assert choose([], [], FALLBACK).rate == FALLBACK
    assert choose([1e-6], [math.inf], FALLBACK).rate == FALLBACK


def test_the_recipe_of_a_test_keeps_all_but_the_rates() -> None:
    recipe = OptimizerRecipe(name="sgd", momentum=0.8, warmup=0.2, ema=0.9, clip=1.0, weight_decay=0.1)
    changed = range_recipe(recipe)
    assert (changed.schedule, changed.warmup, changed.ema) == ("range", 0.0, 0.0)
    kept = {"schedule", "warmup", "ema"}
    assert recipe.model_dump(exclude=kept) == changed.model_dump(exclude=kept)
