"""The pictures that a generator's run folder holds, as data URIs: small enough that a page of them can be sent."""

from __future__ import annotations

import base64
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from layerwise.report.read import RunFiles, attempt

HEAVIEST = 240_000  # bytes of one picture: sixteen of them, as text, are 5 MB
WIDE = 720  # pixels of the page up to which a small sheet is enlarged, by whole numbers
MOST_TIMES = 4
# Sides and JPEG qualities that are tried, one after another, on a sheet that is too heavy.
SMALLER = ((1_400, 85), (1_400, 70), (1_000, 70), (700, 60), (400, 50))
FRAME = re.compile(r"epoch-(\d{1,9})\.png")


@dataclass(frozen=True)
class Sheet:
    """A picture of many images, for an `<img>`.

    Args:
        source: data URI.
        width, height: pixels of the picture.
        times: how often it is enlarged on the page.
    """

    source: str
    width: int
    height: int
    times: int


def read_sheet(run: RunFiles, name: str) -> Sheet | None:
    """A picture of the run folder; None and a note where it is missing or damaged.

    Args:
        run: the run; notes are added to it.
        name: the file within the folder, a PNG.
    """
    return attempt(run, name, _sheet)


def frames(run: RunFiles) -> dict[int, str]:
    """Files with the samples after so many epochs, by that number, in order."""
    try:
        found = [(FRAME.fullmatch(file.name), file.name) for file in (run.path / "samples").iterdir()]
    except OSError:
        return {}
    return dict(sorted((int(match[1]), f"samples/{name}") for match, name in found if match))


def _sheet(file: Path) -> Sheet:
    content = file.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=["PNG"])
            image.load()
    # A broken chunk is a SyntaxError of Pillow.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError("it is not a PNG that can be shown") from error
    kind, (width, height) = "png", image.size
    if len(content) > HEAVIEST:
        kind, (content, (width, height)) = "jpeg", _lighter(image)
    times = max(1, min(MOST_TIMES, WIDE // width))
    return Sheet(f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}", width, height, times)


def _lighter(image: Image.Image) -> tuple[bytes, tuple[int, int]]:
    plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
    for side, quality in SMALLER:
        small = plain.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= HEAVIEST:
            break
    return buffer.getvalue(), small.size
