"""ImageVAE and ImageGAN in scikit-learn's conventions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import layerwise
from layerwise import ImageGAN, ImageVAE
from layerwise_tests.shapes import shapes

RECIPE: dict[str, Any] = {
    "batch_size": 16,
    "judge": {"network": "small", "samples": 60, "epoch_samples": 60, "steps": 3},
}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return shapes(80)[0]


def test_a_vae_encodes_decodes_samples_and_scores(images: np.ndarray) -> None:
    model = ImageVAE("vae-tutorial", epochs=2, device="cpu", recipe=RECIPE).fit(images)
    assert model.transform(images[:5]).shape == (5, 2)
    assert model.reconstruct(images[:5]).shape == (5, 28, 28, 1)
    assert model.sample(3, seed=1).shape == (3, 28, 28, 1)
    scores = model.score_samples(images[:5])
    assert scores.shape == (5,) and model.score(images[:5]) == pytest.approx(scores.mean())
    assert (scores > model.score_samples(255 - images[:5])).all()  # what it never saw is less usual


def test_a_gan_samples_and_scores(images: np.ndarray) -> None:
    model = ImageGAN("gan-tutorial", epochs=1, device="cpu", recipe=RECIPE).fit(images)
    samples = model.sample(3, seed=1)
    assert samples.shape == (3, 28, 28, 1) and samples.dtype == np.uint8
    assert model.score_samples(images[:5]).shape == (5,)
    assert model.score(images) < 0


@pytest.mark.parametrize("kind", [ImageVAE, ImageGAN])
def test_the_constructor_stores_and_clone_copies(kind: Any) -> None:
    model = kind("no such network", epochs=-1, recipe={"seed": 1})
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        model.sample(1)


def test_both_are_public() -> None:
    assert layerwise.ImageVAE is ImageVAE and "ImageGAN" in layerwise.__all__
