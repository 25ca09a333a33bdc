"""Images side by side in one PNG."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from layerwise.report.grids import BETWEEN, grid_png


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_lies_at_its_place_with_its_own_pixels(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, channels), dtype=np.uint8)
    sheet = pixels(grid_png(images, 3, gap=2))
    assert sheet.shape == (3 * 7 - 2, 3 * 6 - 2) + ((3,) if channels == 3 else ())
    for place, image in enumerate(images):
        row, column = divmod(place, 3)
        found = sheet[row * 7 : row * 7 + 5, column * 6 : column * 6 + 4]
        assert (found.reshape(image.shape) == image).all()
    assert (sheet[5:7] == BETWEEN).all() and (sheet[:, 4:6] == BETWEEN).all() and (sheet[14:, 6:] == BETWEEN).all()


def test_without_a_gap_one_image_is_itself() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    assert (pixels(grid_png(image, 1, gap=0)) == image[0, ..., 0]).all()
    assert (pixels(grid_png(image, 1)) == image[0, ..., 0]).all()


def test_equal_images_give_equal_bytes() -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28, 1), dtype=np.uint8)
    assert grid_png(images, 8) == grid_png(images.copy(), 8)
