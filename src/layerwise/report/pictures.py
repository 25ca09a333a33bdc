"""Small pictures as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LONGEST = 192  # pixels of the longer side
TINY = 64  # pixels: up to here an image is kept as it is, without loss


@dataclass(frozen=True)
class Picture:
    """A picture for an `<img>`."""

    source: str  # data URI
    width: int
    height: int
    tiny: bool


def picture(pixels: NDArray[Any], *, longest: int = LONGEST, tiny: int = TINY) -> Picture:
    """A thumbnail: PNG for tiny images, else a JPEG of at most 192 pixels and about 8 KB.

    Args:
        pixels: `(H, W, C)` or `(H, W)` uint8, C 1 or 3.
        longest: pixels of the longer side at most.
        tiny: pixels of the longer side up to which an image is kept as it is.

    Example:
        >>> picture(np.zeros((28, 28, 1), np.uint8)).source[:22]
        'data:image/png;base64,'
    """
    grey = pixels.ndim == 2 or pixels.shape[2] == 1
    image = Image.fromarray(np.ascontiguousarray(pixels.reshape(pixels.shape[:2]) if grey else pixels))
    small = max(image.size) <= tiny
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if small:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=78, optimize=True)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/{'png' if small else 'jpeg'};base64,{text}", image.width, image.height, small)
