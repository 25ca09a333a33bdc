"""The solver: the minimum that scikit-learn finds, from any start, on any rows, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from torch import Tensor, nn

from layerwise.engine.solve import DECAY, DECAYS, Solver, best_decay, cross_validate, fit
from layerwise.errors import DataError, Diverged


def problem(rows: int, features: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Features (N, D), positive and correlated, and targets (N,) that they tell in part."""
    draws = torch.Generator().manual_seed(rows * 1000 + features)
    targets = torch.arange(rows) % classes
    centres = torch.randn(classes, features, generator=draws)
    mixing = torch.randn(features, features, generator=draws) / features**0.5
    inputs = torch.randn(rows, features, generator=draws) @ mixing + 0.3 * centres[targets] + 4.0
    return inputs, targets


def layer(features: int, classes: int = 3, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(features, classes)


def standardised(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The features that the decay is about, and what they were divided by."""
    centred = inputs - inputs.mean(0)
    deviation = centred.square().mean().sqrt()
    return centred / deviation, deviation


def objective(linear: nn.Linear, inputs: Tensor, targets: Tensor, decay: float, smoothing: float = 0.0) -> float:
    """What `fit` says it minimises, from the layer alone."""
    _, deviation = standardised(inputs)
    loss = F.cross_entropy(linear(inputs), targets, label_smoothing=smoothing)
    return (loss + decay / 2 * (linear.weight * deviation).square().sum()).item()


@pytest.mark.parametrize(("rows", "features"), [(90, 12), (30, 80)])
def test_same_classifier_as_scikit_learn(rows: int, features: int) -> None:
    inputs, targets = problem(rows, features)
    linear = layer(features)
    fit(linear, inputs, targets, decay=0.03)
    scaled, _ = standardised(inputs)
    theirs = LogisticRegression(C=1 / (0.03 * rows), tol=1e-8, max_iter=2000).fit(scaled.numpy(), targets.numpy())
    ours = linear(inputs).softmax(1).detach().numpy()
    assert np.abs(ours - theirs.predict_proba(scaled.numpy())).max() < 2e-3


@pytest.mark.parametrize(("rows", "features"), [(90, 12), (30, 80), (20, 20)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_reaches_a_minimum_of_what_it_returns(rows: int, features: int, smoothing: float) -> None:
    inputs, targets = problem(rows, features)
    linear = layer(features)
    reached, evaluations = fit(linear, inputs, targets, decay=0.01, label_smoothing=smoothing)
    assert 0 < evaluations < 200
    assert objective(linear, inputs, targets, 0.01, smoothing) == pytest.approx(reached, abs=1e-5)
    draws = torch.Generator().manual_seed(0)
    for size in (1e-1, 1e-2):
        moved = layer(features)
        with torch.no_grad():
            moved.weight.copy_(linear.weight + size * torch.randn(linear.weight.shape, generator=draws))
            moved.bias.copy_(linear.bias - (moved.weight - linear.weight) @ inputs.mean(0))
        assert objective(moved, inputs, targets, 0.01, smoothing) > reached


@pytest.mark.parametrize(("rows", "features"), [(90, 12), (30, 80)])
def test_the_start_does_not_matter(rows: int, features: int) -> None:
    inputs, targets = problem(rows, features)
    reached = [fit(layer(features, seed=seed), inputs, targets, decay=0.03)[0] for seed in range(3)]
    assert max(reached) - min(reached) < 1e-5


def test_going_on_from_the_solution_takes_hardly_a_step() -> None:
    inputs, targets = problem(90, 12)
    linear = layer(12)
    first, many = fit(linear, inputs, targets, decay=0.03)
    again, few = fit(linear, inputs, targets, decay=0.03)
    assert many > 5 and few <= 3 and again == pytest.approx(first, abs=1e-6)


def test_targets_as_classes_and_as_rows_are_the_same() -> None:
    inputs, targets = problem(40, 10)
    one, other = layer(10), layer(10)
    fit(one, inputs, targets, decay=0.03, label_smoothing=0.1)
    fit(other, inputs, F.one_hot(targets, 3).float(), decay=0.03, label_smoothing=0.1)
    assert torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias)


def test_units_of_the_features_do_not_matter() -> None:
    inputs, targets = problem(60, 10)
    one, other = layer(10), layer(10)
    fit(one, inputs, targets, decay=0.03)
    fit(other, inputs * 100 + 1000, targets, decay=0.03)
    probabilities = one(inputs).softmax(1), other(inputs * 100 + 1000).softmax(1)
    assert torch.allclose(*probabilities, atol=2e-3)


@pytest.mark.parametrize(("rows", "features"), [(60, 10), (8, 10)])
def test_a_constant_feature_gets_no_weight(rows: int, features: int) -> None:
    inputs, targets = problem(rows, features)
    inputs[:, 3] = 0.1
    linear = layer(features)
    fit(linear, inputs, targets, decay=1e-4)
    assert linear.weight[:, 3].abs().max().item() < 1e-6 and bool((linear.weight[:, 2] != 0).all())


def test_features_that_are_all_constant_leave_the_shares_of_the_classes() -> None:
    linear = layer(5)
    fit(linear, torch.full((10, 5), 7.0), torch.tensor([0] * 7 + [1] * 2 + [2]), decay=0.03)
    assert linear(torch.full((1, 5), 7.0)).softmax(1)[0].tolist() == pytest.approx([0.7, 0.2, 0.1], abs=1e-3)


def test_two_rows_and_one_class_missing() -> None:
    inputs, _ = problem(2, 50)
    linear = layer(50)
    fit(linear, inputs, torch.tensor([2, 0]), decay=0.001)
    logits = linear(inputs)
    assert logits.argmax(1).tolist() == [2, 0] and bool(logits.isfinite().all())
    assert logits.softmax(1)[:, 1].max().item() < 0.05


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_row(smoothing: float) -> None:
    linear = layer(4)
    fit(linear, torch.ones(1, 4), torch.tensor([1]), decay=0.01, label_smoothing=smoothing)
    assert int(linear(torch.ones(1, 4)).argmax()) == 1


def test_half_precision_features_are_as_good() -> None:
    inputs, targets = problem(60, 10)
    one, other = layer(10), layer(10)
    fit(one, inputs.half().float(), targets, decay=0.03)
    fit(other, inputs.half(), targets, decay=0.03)
    assert torch.allclose(one.weight, other.weight, atol=1e-5)


@pytest.mark.parametrize(("rows", "features"), [(90, 12), (30, 80)])
def test_same_bits_twice_and_no_random_number_is_drawn(rows: int, features: int) -> None:
    inputs, targets = problem(rows, features)
    one, other = layer(features), layer(features)
    before = torch.get_rng_state(), inputs.clone()
    numpy_before = np.random.get_state()[1].tolist()
    assert fit(one, inputs, targets, decay=0.03) == fit(other, inputs, targets, decay=0.03)
    cross_validate(inputs, targets, classes=3, seed=1)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == numpy_before
    assert torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias)
    assert torch.equal(inputs, before[1])
    assert one.weight.requires_grad and one.weight.grad is None


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["features", "weight"])
def test_what_is_not_finite_is_said_and_the_layer_stays(broken: float, place: str) -> None:
    inputs, targets = problem(30, 6)
    linear = layer(6)
    with torch.no_grad():
        (inputs if place == "features" else linear.weight)[1, 2] = broken
    before = linear.weight.detach().clone(), linear.bias.detach().clone()
    with pytest.raises(Diverged, match="not finite"):
        fit(linear, inputs, targets, decay=0.03)
    assert torch.equal(linear.weight.nan_to_num(9), before[0].nan_to_num(9)) and torch.equal(linear.bias, before[1])


def test_the_path_goes_from_strong_to_weak() -> None:
    inputs, targets = problem(90, 12)
    linear, decays, sizes = layer(12), [], []
    solver = Solver(linear)
    for _ in range(solver.steps):
        decays.append(solver.decay)
        solver(inputs, targets, ONE_EACH[: len(inputs)])
        sizes.append(linear.weight.norm().item())
    assert tuple(decays) == DECAYS == tuple(sorted(DECAYS, reverse=True))
    assert sizes == sorted(sizes) and sizes[-1] > 2 * sizes[0]


def test_a_step_of_the_path_is_a_fit_from_where_the_one_before_ended() -> None:
    inputs, targets = problem(30, 80)
    one, other = layer(80), layer(80)
    solver = Solver(one, decays=(0.3, 0.01), label_smoothing=0.1, iterations=20)
    reached = [solver(inputs, targets, ONE_EACH[: len(inputs)]) for _ in range(2)]
    expected = [
        fit(other, inputs, targets, decay=decay, label_smoothing=0.1, iterations=20)[0] for decay in (0.3, 0.01)
    ]
    assert reached == expected and torch.equal(one.weight, other.weight)


def test_going_on_after_a_stop_is_bit_equal() -> None:
    inputs, targets = problem(30, 80)
    straight, stopped = layer(80), layer(80)
    solver = Solver(straight)
    for _ in range(4):
        solver(inputs, targets, ONE_EACH[: len(inputs)])
    first = Solver(stopped)
    first(inputs, targets, ONE_EACH[: len(inputs)])
    first(inputs, targets, ONE_EACH[: len(inputs)])
    resumed = layer(80, seed=5)
    resumed.load_state_dict(stopped.state_dict())
    second = Solver(resumed)
    second.load_state_dict(first.state_dict())
    second(inputs, targets, ONE_EACH[: len(inputs)])
    second(inputs, targets, ONE_EACH[: len(inputs)])
    assert torch.equal(straight.weight, resumed.weight) and torch.equal(straight.bias, resumed.bias)
    assert second.decay == solver.decay


def test_cross_validation_predicts_each_row_without_it() -> None:
    inputs, _ = problem(60, 100)
    noise = torch.randint(0, 3, (60,), generator=torch.Generator().manual_seed(0))
    linear = layer(100)
    fit(linear, inputs, noise, decay=0.001)
    assert bool((linear(inputs).argmax(1) == noise).all())  # learnt by heart
    probabilities = cross_validate(inputs, noise, classes=3, seed=0, decay=0.001)
    assert np.mean(probabilities.argmax(1) == noise.numpy()) < 0.6


def test_cross_validation_agrees_with_scikit_learn() -> None:
    inputs, targets = problem(90, 12)
    probabilities = cross_validate(inputs, targets, classes=3, seed=0)
    assert probabilities.shape == (90, 3) and np.allclose(probabilities.sum(1), 1)
    scaled, _ = standardised(inputs)
    model = LogisticRegression(C=1 / (0.03 * 72), max_iter=1000)
    theirs = cross_val_predict(model, scaled.numpy(), targets.numpy(), cv=5)
    ours = probabilities.argmax(1)
    assert np.mean(ours == targets.numpy()) == pytest.approx(np.mean(theirs == targets.numpy()), abs=0.06)
    assert np.mean(ours == theirs) > 0.85 and np.mean(ours == targets.numpy()) > 0.5


def test_cross_validation_is_a_function_of_the_seed() -> None:
    inputs, targets = problem(60, 20)
    first, again, other = (cross_validate(inputs, targets, classes=3, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_cross_validation_with_rare_and_missing_classes() -> None:
    inputs, _ = problem(12, 20)
    targets = torch.tensor([0] * 8 + [1] * 3 + [3])
    probabilities = cross_validate(inputs, targets, classes=5, seed=0)
    assert probabilities.shape == (12, 5) and np.allclose(probabilities.sum(1), 1)
    assert probabilities[:, 4].max() < 0.2


def test_cross_validation_with_fewer_rows_than_folds() -> None:
    inputs, targets = problem(6, 4)
    assert cross_validate(inputs, targets, classes=3, seed=0).shape == (6, 3)


def test_nothing_to_check_on_is_an_error() -> None:
    inputs, targets = problem(3, 4)
    with pytest.raises(DataError, match="two examples of a class"):
        cross_validate(inputs, targets, classes=3, seed=0)


ONE_EACH = np.arange(1000)


def test_a_decay_that_is_to_be_found_is_the_best_in_cross_validation() -> None:
    inputs, targets = problem(120, 20)
    linear = layer(20)
    solver = Solver(linear, decays=(), seed=3)
    solver(inputs, targets, ONE_EACH[:120])
    assert solver.last == best_decay(inputs, targets, classes=linear.out_features, seed=3) in DECAYS
    losses = {}
    for decay in DECAYS:
        found = cross_validate(inputs, targets, classes=linear.out_features, seed=3, decay=decay)
        losses[decay] = -np.log(found[np.arange(120), targets.numpy()]).mean()
    assert losses[solver.last] <= min(losses.values()) * 1.02  # the path begins each fit where another ended


def test_views_of_one_image_never_stand_on_both_sides_of_a_fold() -> None:
    """Nothing can be learnt here, so the strongest decay is best; with copies in other folds the weakest would be."""
    inputs, targets = torch.randn(60, 40, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    twice = Solver(layer(40), decays=(), seed=0)
    twice(torch.cat([inputs, inputs]), torch.cat([targets, targets]), np.tile(np.arange(60), 2))
    assert twice.last == best_decay(inputs, targets, classes=3, seed=0) == DECAYS[0]
    assert best_decay(torch.cat([inputs, inputs]), torch.cat([targets, targets]), classes=3, seed=0) < twice.last


def test_where_nothing_can_be_left_out_the_middle_decay_is_taken() -> None:
    assert best_decay(torch.eye(3), torch.arange(3), classes=3, seed=0) == DECAY
