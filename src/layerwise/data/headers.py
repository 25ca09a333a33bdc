"""What the first bytes of an image file say: its size, its colours, its format. No pixel is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from layerwise.data.decode import silent
from layerwise.data.files import open_file, sniff
from layerwise.errors import BadImage

_WORKERS = 4
_PORTION = 256
_HEAD = 512  # bytes that tell the format
_COLOURS = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with alpha",
    "P": "palette",
    "PA": "palette with alpha",
    "RGB": "colour",
    "RGBA": "colour with alpha",
    "CMYK": "CMYK",
    "YCbCr": "colour",
}


@dataclass(frozen=True, slots=True)
class Header:
    """Of one file; width and height in pixels, as stored: before any turn that EXIF asks for."""

    width: int
    height: int
    colours: str
    form: str


def read_header(path: Path | str) -> Header | None:
    """The header of one file; None where it cannot be read.

    Example:
        >>> read_header("no such file") is None
        True
    """
    try:
        with silent(), open_file(path) as file:
            form = sniff(file.read(_HEAD))
            file.seek(0)
            with Image.open(file, formats=(form,)) as image:
                return Header(*image.size, _COLOURS.get(image.mode, "more than 8 bits"), form)
    except BadImage:
        return None
    except Exception:  # a damaged header raises nearly anything in Pillow; decoding has told the reason already
        return None


def read_headers(paths: Sequence[Path | str], advance: Callable[[int], None]) -> list[Header | None]:
    """Headers of many files, in their order; read by a few threads.

    Args:
        paths: of image files.
        advance: called with the number of files just read.

    Example:
        >>> read_headers(["no such file"], lambda done: None)
        [None]
    """
    found: list[Header | None] = []
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="layerwise-headers") as pool:
        for start in range(0, len(paths), _PORTION):
            some = paths[start : start + _PORTION]
            found += pool.map(read_header, some)
            advance(len(some))
    return found
