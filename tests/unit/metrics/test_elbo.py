from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from layerwise.metrics import elbo


def test_a_latent_near_the_threshold_is_counted_as_unsure() -> None:
    random = np.random.default_rng(0)
    means = random.normal(size=(400, 3)) * np.sqrt([1.0, 0.0102, 0.0001])
    found = elbo.active_count(means)
    assert found["low"] == 1 and found["high"] == 2 and found["value"] in (1, 2)


def test_percentiles_are_those_of_the_scores_themselves() -> None:
    scores = np.random.default_rng(0).gamma(3.0, 50.0, 4000)
    kept = elbo.quantiles(scores)
    asked = np.array([scores.min() - 1, np.median(scores), np.quantile(scores, 0.99), scores.max() + 1])
    np.testing.assert_allclose(elbo.percentile(asked, kept), [0, 50, 99, 100], atol=0.1)


def test_equal_scores_have_the_percentile_of_their_middle() -> None:
    kept = elbo.quantiles(np.array([1.0, 1.0, 1.0, 1.0]))
    assert elbo.percentile(np.array([0.9, 1.0, 1.1]), kept).tolist() == [0.0, 50.0, 100.0]


def test_nats_of_the_mean_image_are_those_of_its_probabilities() -> None:
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
    images = random.integers(0, 256, (7, 4, 4, 1), dtype=np.uint8)
    share = (train.reshape(50, -1) / 255).sum(0) + 0.5
    share /= 51
    x = images.reshape(7, -1) / 255
    wanted = -(x * np.log(share) + (1 - x) * np.log(1 - share)).sum(1)
    np.testing.assert_allclose(elbo.mean_image_nats(train, images, "bernoulli"), wanted)


def test_bins_of_the_gaussian_mean_image_hold_all_probability() -> None:
    train = np.random.default_rng(0).integers(0, 256, (200, 1, 1, 1), dtype=np.uint8)
    every = np.arange(256, dtype=np.uint8).reshape(-1, 1, 1, 1)
    found = np.exp(-elbo.mean_image_nats(train, every, "gaussian"))
    assert found.sum() == pytest.approx(1.0, abs=1e-9)
    mean, deviation = train.mean() / 255, train.std() / 255
    assert found[100] == pytest.approx(norm.cdf(100.5 / 255, mean, deviation) - norm.cdf(99.5 / 255, mean, deviation))


def test_a_part_that_never_changes_has_finite_nats() -> None:
    black = np.zeros((5, 3, 3, 1), np.uint8)
    other = np.full((1, 3, 3, 1), 255, np.uint8)
    for likelihood in ("bernoulli", "gaussian"):
        same, far = (elbo.mean_image_nats(black, images, likelihood)[0] for images in (black, other))
        assert 0 <= same < far < np.inf
