"""Images side by side in one PNG: what generators show in the run folder and on the page."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TRAVERSED = 32  # latents that a picture has a row for, at most
BETWEEN = 128  # grey: seen beside images on black and on white


def grid_png(images: NDArray[np.uint8], columns: int, gap: int = 1) -> bytes:
    """One picture of all images, row by row from the top left, as the bytes of a PNG.

    Every pixel stays as it is, grey images stay grey, and equal images give equal bytes. Places that are left over in
    the last row have the colour of the gaps.

    Args:
        images: (n, H, W, C) uint8, C 1 or 3, n at least 1.
        columns: images in a row, at least 1.
        gap: pixels between two images.

    Returns:
        A PNG of `columns * (W + gap) - gap` by `rows * (H + gap) - gap` pixels.

    Example:
        >>> grid_png(np.zeros((6, 8, 8, 1), np.uint8), columns=3)[:4]
        b'\\x89PNG'
    """
    assert images.ndim == 4 and images.dtype == np.uint8 and images.shape[3] in (1, 3), "grid_png wants (n, H, W, C)"
    assert len(images) and columns >= 1 and gap >= 0, "a grid has images and columns"
    count, height, width, channels = images.shape
    rows = math.ceil(count / columns)
    places = np.full((rows * columns, height + gap, width + gap, channels), BETWEEN, np.uint8)
    places[:count, :height, :width] = images
    sheet = places.reshape(rows, columns, height + gap, width + gap, channels)
    sheet = sheet.transpose(0, 2, 1, 3, 4)  # (rows, H, columns, W, C)
    whole = sheet.reshape(rows * (height + gap), columns * (width + gap), channels)
    whole = whole[: whole.shape[0] - gap, : whole.shape[1] - gap]
    buffer = io.BytesIO()
    Image.fromarray(whole[..., 0] if channels == 1 else whole).save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()
