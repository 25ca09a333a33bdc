"""Updates: they follow torch's own optimizers, touch only what is theirs, and go on after a stop as if without one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerwise.engine.update import Group, OptimizerRecipe, Update
from layerwise.errors import Diverged


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def loss_of(net: nn.Module, step: int) -> torch.Tensor:
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
    return (net(inputs) - inputs[:, :2]).square().mean()


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_same_numbers_as_torch(name: str) -> None:
    ours, theirs = network(), network()
    recipe = OptimizerRecipe(name=name, schedule="constant", weight_decay=0.01, momentum=0.9)
    update = Update([Group(list(ours.parameters()))], recipe, learning_rate=0.01, steps=5)
    plain: torch.optim.Optimizer = {
        "adamw": lambda: torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.01),
        "adam": lambda: torch.optim.Adam(theirs.parameters(), lr=0.01, weight_decay=0.01),
        "sgd": lambda: torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.01),
    }[name]()
    for step in range(5):
        update(loss_of(ours, step))
        plain.zero_grad()
        loss_of(theirs, step).backward()
        plain.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("name", "expected"), [("adamw", 0.01), ("adam", 0.0), ("sgd", 0.0)])
def test_weight_decay_is_a_default_of_adamw_alone(name: str, expected: float) -> None:
    weight = nn.Parameter(torch.ones(3, 3))
    update = Update([Group([weight])], OptimizerRecipe(name=name, schedule="constant"), learning_rate=0.1, steps=1)
    update((weight * 0).sum())  # no gradient: what changes is decay alone
    assert torch.allclose(weight, torch.full((3, 3), 1 - 0.1 * expected))


def test_the_rate_follows_the_schedule_and_each_groups_factor() -> None:
    net = network()
    groups = [Group(list(net[0].parameters())), Group(list(net[2].parameters()), rate=0.1)]
    recipe = OptimizerRecipe(name="sgd", momentum=0, weight_decay=0, schedule="linear")
    update = Update(groups, recipe, learning_rate=1.0, steps=4)
    rates = []
    for step in range(4):
        rates.append(update.learning_rate)
        before = [parameter.detach().clone() for parameter in net.parameters()]
        loss = loss_of(net, step)
        slopes = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
        update(loss)
        for place, (old, new, slope) in enumerate(zip(before, net.parameters(), slopes, strict=True)):
            factor = rates[-1] * (1.0 if place < 2 else 0.1)
            assert torch.allclose(new, old - factor * slope, atol=1e-6)
    assert rates == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_only_its_own_parameters_get_gradients() -> None:
    net = network()
    update = Update([Group(list(net[2].parameters()))], OptimizerRecipe(), learning_rate=0.1, steps=1)
    before = net[0].weight.detach().clone()
    update(loss_of(net, 0))
    assert net[0].weight.grad is None and torch.equal(net[0].weight, before)


def test_clipping_bounds_the_step() -> None:
    net = network()
    recipe = OptimizerRecipe(name="sgd", momentum=0, weight_decay=0, clip=0.5)
    update = Update([Group(list(net.parameters()))], recipe, learning_rate=1.0, steps=1)
    before = torch.cat([parameter.detach().flatten().clone() for parameter in net.parameters()])
    update(loss_of(net, 0) * 1000)
    after = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(value: float) -> None:
    net = network()
    update = Update([Group(list(net.parameters()))], OptimizerRecipe(ema=0.9), learning_rate=0.1, steps=1)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    with pytest.raises(Diverged, match=r"learning_rate"):
        update(loss_of(net, 0) * value)
    assert all(torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_changes_nothing(clip: float) -> None:
    net = network()
    update = Update([Group(list(net.parameters()))], OptimizerRecipe(clip=clip), learning_rate=0.1, steps=1)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    flat = next(net.parameters()).flatten()[0]
    with pytest.raises(Diverged, match="gradient"):
        update((flat - flat.detach()).sqrt())  # value 0, slope infinite
    assert all(torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))


def test_averages_are_seen_only_within_the_block() -> None:
    net = network()
    update = Update([Group(list(net.parameters()))], OptimizerRecipe(ema=0.9), learning_rate=0.1, steps=50)
    seen = []
    for step in range(50):
        update(loss_of(net, step))
        seen.append(net[0].weight.detach().clone())
    with update.averaged():
        average = net[0].weight.detach().clone()
    assert torch.equal(net[0].weight, seen[-1]) and not torch.equal(average, seen[-1])
    low, high = torch.stack(seen).amin(0), torch.stack(seen).amax(0)
    assert bool(((average >= low - 0.05) & (average <= high + 0.05)).all())


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_blended_weights_lie_between_the_first_ones_and_the_trained_ones(ema: float) -> None:
    found = []
    for blend in (1.0, 0.25):
        net = network()
        first = net[0].weight.detach().clone()
        update = Update(
            [Group(list(net.parameters()))], OptimizerRecipe(ema=ema), learning_rate=0.1, steps=9, blends=(blend,)
        )
        for step in range(9):
            update(loss_of(net, step))
        trained = net[0].weight.detach().clone()
        with update.averaged():
            found.append(net[0].weight.detach().clone())
        assert torch.equal(net[0].weight, trained)
    assert torch.equal(found[1], torch.lerp(first, found[0], 0.25)) and not torch.equal(found[0], found[1])


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_going_on_from_a_saved_state_is_bit_equal(name: str) -> None:
    recipe = OptimizerRecipe(name=name, ema=0.9, clip=1.0)

    def run(stop: int | None) -> list[torch.Tensor]:
        net = network()
        update = Update([Group(list(net.parameters()))], recipe, learning_rate=0.05, steps=10, blends=(0.5, 1.0))
        for step in range(10):
            if step == stop:
                weights = {key: value.clone() for key, value in net.state_dict().items()}
                state = update.state_dict()
                net = network()
                net.load_state_dict(weights)
                update = Update(
                    [Group(list(net.parameters()))], recipe, learning_rate=0.05, steps=10, blends=(0.5, 1.0)
                )
                update.load_state_dict(state)
            update(loss_of(net, step))
        with update.averaged():
            averages = [parameter.detach().clone() for parameter in net.parameters()]
        return averages + [parameter.detach().clone() for parameter in net.parameters()]

    straight = run(None)
    for stop in (1, 5, 9):
        assert all(torch.equal(one, other) for one, other in zip(straight, run(stop), strict=True))
