"""A contact sheet: pictures in rows, two lines of words below each."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from layerwise.report.words import cut, visible

COLUMNS, SIDE, GAP, LINE = 6, 144, 12, 17  # pictures in a row; pixels
INK, SOFT, PAPER = (26, 26, 26), (85, 85, 85), (255, 255, 255)


@dataclass(frozen=True)
class Entry:
    """A picture (H, W, C) uint8, C 1 or 3, and the lines below it."""

    pixels: NDArray[np.uint8]
    first: str
    second: str


def contact_png(entries: Sequence[Entry]) -> bytes:
    """One picture of all entries, at most six in a row, as the bytes of a PNG. Equal entries give equal bytes.

    Small images are enlarged by whole numbers. Letters that the font of Pillow lacks are drawn as boxes.

    Example:
        >>> contact_png([Entry(np.zeros((8, 8, 1), np.uint8), "cat", "said dog 0.91")])[:4]
        b'\\x89PNG'
    """
    assert entries, "a sheet has pictures"
    columns, rows = min(COLUMNS, len(entries)), math.ceil(len(entries) / COLUMNS)
    wide, high = SIDE + GAP, SIDE + 2 * LINE + GAP + 6
    whole = Image.new("RGB", (columns * wide + GAP, rows * high + GAP), PAPER)
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(13)
    for place, entry in enumerate(entries):
        left, top = GAP + (place % COLUMNS) * wide, GAP + (place // COLUMNS) * high
        image = _fitted(entry.pixels)
        whole.paste(image, (left + (SIDE - image.width) // 2, top + (SIDE - image.height) // 2))
        for number, (words, colour) in enumerate(((entry.first, INK), (entry.second, SOFT))):
            draw.text((left, top + SIDE + 3 + number * LINE), _short(words, font), fill=colour, font=font)
    buffer = io.BytesIO()
    whole.quantize(256, method=Image.Quantize.MEDIANCUT).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _fitted(pixels: NDArray[np.uint8]) -> Image.Image:
    """An RGB picture whose longer side is at most `SIDE`."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (height, width, 3))))
    if times := SIDE // max(height, width):
        return image.resize((width * times, height * times), Image.Resampling.NEAREST)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def _short(words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of a line as is as wide as a picture."""
    shown = visible(words)
    while font.getlength(shown) > SIDE and len(shown) > 1:
        shown = cut(shown.removesuffix("…"), len(shown) - 2)
    return shown
