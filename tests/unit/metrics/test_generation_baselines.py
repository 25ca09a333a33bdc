"""Images made without a network."""

from __future__ import annotations

import numpy as np
import pytest

from layerwise.metrics import generation_baselines
from layerwise.metrics.generation import frechet
from layerwise.metrics.generation_baselines import Sampler, mean_image, pca_gaussian


def images(n: int = 400, side: int = 6, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Two hidden factors and a little grain."""
    random = np.random.default_rng(seed)
    factors = np.random.default_rng(7).normal(size=(2, side * side * channels)) * 20
    pixels = 120 + random.normal(size=(n, 2)) @ factors + random.normal(size=(n, factors.shape[1]))
    return np.rint(pixels.clip(0, 255)).astype(np.uint8).reshape(n, side, side, channels)


def flat(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1).astype(np.float64)


def test_the_mean_image_is_the_mean() -> None:
    train = images(channels=3)
    made = mean_image(train)(5, 3)
    assert made.shape == (5, 6, 6, 3)
    assert made.dtype == np.uint8
    assert np.abs(made - train.mean(axis=0)).max() <= 0.5


def test_pca_gaussian_has_the_mean_and_the_spread_of_the_images() -> None:
    train = images(n=2000)
    made = pca_gaussian(train, 2)(2000, 0)
    assert flat(made).mean(axis=0) == pytest.approx(flat(train).mean(axis=0), abs=4)
    assert flat(made).std(axis=0) == pytest.approx(flat(train).std(axis=0), rel=0.15, abs=2)
    fresh = flat(images(n=2000, seed=1))
    assert frechet(flat(made), fresh) < 0.02 * frechet(flat(mean_image(train)(2000, 0)), fresh)


@pytest.mark.parametrize("make", [mean_image, pca_gaussian])
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_hang_on_the_seed_alone(make: object, channels: int) -> None:
    assert callable(make)
    train = images(channels=channels)
    before = train.copy()
    sampler: Sampler = make(train)
    np.random.seed(1)
    first = sampler(1500, 4)
    np.random.seed(2)
    assert (make(train)(1500, 4) == first).all()
    assert (sampler(1100, 4) == first[:1100]).all()
    assert (train == before).all()
    if make is pca_gaussian:
        assert (sampler(1500, 5) != first).any()


def test_few_images_are_enough() -> None:
    train = images()
    assert pca_gaussian(train[:2])(3, 0).shape == (3, 6, 6, 1)
    assert (pca_gaussian(train[:1])(3, 0) == train[0]).all()
    assert (pca_gaussian(np.repeat(train[:1], 5, axis=0))(3, 0) == train[0]).all()


def test_large_images_are_sampled_from_the_whole_training_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation_baselines, "_VALUES", 36 * 50)
    monkeypatch.setattr(generation_baselines, "_WIDE", 10)  # the randomized solver
    train = np.concatenate([images(n=200) // 2, images(n=200, seed=1)])  # class by class
    made = pca_gaussian(train, 4)(500, 0)
    assert flat(made).mean() == pytest.approx(flat(train).mean(), abs=4)
    assert (made == pca_gaussian(train, 4)(500, 0)).all()
