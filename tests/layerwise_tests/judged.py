"""Images for tests of what judges samples, and what makes them worse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerwise.config import build
from layerwise.console import Silent
from layerwise.data.split import SplitRecipe
from layerwise.device import pick
from layerwise.tasks import generator_data
from layerwise.tasks.feature_network import FeatureNetwork, JudgeRecipe, feature_network
from layerwise.tasks.generator_data import GeneratorData, GeneratorDataRecipe
from layerwise_tests.shapes import KINDS, shapes

Pixels = NDArray[np.uint8]
CPU = pick("cpu", "float32")
SMALL: dict[str, Any] = {"network": "small", "steps": 60}


def data(
    count: int = 600, *, labels: bool = True, one_class: bool = False, side: int = 16, **shape: int
) -> GeneratorData:
    """Shapes, read and split."""
    images, names = shapes(count, side=side, **shape)
    names = [KINDS[0]] * count if one_class else names
    given = (images, names) if labels else images
    return generator_data.read(given, GeneratorDataRecipe(), SplitRecipe(), seed=0, conditional=False, show=Silent())


def network(found: GeneratorData, **values: Any) -> FeatureNetwork:
    """The small network, trained for a moment; or what the values say."""
    return feature_network(found, build(JudgeRecipe, {**SMALL, **values}), CPU, Silent())


def noisy(images: Pixels, deviation: float) -> Pixels:
    """With noise on each pixel."""
    noise = np.random.default_rng(1).normal(0, deviation, images.shape)
    return (images + noise).clip(0, 255).astype(np.uint8)


def smeared(images: Pixels, times: int) -> Pixels:
    """Blurred, a little each time."""
    values = images.astype(np.float64)
    for _ in range(times):
        for axis in (1, 2):
            values = (2 * values + np.roll(values, 1, axis) + np.roll(values, -1, axis)) / 4
    return values.astype(np.uint8)


def partly_wrong(images: Pixels, share: float) -> Pixels:
    """The first of them light for dark."""
    wrong = images.copy()
    wrong[: round(share * len(wrong))] = 255 - wrong[: round(share * len(wrong))]
    return wrong
