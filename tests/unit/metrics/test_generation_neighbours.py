"""Density, coverage and diversity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from layerwise.metrics import generation
from layerwise.metrics.neighbours import density_coverage, density_coverage_interval, diversity


def gaussian(seed: int, n: int = 300, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, size))


def by_the_paper(real: np.ndarray, made: np.ndarray, k: int) -> tuple[float, float]:
    radii = np.sort(cdist(real, real), axis=1)[:, k]
    inside = cdist(real, made) <= radii[:, None]
    return inside.sum() / (k * len(made)), float(inside.any(axis=1).mean())


@pytest.mark.parametrize("k", [1, 5, 20])
def test_density_and_coverage_are_the_papers(k: int) -> None:
    real, made = gaussian(0), gaussian(1, n=150) * 0.8 + 0.3
    assert density_coverage(real, made, k) == pytest.approx(by_the_paper(real, made, k))


def test_of_equal_distributions_density_is_1_and_coverage_as_expected() -> None:
    density, coverage = density_coverage(gaussian(0, 2000), gaussian(1, 2000))
    assert density == pytest.approx(1, abs=0.1)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_samples_that_are_the_real_images_are_covered_even_where_images_repeat() -> None:
    real = np.repeat(gaussian(0, 40), 10, axis=0) * 1e3 + 1e5
    assert density_coverage(real, real)[1] == 1.0


def test_a_collapse_is_seen_in_coverage_and_diversity() -> None:
    real = gaussian(0)
    few = np.repeat(real[:3], 100, axis=0)
    assert density_coverage(real, few)[1] < 0.2
    assert diversity(np.repeat(real[:1], 100, axis=0)) == pytest.approx(0, abs=1e-6)
    assert diversity(real * 0.1) == pytest.approx(diversity(real) * 0.1)


def test_samples_elsewhere_have_neither() -> None:
    assert density_coverage(gaussian(0), gaussian(1) + 100) == (0.0, 0.0)
    density, coverage = density_coverage_interval(gaussian(0), gaussian(1) + 100)
    assert density == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert coverage["low"] == 0 < coverage["high"] < 0.05


def test_intervals_hold_their_values() -> None:
    real, made = gaussian(0), gaussian(1, n=150)
    values = density_coverage(real, made)
    for value, found in zip(values, density_coverage_interval(real, made), strict=True):
        assert found["low"] < found["value"] == value < found["high"]
    assert density_coverage_interval(gaussian(0, n=6), gaussian(1, n=6))[1]["high"] <= 1


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    a = gaussian(0) + 50
    assert diversity(a) == pytest.approx(pdist(a).mean())


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = gaussian(0), gaussian(1, n=150)
    whole = density_coverage_interval(real, made), diversity(real)
    monkeypatch.setattr(generation, "_CHUNK", 7 * 150)
    parts = density_coverage_interval(real, made), diversity(real)
    assert parts[1] == pytest.approx(whole[1])
    for one, other in zip(whole[0], parts[0], strict=True):
        assert one == pytest.approx(other)
