"""What every network for images is measured against."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from layerwise.console import Silent
from layerwise.metrics.scores import accuracy
from layerwise.tasks import image_baselines, image_run
from layerwise.tasks.image_baselines import LINEAR, MEANS, linear_on_pixels


def store(pixels: np.ndarray) -> Any:
    held = torch.from_numpy(pixels)
    return SimpleNamespace(shape=pixels.shape, read=lambda ids: held[torch.from_numpy(np.asarray(ids))])


def halves(n: int, side: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Noise, brighter on the left or on the right."""
    random = np.random.default_rng(0)
    targets = np.arange(n) % 2
    pixels = random.integers(0, 200, (n, side, side, 3), dtype=np.uint8)
    for row, target in enumerate(targets):
        pixels[row, :, : side // 2] += np.uint8(30 * target)
    return pixels, targets


def test_a_linear_model_learns_what_is_linear_in_shrunk_pictures() -> None:
    pixels, targets = halves(300)
    rows = np.arange(300)
    valid, test = linear_on_pixels(store(pixels), targets, rows[:200], [rows[200:250], rows[250:]], 2)
    assert valid.shape == test.shape == (50, 2) and np.allclose(test.sum(1), 1)
    assert accuracy(test, targets[250:]) > 0.9


@pytest.mark.parametrize("shape", [(4, 3, 1), (16, 16, 3), (33, 17, 3)])
def test_pictures_of_any_size_and_classes_that_never_train_are_taken(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (40, *shape), dtype=np.uint8)
    targets = np.arange(40) % 2
    rows = np.arange(40)
    _, found = linear_on_pixels(store(pixels), targets, rows[:20], [rows[20:30], rows[30:]], 5)
    assert found.shape == (10, 5) and np.isfinite(found).all()


def test_the_penalty_is_chosen_by_the_first_list_alone() -> None:
    pixels, targets = halves(120)
    rows = np.arange(120)
    one = linear_on_pixels(store(pixels), targets, rows[:60], [rows[60:90], rows[90:]], 2)[1]
    swapped = targets.copy()
    swapped[90:] = 1 - swapped[90:]
    assert np.array_equal(one, linear_on_pixels(store(pixels), swapped, rows[:60], [rows[60:90], rows[90:]], 2)[1])


@pytest.mark.slow
@pytest.mark.parametrize("classes", [10, 100])
def test_five_thousand_images_take_less_than_five_seconds(classes: int) -> None:
    random = np.random.default_rng(2)
    pixels, targets = random.integers(0, 255, (7000, 32, 32, 3), dtype=np.uint8), random.integers(0, classes, 7000)
    rows, began = np.arange(7000), time.process_time()
    linear_on_pixels(store(pixels), targets, rows[:5000], [rows[5000:6000], rows[6000:]], classes)
    assert time.process_time() - began < 5


def trained(data: Any, **values: Any) -> dict[str, Any]:
    """The figures of a run whose stages are entered and left as they are."""
    job = image_run.prepare(data, {"model": "cnn-28", "epochs": 1, **values}, None, Silent())
    batches = job.enter(job.stages[0], Silent(), False)
    valid = job.task.evaluate(batches.part("valid"))
    job.task.load_weights(job.task.weights())
    seconds = {"prepare": 0.0, "keep": 0.0, "train": 0.0, "valid": 0.0}
    return job.finish(seconds, valid).metrics


def test_the_verdict_is_about_the_better_of_the_two_in_validation() -> None:
    pixels, targets = halves(300, side=28)
    names = np.array(["dark", "light"])
    linear = trained((pixels[..., :1], names[targets]))
    assert linear["baseline"]["name"] == LINEAR and LINEAR in linear["verdict"]
    assert [each["name"] for each in linear["baselines"]] == [LINEAR, "majority class"]
    assert linear["seconds"]["baselines"] > 0 and "verdicts" not in linear
    noise = np.random.default_rng(3).integers(0, 255, (300, 28, 28, 1), dtype=np.uint8)
    often = np.array(["rare", "often"])[(np.arange(300) % 5 > 0).astype(int)]
    found = trained((noise, often), split={"valid": 0.3})
    assert found["measure"] == "macro_f1"  # 4 to 1
    third = np.array(["rare", "often"])[(np.arange(300) % 3 > 0).astype(int)]
    same = trained((noise, third), split={"valid": 0.3})
    assert same["baseline"]["name"] == "majority class" and "always answering" in same["verdict"]
    assert {each["name"] for each in same["baselines"]} == {LINEAR, "majority class"}


def test_distances_become_probabilities_and_a_class_without_a_mean_gets_none() -> None:
    features = np.array([[0.0, 0.0], [4.0, 0.0]])
    means = image_baselines._means(np.array([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0]]), np.array([0, 0, 2]), 3)
    assert means[0].tolist() == [0.0, 1.0] and np.isnan(means[1]).all()
    squares = image_baselines._squares(features, means)
    assert squares[:, 0].tolist() == [1.0, 17.0] and np.isinf(squares[:, 1]).all() and squares[1, 2] == 0.0
    shares = image_baselines._softmax(-squares)
    assert shares[:, 1].tolist() == [0.0, 0.0] and shares.argmax(1).tolist() == [0, 2]
    assert MEANS.startswith("nearest")
