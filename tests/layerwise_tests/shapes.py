"""Small images of two shapes, which a generator can learn in seconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KINDS = ("bar", "disc")


def shapes(count: int, *, side: int = 28, channels: int = 1, seed: int = 0) -> tuple[NDArray[np.uint8], list[str]]:
    """Bars and discs in turn, of random place, size and brightness: (count, side, side, channels), and their names."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    images = np.zeros((count, side, side, channels), np.uint8)
    for number in range(count):
        centre, size = random.uniform(0.35, 0.65, 2) * side, random.uniform(0.1, 0.25) * side
        if number % 2:
            inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < size**2
        else:
            inside = (abs(rows - centre[0]) < size / 3) & (abs(columns - centre[1]) < 2 * size)
        images[number][inside] = random.integers(160, 256, channels)
    return images, [KINDS[number % 2] for number in range(count)]
