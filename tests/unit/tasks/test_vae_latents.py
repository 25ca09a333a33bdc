from __future__ import annotations

import numpy as np
import pytest

from layerwise.config import build
from layerwise.errors import RecipeError
from layerwise.tasks.generator_run import in_turns
from layerwise.tasks.vae_latents import Mixture, fit, latents


def clouds(count: int) -> np.ndarray:
    """Two clouds far apart, one three times as frequent; the second long in one direction."""
    random = np.random.default_rng(0)
    second = random.normal(size=(count, 2)) @ np.array([[2.0, 0.0], [1.8, 0.3]]).T + [8, 0]
    first = random.normal(size=(count, 2)) * 0.5 - [8, 0]
    return np.where((np.arange(count) % 4 > 0)[:, None], first, second).astype(np.float32)


def none(count: int) -> np.ndarray:
    return in_turns(count, 0)


def test_a_mixture_draws_what_it_was_fitted_to() -> None:
    given = clouds(4000)
    drawn = fit(given, None, 2).draw(0, none(4000))
    for side in (np.less, np.greater):
        mine, theirs = drawn[side(drawn[:, 0], 0)], given[side(given[:, 0], 0)]
        assert len(mine) == pytest.approx(len(theirs), rel=0.1)
        np.testing.assert_allclose(mine.mean(0), theirs.mean(0), atol=0.2)
        np.testing.assert_allclose(np.cov(mine.T), np.cov(theirs.T), atol=0.25)


def test_the_first_latents_do_not_hang_on_how_many_are_drawn() -> None:
    mixture = fit(clouds(500), None, 3)
    for sampler in ("normal", "mixture"):
        many = latents(sampler, mixture, seed=4, labels=none(100))
        np.testing.assert_array_equal(latents(sampler, mixture, seed=4, labels=none(7)), many[:7])
        assert (latents(sampler, mixture, seed=5, labels=none(7)) != many[:7]).all()


def test_a_mixture_is_the_same_after_a_model_file() -> None:
    mixture = fit(clouds(500), None, 3)
    again = build(Mixture, mixture.model_dump(mode="json"))
    np.testing.assert_array_equal(again.draw(1, none(20)), mixture.draw(1, none(20)))


def test_a_class_is_drawn_from_its_own_gaussians() -> None:
    given = clouds(400)
    labels = (given[:, 0] > 0).astype(np.int64)
    mixture = fit(given, labels, 4)
    drawn = mixture.draw(0, np.array([0] * 50 + [1] * 50))
    assert (drawn[:50, 0] < 0).all() and (drawn[50:, 0] > 0).all()
    assert sorted(set(mixture.labels)) == [0, 1] and sum(mixture.weights) == pytest.approx(1.0)


def test_a_class_without_training_images_is_drawn_from_all() -> None:
    mixture = fit(clouds(100), np.full(100, 1), 2)
    assert np.isfinite(mixture.draw(0, np.array([0, 1, 2]))).all()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_images_make_one_gaussian(count: int) -> None:
    mixture = fit(clouds(count), None, 10)
    assert len(mixture.weights) == 1 and np.isfinite(mixture.draw(0, none(5))).all()


def test_truncation_brings_latents_nearer_to_their_means() -> None:
    mixture = fit(clouds(400), None, 2)
    for sampler in ("normal", "mixture"):
        whole, half = (latents(sampler, mixture, seed=0, labels=none(300), truncation=t) for t in (1.0, 0.5))
        centre = latents(sampler, mixture, seed=0, labels=none(300), truncation=0.0)
        np.testing.assert_allclose(half - centre, (whole - centre) / 2, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": [0.5]},
        {"means": [[0.0], [0.0, 1.0]]},
        {"factors": [[1.0, 0.0], [1.0, 0.0]]},
        {"labels": [0]},
        {"weights": [0.0, 0.0]},
        {"means": [[np.inf, 0.0], [0.0, 0.0]]},
    ],
)
def test_a_mixture_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    good = {"weights": [0.5, 0.5], "means": [[0.0, 0.0]] * 2, "factors": [[1.0, 0.0, 1.0]] * 2}
    assert build(Mixture, good).latent == 2
    with pytest.raises(RecipeError):
        build(Mixture, good | changes)
