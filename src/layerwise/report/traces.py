"""A sequence as a small drawing: one line a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from layerwise.report.words import figure

WIDTH, HEIGHT, EDGE = 240.0, 120.0, 6.0  # of the drawing, in its own units
CHANNELS = 12  # at most
COLOURS = 6  # that the page's style has
FEW = 240  # steps: longer sequences are drawn by the lowest and the highest value of each piece


@dataclass(frozen=True)
class Trace:
    """A drawing, and in words what it shows."""

    svg: Markup
    words: str


def trace(values: NDArray[Any], *, steps: int = FEW, channels: int = CHANNELS) -> Trace:
    """The drawing of a sequence; several channels are drawn each over its own range, as their units may differ.

    Args:
        values: `(T, C)` numbers; where one is missing (nan), the line has a gap.
        steps: above which a line is drawn by the lowest and the highest value of each piece.
        channels: that are drawn.

    Example:
        >>> trace(np.array([[0.0], [1.0], [0.5]])).words
        '3 steps from 0.000 to 1.000'
    """
    shown = np.where(np.isfinite(values), values, np.nan).astype(np.float64)[:, :channels]  # (T, C)
    lines = [
        f'<path class="c{channel % COLOURS}" d="{line}"/>'
        for channel in range(shown.shape[1])
        if (line := _line(shown[:, channel], steps))
    ]
    svg = (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" aria-hidden="true" focusable="false" class="trace">'
        f"{''.join(reversed(lines))}</svg>"
    )
    return Trace(Markup(svg), _words(values, shown))


def _words(values: NDArray[Any], shown: NDArray[np.float64]) -> str:
    (steps, channels), drawn = values.shape, shown.shape[1]
    long = f"{steps:,} step{'' if steps == 1 else 's'}"
    if channels != 1:
        return f"{long}, {channels} channels" + (f", the first {drawn} drawn" if channels > drawn else "")
    known = shown[np.isfinite(shown)]
    return f"{long} from {figure(known.min())} to {figure(known.max())}" if len(known) else f"{long}, none has a value"


def _line(values: NDArray[np.float64], steps: int) -> str:
    """The path of one channel over its own range; empty where there is no value."""
    known = values[np.isfinite(values)]
    if not len(known):
        return ""
    places, heights = _thin(values, steps)
    low, high = known.min(), known.max()
    across = EDGE + (WIDTH - 2 * EDGE) * (places / (len(values) - 1) if len(values) > 1 else np.full(len(places), 0.5))
    share = (heights - low) / (high - low) if high > low else np.full(len(heights), 0.5)
    down = HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * share
    found, pen = [], "M"
    for x, y in zip(across, down, strict=True):
        if np.isfinite(y):
            found.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(f"{part}h0" if _alone(found, place) else part for place, part in enumerate(found))


def _alone(parts: list[str], place: int) -> bool:
    """A point with no line to or from it, which would not be seen without its dot."""
    return parts[place].startswith("M") and (place + 1 == len(parts) or parts[place + 1].startswith("M"))


def _thin(values: NDArray[np.float64], steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values to draw: of a long sequence the lowest and the highest of each piece, so that peaks stay."""
    if len(values) <= steps:
        return np.arange(len(values), dtype=np.float64), values
    places: list[int] = []
    for piece in np.array_split(np.arange(len(values)), steps // 2):
        known = piece[np.isfinite(values[piece])]
        ends = {int(known[values[known].argmin()]), int(known[values[known].argmax()])} if len(known) else {piece[0]}
        places += sorted(ends)
    return np.array(places, dtype=np.float64), values[places]
