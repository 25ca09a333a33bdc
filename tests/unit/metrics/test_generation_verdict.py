"""The sentence."""

from __future__ import annotations

import numpy as np
import pytest

from layerwise.metrics.generation import frechet
from layerwise.metrics.generation_verdict import SameCost, verdict, verdict_nats


def gaussian(seed: int, shift: float = 0.0, n: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 6)) + shift


def test_it_names_the_strongest_rival_and_both_distances() -> None:
    model, real, strong, weak = gaussian(0, 0.1), gaussian(1), gaussian(2, 0.6), gaussian(3, 2)
    said = verdict(model, real, {"the mean image": weak, "a PCA-Gaussian": strong})
    assert said.startswith(f"Better than a PCA-Gaussian: distance {frechet(model, real):.3f} against ")
    assert f"{frechet(strong, real):.2f} (difference -" in said
    assert "the mean image" not in said


def test_worse_and_undecided_are_not_better() -> None:
    real, rival = gaussian(1), gaussian(2, 0.5)
    assert verdict(gaussian(0, 1.5), real, {"it": rival}).startswith("Not better than it: distance ")
    assert verdict(gaussian(0, 0.5), real, {"it": rival}).startswith("Not better than it: distance ")
    assert verdict(rival, real, {"it": rival}).startswith("Not better than it: distance ")


def test_two_equal_generators_seldom_look_different() -> None:
    found = 0
    for seed in range(200):
        said = verdict(gaussian(3 * seed, 0.4), gaussian(3 * seed + 1), {"it": gaussian(3 * seed + 2, 0.4)})
        found += said.startswith("Better")
    assert found <= 12  # 2.5 in 100 are to be expected: 5


def test_pairing_on_the_real_images_tells_more() -> None:
    # The real images' own chance moves both distances alike, and would drown what differs.
    real = gaussian(1, n=60)
    model, rival = gaussian(2, 2.9, n=20_000), gaussian(3, 3.0, n=20_000)
    assert verdict(model, real, {"it": rival}).startswith("Better than it")


def test_real_against_real_and_the_tutorial_are_named() -> None:
    said = verdict(
        gaussian(0),
        gaussian(1),
        {"the mean image": np.zeros((300, 6))},
        real_distance=2.1,
        same_cost=SameCost("gan-tutorial", 95.04, 31.2),
    )
    assert said.endswith(
        " Real images against real ones: 2.10."
        " In validation 31.2, below the 95.0 of gan-tutorial at about the same cost."
    )
    said = verdict(gaussian(0), gaussian(1), {"it": gaussian(2)}, same_cost=SameCost("vae-tutorial", 9.0, 12.0))
    assert said.endswith("In validation 12.0, not below the 9.00 of vae-tutorial at about the same cost.")


def test_too_few_images_are_said() -> None:
    said = verdict(gaussian(0, n=10), gaussian(1), {"it": gaussian(2, 3, n=10)})
    assert said.endswith("Only 10 images for 6 features: distances come out too large, and more would tell.")


def test_samples_that_are_not_finite_are_not_better() -> None:
    model = gaussian(0)
    model[3, 2] = np.nan
    said = verdict(model, gaussian(1), {"it": gaussian(2)})
    assert said == "Not better than it: the samples are not finite, and have no distance."


def test_nats_are_compared_image_by_image() -> None:
    random = np.random.default_rng(0)
    hardness = random.normal(size=500) * 80
    baseline = 400 + hardness
    said = verdict_nats(baseline - 2 + random.normal(size=500), baseline)
    assert said.startswith("Better than the mean image: ")
    assert " nats an image against " in said
    assert "(difference -2.0" in said or "(difference -1.9" in said
    assert verdict_nats(baseline, baseline, than="it").startswith("Not better than it: ")
    assert verdict_nats(baseline + 5, baseline, than="it").startswith("Not better than it: ")


def test_nats_that_are_not_finite_are_not_left_out() -> None:
    said = verdict_nats(np.array([1.0, np.inf, np.nan]), np.array([5.0, 5.0, 5.0]))
    assert said == "Not better than the mean image: 2 of 3 images have no finite number of nats."


def test_one_image_is_too_little() -> None:
    said = verdict_nats(np.array([1.0]), np.array([5.0]), than="it")
    assert said == "Not better than it: 1.00 nats an image against 5.00 on one image, which is too little to be sure."


@pytest.mark.parametrize(
    ("distance", "said"),
    [(12.345, "12.3"), (0.012345, "0.0123"), (1234.5, "1,234"), (99.96, "100"), (0.0, "0"), (9.996, "10.0")],
)
def test_numbers_have_three_digits_that_tell(distance: float, said: str) -> None:
    found = verdict(gaussian(0), gaussian(1), {"it": gaussian(2)}, real_distance=distance)
    assert found.endswith(f"Real images against real ones: {said}.")
