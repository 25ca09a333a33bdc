"""Contact sheets: as large as their pictures need, the same bytes for the same entries."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from layerwise.report.contact import COLUMNS, GAP, SIDE, Entry, contact_png


def entries(count: int, side: int = 20) -> list[Entry]:
    random = np.random.default_rng(0)
    return [
        Entry(random.integers(0, 256, (side, side, 3), dtype=np.uint8), "cat", f"said dog 0.{place}")
        for place in range(count)
    ]


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_a_sheet_has_a_row_for_every_six_pictures() -> None:
    one, full, more = (opened(contact_png(entries(count))) for count in (1, COLUMNS, COLUMNS + 1))
    assert one.width == SIDE + 2 * GAP and full.width == more.width == COLUMNS * (SIDE + GAP) + GAP
    assert one.height == full.height < more.height


def test_equal_entries_give_equal_bytes() -> None:
    assert contact_png(entries(3)) == contact_png(entries(3))


def test_a_small_grey_image_is_enlarged_by_whole_pixels() -> None:
    pixels = np.zeros((2, 2, 1), np.uint8)
    sheet = np.asarray(opened(contact_png([Entry(pixels, "", "")])).convert("L"))
    assert (sheet[GAP : GAP + SIDE, GAP : GAP + SIDE] == 0).all() and sheet[GAP - 1].min() == 255


def test_long_and_odd_words_stay_below_their_picture() -> None:
    odd = Entry(np.full((30, 10, 3), 255, np.uint8), "a very long name " * 20, "turned \u202e text 蒲公英")
    sheet = np.asarray(opened(contact_png([odd, odd])).convert("L"))
    assert sheet[:, GAP + SIDE + 2 : GAP + SIDE + GAP - 2].min() > 250
