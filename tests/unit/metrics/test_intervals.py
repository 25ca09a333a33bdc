"""Intervals cover the true value as often as they say: by simulation."""

from __future__ import annotations

import time

import numpy as np
import pytest

from layerwise.metrics import bootstrap, wilson

SETS = 1000


def answers(random: np.random.Generator, n: int, joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """n examples from a table of how often each class (row) is called each class (column)."""
    classes = len(joint)
    truth, predicted = np.divmod(random.choice(classes * classes, size=n, p=joint.ravel()), classes)
    return np.eye(classes)[predicted], truth


def table(shares: list[float], p: float) -> np.ndarray:
    classes = len(shares)
    calls = np.full((classes, classes), (1 - p) / (classes - 1))
    np.fill_diagonal(calls, p)
    return np.array(shares)[:, None] * calls


def true_macro_f1(joint: np.ndarray) -> float:
    return float(np.mean(2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))))


def coverage(name: str, n: int, joint: np.ndarray, truth: float, resamples: int = 300) -> float:
    random = np.random.default_rng(n)
    hits = 0
    for seed in range(SETS):
        found = bootstrap(*answers(random, n, joint), resamples=resamples, seed=seed)[name]
        hits += found["low"] <= truth <= found["high"]
    return hits / SETS


@pytest.mark.parametrize(("n", "p"), [(80, 0.92), (400, 0.92)])
def test_the_interval_of_accuracy_covers_as_often_as_it_says(n: int, p: float) -> None:
    random = np.random.default_rng(0)
    bounds = {right: wilson(right, n) for right in range(n + 1)}
    drawn = random.binomial(n, p, size=SETS)
    hits = np.mean([bounds[right][0] <= p <= bounds[right][1] for right in drawn.tolist()])
    assert 0.93 <= hits <= 0.97


def test_bootstrap_gives_accuracy_wilsons_interval() -> None:
    probabilities, targets = answers(np.random.default_rng(1), 80, table([0.2] * 5, 0.92))
    found = bootstrap(probabilities, targets)["accuracy"]
    right = int((probabilities.argmax(axis=1) == targets).sum())
    assert (found["low"], found["high"]) == wilson(right, 80)


@pytest.mark.parametrize(
    ("n", "shares", "p"),
    [
        (80, [0.2] * 5, 0.92),
        (400, [0.2] * 5, 0.92),
        (80, [0.5, 0.25, 0.15, 0.07, 0.03], 0.92),  # a plain bootstrap covers 0.905
        (80, [0.2] * 5, 0.98),  # a plain bootstrap covers 0.81
        (40, [0.5, 0.5], 0.9),  # a plain bootstrap covers 0.90
    ],
)
def test_the_interval_of_macro_f1_covers_as_often_as_it_says(n: int, shares: list[float], p: float) -> None:
    joint = table(shares, p)
    assert 0.92 <= coverage("macro_f1", n, joint, true_macro_f1(joint)) <= 0.985


@pytest.mark.parametrize(("n", "at_least"), [(20, 0.92), (80, 0.91), (400, 0.92)])
def test_the_interval_of_log_loss_covers_where_few_examples_make_up_the_loss(n: int, at_least: float) -> None:
    random, hits = np.random.default_rng(2), 0
    truth = 0.92 * (1 / 8) + 0.08 * (1 + 1 / 2 + 1 / 3 + 1 / 4)  # means of -log of the Beta draws below
    for seed in range(SETS):
        given = np.where(random.random(n) < 0.92, random.beta(8, 1, n), random.beta(1, 4, n))
        probabilities = np.stack([given, 1 - given], axis=1)
        found = bootstrap(probabilities, np.zeros(n, dtype=int), resamples=300, seed=seed)["log_loss"]
        hits += found["low"] <= truth <= found["high"]
    assert hits / SETS >= at_least  # a plain bootstrap: 0.74, 0.91, 0.94


@pytest.mark.parametrize("n", [1, 2, 80])
def test_a_test_set_without_a_mistake_is_not_certainty(n: int) -> None:
    targets = np.arange(n) % 2
    for name, found in bootstrap(np.eye(2)[targets], targets).items():
        assert found["high"] - found["low"] > 0.01, name
        assert found["low"] <= found["value"] <= found["high"]


@pytest.mark.parametrize("n", [1, 3, 80])
def test_a_test_set_without_a_right_answer_is_not_certainty(n: int) -> None:
    targets = np.zeros(n, dtype=int)
    for name, found in bootstrap(np.eye(3)[targets + 1], targets).items():
        assert found["high"] - found["low"] > 0.01, name
        assert found["low"] <= found["value"] <= found["high"]


