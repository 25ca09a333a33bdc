"""Small sets of images that a network can learn, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("disc", "stripes", "square")


def picture(kind: str, number: int, side: int = 32) -> np.ndarray:
    """(side, side, 3) uint8; the kind can be seen, the rest is noise."""
    noise = np.random.Generator(np.random.Philox(key=[KINDS.index(kind), number]))
    image = noise.integers(0, 90, (side, side, 3))
    rows, columns = np.mgrid[:side, :side]
    centre = noise.integers(side // 3, 2 * side // 3, 2)
    radius = noise.integers(side // 6, side // 3)
    mask = {
        "disc": (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2,
        "square": np.maximum(abs(rows - centre[0]), abs(columns - centre[1])) < radius,
        "stripes": (columns + centre[1]) % 8 < 4,
    }[kind]
    image[mask] += noise.integers(60, 160, 3)
    return image.clip(0, 255).astype(np.uint8)


def arrays(count: int = 40, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """(3 * count, side, side, 3) images and their kinds."""
    made = [(picture(kind, number, side), kind) for number in range(count) for kind in KINDS]
    return np.stack([image for image, _ in made]), np.array([kind for _, kind in made])


def folder(path: Path, count: int = 20, side: int = 32) -> Path:
    """A folder per kind with PNG files."""
    for kind in KINDS:
        (path / kind).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(picture(kind, number, side)).save(path / kind / f"{number:03}.png")
    return path
