"""Distances of generated images, and what is beside them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import polynomial_kernel

from layerwise.metrics import generation
from layerwise.metrics.generation import (
    active_units,
    auroc,
    class_share,
    frechet,
    frechet_influence,
    frechet_interval,
    kid,
    kid_influence,
    kid_interval,
)


def features(seed: int, n: int = 300, size: int = 8, shift: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(size, size))
    return np.maximum(random.normal(size=(n, size)) @ mix + shift, -0.5)


def by_sqrtm(a: np.ndarray, b: np.ndarray) -> float:
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    apart = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return float(apart + np.trace(first + second - 2 * np.real(sqrtm(first @ second))))


def blurred(sigma: float) -> np.ndarray:
    """(n, 64): random blots as features of their own pixels, blurred."""
    images = gaussian_filter(np.random.default_rng(0).normal(size=(400, 8, 8)), (0, 1, 1))
    return gaussian_filter(images, (0, sigma, sigma)).reshape(len(images), -1)


def test_frechet_is_the_formula_with_the_root_of_the_product() -> None:
    a, b = features(1), features(2, n=200, shift=0.7) * 1.3
    assert frechet(a, b) == pytest.approx(by_sqrtm(a, b), rel=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-12)
    assert frechet(a, b) == pytest.approx(frechet_influence(a, b).value, rel=1e-12)
    assert frechet(a, b) == pytest.approx(frechet_interval(a, b)["value"], rel=1e-12)


def test_frechet_of_many_images_is_that_of_the_gaussians() -> None:
    random = np.random.default_rng(0)
    a = random.normal(size=(200_000, 3)) * [1.0, 2.0, 3.0]
    b = random.normal(size=(200_000, 3)) * [2.0, 2.0, 1.0] + [0.0, 1.0, 0.0]
    # Diagonal covariances: |mean difference|² and the squared differences of the standard deviations.
    assert frechet(a, b) == pytest.approx(1 + 1 + 0 + 4, rel=0.02)


def test_frechet_of_a_set_from_itself_is_nothing() -> None:
    for a in (features(1), features(1, n=5), np.ones((4, 8)), features(1) * 1e6):
        assert frechet(a, a) == pytest.approx(0, abs=1e-12 * max(1.0, float(a.var())))


def test_frechet_of_samples_all_alike_is_the_spread_and_the_shift_of_the_real_ones() -> None:
    real = features(3)
    alike = np.tile(real[:1], (50, 1))
    expected = np.trace(np.cov(real, rowvar=False)) + ((real[0] - real.mean(axis=0)) ** 2).sum()
    found = frechet_interval(alike, real)
    assert found["value"] == pytest.approx(float(expected))
    assert found["low"] < found["value"] < found["high"]
    both = frechet_interval(alike, np.tile(real[1:2], (50, 1)))
    assert both["low"] == both["value"] == both["high"] == pytest.approx(float(((real[0] - real[1]) ** 2).sum()))


def test_frechet_of_fewer_images_than_features_stays_real() -> None:
    a, b = features(1, n=20, size=64), features(2, n=30, size=64)
    assert frechet(a, b) == pytest.approx(by_sqrtm(a, b), rel=1e-3)
    found = frechet_interval(a, b)
    assert 0 <= found["low"] < found["value"] < found["high"] < np.inf


def test_one_feature_is_enough() -> None:
    a, b = np.array([[0.0], [2.0]]), np.array([[0.0], [4.0]])
    assert frechet(a, b) == pytest.approx(1 + (np.sqrt(8) - np.sqrt(2)) ** 2)


@pytest.mark.parametrize("score", [frechet, kid])
def test_a_distance_grows_with_blur(score: object) -> None:
    assert callable(score)
    found = [score(blurred(sigma), blurred(0.0)) for sigma in (0.0, 0.5, 1.0, 2.0)]
    assert found == sorted(found)
    assert found[1] > found[0] + 1e-4


@pytest.mark.parametrize("influence", [frechet_influence, kid_influence])
def test_influence_is_what_leaving_an_image_out_changes(influence: object) -> None:
    assert callable(influence)
    a, b = features(1), features(2, n=250, shift=0.7)
    found = influence(a, b)
    without = np.array([influence(np.delete(a, row, axis=0), b).value for row in range(40)])
    jackknife = (len(a) - 1) * (found.value - without)
    assert np.corrcoef(jackknife, found.first[:40])[0, 1] > 0.999
    assert np.std(jackknife) == pytest.approx(np.std(found.first[:40]), rel=0.05)
    assert influence(b, a).second == pytest.approx(found.first)


def test_kid_is_the_mean_over_pairs_of_different_images() -> None:
    a, b = features(1, n=30), features(2, n=40, shift=0.5)
    kernel = [polynomial_kernel(x, y, degree=3, gamma=1 / 8, coef0=1) for x, y in ((a, a), (b, b), (a, b))]
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    assert kid(a, b) == pytest.approx(sum(within) - 2 * kernel[2].mean(), rel=1e-9)
    assert kid(a, b) == kid_interval(a, b)["value"]


def test_kid_of_equal_distributions_is_nothing_on_average_whatever_n() -> None:
    for n in (10, 100):
        found = np.array([kid(features(seed, n), features(seed + 1000, n)) for seed in range(400)])
        assert abs(found.mean()) < 3 * found.std() / 20
        assert (found < 0).any()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = features(1), features(2, n=250, shift=0.5)
    whole = kid_interval(a, b)
    monkeypatch.setattr(generation, "_CHUNK", 7 * 250)
    assert kid_interval(a, b) == pytest.approx(whole, rel=1e-9)


def test_class_share_counts_the_most_probable_class() -> None:
    shares = class_share(np.array([[0.6, 0.4, 0.0], [0.4, 0.35, 0.25], [0.1, 0.8, 0.1], [0.5, 0.5, 0.0]]))
    assert shares.tolist() == [0.75, 0.25, 0.0]


def test_a_latent_is_active_where_its_mean_varies_enough() -> None:
    means = np.random.default_rng(0).normal(size=(2000, 3)) * np.sqrt([1.0, 0.02, 0.005]) + 5
    assert active_units(means).tolist() == [True, True, False]
    assert active_units(means, threshold=0.1).tolist() == [True, False, False]


def test_auroc_is_scikit_learns_with_ties() -> None:
    random = np.random.default_rng(0)
    scores, outliers = random.integers(0, 10, size=200).astype(float), random.random(200) < 0.2
    scores[outliers] += 2
    assert auroc(scores, outliers)["value"] == pytest.approx(roc_auc_score(outliers, scores))
    assert auroc(-scores, outliers)["value"] == pytest.approx(1 - roc_auc_score(outliers, scores))


def test_auroc_of_the_simplest_cases_has_an_interval() -> None:
    perfect = auroc(np.arange(40.0), np.arange(40) >= 20)
    assert (perfect["value"], perfect["high"]) == (1.0, 1.0)
    assert 0.8 < perfect["low"] < 0.95
    wrong = auroc(np.arange(40.0), np.arange(40) < 20)
    assert (wrong["value"], wrong["low"]) == (0.0, 0.0)
    tied = auroc(np.ones(40), np.arange(40) < 20)
    assert tied["low"] < 0.4 < 0.5 == tied["value"] < 0.6 < tied["high"]
    one = auroc(np.arange(40.0), np.arange(40) == 39)
    assert one["low"] < 0.5 < one["value"] == 1.0