def test_the_same_seed_gives_the_same_bounds_and_another_seed_does_not() -> None:
    probabilities, targets = answers(np.random.default_rng(3), 60, table([0.25] * 4, 0.7))
    first = bootstrap(probabilities, targets, seed=1)
    assert first == bootstrap(probabilities, targets, seed=1)
    assert first["macro_f1"] != bootstrap(probabilities, targets, seed=2)["macro_f1"]


def test_a_higher_level_gives_a_wider_interval() -> None:
    probabilities, targets = answers(np.random.default_rng(4), 60, table([0.25] * 4, 0.7))
    narrow, wide = bootstrap(probabilities, targets, level=0.8), bootstrap(probabilities, targets, level=0.99)
    for name in narrow:
        assert wide[name]["low"] < narrow[name]["low"] and narrow[name]["high"] < wide[name]["high"]


def test_many_classes_draw_by_example_and_agree_with_drawing_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, targets = answers(np.random.default_rng(5), 300, table([0.1] * 10, 0.8))
    by_table = bootstrap(probabilities, targets)["macro_f1"]
    monkeypatch.setattr("layerwise.metrics.intervals.MANY", 1)
    by_example = bootstrap(probabilities, targets)["macro_f1"]
    assert by_example["low"] == pytest.approx(by_table["low"], abs=0.006)
    assert by_example["high"] == pytest.approx(by_table["high"], abs=0.006)


def test_ten_thousand_examples_take_less_than_two_seconds() -> None:
    random = np.random.default_rng(6)
    probabilities, targets = random.dirichlet(np.ones(10), size=10_000), random.integers(0, 10, 10_000)
    began = time.process_time()
    bootstrap(probabilities, targets)
    assert time.process_time() - began < 2


# Examples that come in groups.


def grouped(random: np.random.Generator, groups: int, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes in groups of 1 to 15; how often a group is right varies with `spread`."""
    codes = np.repeat(np.arange(groups), random.integers(1, 16, groups))
    truth = random.integers(0, 2, len(codes))
    logit = 1.5 + spread * random.normal(size=groups)[codes]
    right = random.random(len(codes)) < 1 / (1 + np.exp(-logit))
    return np.eye(2)[np.where(right, truth, 1 - truth)], truth, codes


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_intervals_of_groups_cover_where_those_of_single_examples_do_not(name: str) -> None:
    probabilities, targets, _ = grouped(np.random.default_rng(0), 30_000, 1.5)
    truth = bootstrap(probabilities, targets, resamples=10)[name]["value"]
    random, hits = np.random.default_rng(1), {True: 0, False: 0}
    for seed in range(400):
        probabilities, targets, codes = grouped(random, 40, 1.5)
        for together in hits:
            given = codes if together else None
            found = bootstrap(probabilities, targets, groups=given, resamples=200, seed=seed)[name]
            hits[together] += found["low"] <= truth <= found["high"]
    assert 0.91 <= hits[True] / 400 <= 0.98 and hits[False] / 400 < 0.85


def test_groups_of_one_are_no_groups_and_names_are_as_good_as_numbers() -> None:
    random = np.random.default_rng(2)
    probabilities, targets, codes = grouped(random, 20, 1.0)
    alone = np.array([f"file {row}" for row in range(len(targets))])
    assert bootstrap(probabilities, targets, groups=alone) == bootstrap(probabilities, targets)
    names = np.array([f"film {code:03d}" for code in codes])
    assert bootstrap(probabilities, targets, groups=names) == bootstrap(probabilities, targets, groups=codes)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_few_groups_without_a_mistake_are_not_certainty(groups: int) -> None:
    targets = np.arange(80) % 2
    codes = np.arange(80) % groups
    found = bootstrap(np.eye(2)[targets], targets, groups=codes)
    assert found["accuracy"]["low"] <= wilson(groups, groups)[0] + 1e-9
    for name, each in found.items():
        assert each["high"] - each["low"] > 0.01 and each["low"] <= each["value"] <= each["high"], name


def test_copies_of_examples_as_groups_tell_no_more_than_the_examples() -> None:
    random = np.random.default_rng(3)
    targets = random.integers(0, 2, 100)
    answer = np.eye(2)[np.where(random.random(100) < 0.8, targets, 1 - targets)]
    once = bootstrap(answer, targets)
    copied = bootstrap(np.repeat(answer, 5, axis=0), np.repeat(targets, 5), groups=np.repeat(np.arange(100), 5))
    for name in ("accuracy", "macro_f1"):
        assert copied[name]["low"] == pytest.approx(once[name]["low"], abs=0.02)
        assert copied[name]["high"] == pytest.approx(once[name]["high"], abs=0.02)
