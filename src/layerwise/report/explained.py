"""Pictures of what spoke for an answer: heat over an image, shaded words, a strip over a trace.

Heat has perceptually uniform colours whose lightness rises with it, so that it reads in grey as well. What speaks
against an answer differs from what speaks for it in shape, not in colour alone.
"""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from layerwise.report.words import cut, figure, visible

FOR, AGAINST = "#8073ac", "#e08214"  # the two ends of ColorBrewer's PuOr, equally light
INK, SOFT, FAINT = "#1a1a1a", "#555555", "#d9d9d9"
CHANNELS = 12  # of a sequence, at most

_SIDE, _GAP, _SCALE = 224, 8, 10  # pixels: the shorter side of a small image, between two pictures, the scale's height
_FAINT = 0.35  # share of the image in the heat over it
_ACROSS, _LETTER, _LINE, _MARGIN = 84, 8.4, 26.0, 16.0  # letters in a line; width, height and margin in pixels
_MOST_WORDS = 600  # that are drawn
_STRIPS = 240  # pieces of a strip; a longer sequence is drawn by the sums of its pieces
_WIDTH, _ROW = 7.2, 1.5  # inches


def heat_png(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> bytes:
    """An image, and beside it the same in grey under its heat, with a frame where that is greatest and a scale below.

    Args:
        pixels: (H, W, C) uint8, C 1 or 3.
        heat: (H, W), 0 to 1.

    Returns:
        A PNG. Images below 224 pixels are enlarged by whole numbers.

    Example:
        >>> heat_png(np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=np.float32))[:4]
        b'\\x89PNG'
    """
    height, width = heat.shape
    colours = matplotlib.colormaps["viridis"]
    image = np.broadcast_to(pixels, (height, width, 3))
    grey = image @ np.array([0.299, 0.587, 0.114])  # (H, W): brightness as the eye sees it (ITU-R BT.601)
    hot = _FAINT * grey[..., None] + (1 - _FAINT) * 255 * colours(heat)[..., :3]
    times = max(1, -(-_SIDE // min(height, width)))
    pictures = [each.repeat(times, 0).repeat(times, 1) for each in (image, hot.round().astype(np.uint8))]
    if heat.max() > 0:
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        _frame(pictures[1], times * int(row) + times // 2, times * int(column) + times // 2)
    scale = 255 * colours(np.linspace(0, 1, width * times))[None, :, :3]  # (1, W, 3)
    below = np.full((_GAP + _SCALE, width * times, 3), 255, np.uint8)
    right = np.concatenate([pictures[1], below])
    right[-_SCALE:] = scale.round()
    left = np.concatenate([pictures[0], below])
    between = np.full((len(left), _GAP, 3), 255, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate([left, between, right], axis=1)).save(buffer, "PNG")
    return buffer.getvalue()


def _frame(picture: NDArray[np.uint8], row: int, column: int) -> None:
    """A white square on a black one around a pixel, seen on any ground; drawn into the picture."""
    for half, value in ((7, 0), (6, 255), (5, 255), (4, 0)):
        top, left = max(0, row - half), max(0, column - half)
        bottom, right = min(picture.shape[0] - 1, row + half), min(picture.shape[1] - 1, column + half)
        picture[[top, bottom], left : right + 1] = value
        picture[top : bottom + 1, [left, right]] = value


def words_svg(text: str, weights: Sequence[tuple[int, int, float]], title: str, *, unread: int = 0) -> bytes:
    """A text whose words are shaded by weight; under those that speak against the answer there is a broken line.

    Args:
        text: any.
        weights: first character, the one behind the last, and weight of each word, in order.
        title: a line above.
        unread: words behind these that the network did not read.

    Returns:
        An SVG on white, with every weight as a word's title. Of long texts the first 600 words are drawn.

    Example:
        >>> words_svg("not good", [(0, 3, -1.0), (4, 8, 0.5)], "bad 0.9").decode().count("<rect")
        3
    """
    most = max((abs(weight) for *_, weight in weights), default=0.0) or 1.0
    shown = [_printed(title, 90, _MARGIN, 24.0, "600 15px sans-serif")]
    line, column, behind = 0, 0, 0
    for first, last, weight in weights[:_MOST_WORDS]:
        between, behind = text[behind:first], last
        word = cut(visible(text[first:last]), _ACROSS)
        size = _columns(word)
        column += any(letter.isspace() for letter in between) and column > 0
        if column + size > _ACROSS or "\n" in between:
            line, column = line + 1, 0
        shown.append(_word(word, size, (line, column), weight, weight / most))
        column += size
    left_out = max(0, len(weights) - _MOST_WORDS)
    notes = ["shaded: speaks for it; shaded with a broken line: against it; the darker, the more"]
    notes += [f"{left_out:,} more words are not drawn"] if left_out else []
    notes += [f"{unread:,} words behind them were not read by the network"] if unread else []
    foot = 48.0 + _LINE * (line + 1)
    shown += [
        _printed(note, 120, _MARGIN, foot + 18 * (place + 1), "12px sans-serif", SOFT)
        for place, note in enumerate(notes)
    ]
    width, height = 2 * _MARGIN + _LETTER * _ACROSS, foot + 18 * len(notes) + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img"><title>{_safe(title)}</title><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(shown)}</svg>\n"
    ).encode()


def _word(word: str, size: int, place: tuple[int, int], weight: float, share: float) -> str:
    """A word on its ground; `share` of the greatest weight, -1 to 1."""
    line, column = place
    x, y, width = _MARGIN + _LETTER * column, 40.0 + _LINE * line, _LETTER * size
    colour = AGAINST if share < 0 else FOR
    under = (
        f'<path d="M{x:.1f} {y + 22:.1f}h{width:.1f}" stroke="{INK}" stroke-width="1.5" stroke-dasharray="3 2" '
        f'stroke-opacity="{min(1.0, 4 * abs(share)):.2f}"/>'
        if share < 0
        else ""
    )
    return (
        f"<g><title>{_safe(word)} {weight:+.4g}</title>"
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="20" rx="3" fill="{colour}" '
        f'fill-opacity="{0.85 * abs(share):.3f}"/>{under}'
        f'<text x="{x:.1f}" y="{y + 15:.1f}" textLength="{width:.1f}" lengthAdjust="spacingAndGlyphs" '
        f'style="font:14px ui-monospace,monospace" fill="{INK}">{_safe(word)}</text></g>'
    )


def _printed(text: str, most: int, x: float, y: float, font: str, colour: str = INK) -> str:
    return f'<text x="{x:g}" y="{y:g}" style="font:{font}" fill="{colour}">{_safe(cut(visible(text), most))}</text>'


def _safe(text: str) -> str:
    """Text for XML, which has no sign for some code points."""
    return str(escape("".join("\ufffd" if character in "\ufffe\uffff" else character for character in text)))


def _columns(word: str) -> int:
    """Places of a word in a font whose letters are equally wide; Chinese, Japanese and Korean ones take two."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in word)
    marks = sum(unicodedata.combining(character) > 0 for character in word)
    return max(1, len(word) + wide - marks)


def trace_svg(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    title: str,
    *,
    every: int = 1,
    ahead: NDArray[np.float64] | None = None,
) -> bytes:
    """Lines of a sequence over strips coloured by weight; the same weights below as bars, up for and down against.

    Args:
        values: (T, C) as the user knows them; NaN leaves a gap.
        weights: (T, C).
        title: a line above.
        every: steps of the user's that each one stands for.
        ahead: (H,) of one channel: what is forecast behind it.

    Returns:
        An SVG on white; of more than 12 channels those that weigh most are drawn.

    Example:
        >>> trace_svg(np.zeros((5, 1)), np.ones((5, 1)), "slow 0.9").decode().count("<svg")
        1
    """
    channels = np.sort(np.argsort(-np.abs(weights).sum(0), kind="stable")[:CHANNELS])
    with (
        matplotlib.rc_context(
            {"svg.fonttype": "none", "svg.hashsalt": "explain", "text.parse_math": False, "font.size": 8.5}
        ),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the viewer has more letters
        drawing = Figure(figsize=(_WIDTH, 0.7 + _ROW * len(channels)), layout="constrained", facecolor="white")
        rows = drawing.subplots(2 * len(channels), 1, sharex=True, height_ratios=[3, 1] * len(channels), squeeze=False)
        pieces = _pieces(weights)  # (P, C)
        most = float(np.abs(pieces).max()) or 1.0
        for place, channel in enumerate(channels.tolist()):
            upper, lower = rows[2 * place, 0], rows[2 * place + 1, 0]
            _strip(upper, values[:, channel], pieces[:, channel], every, most)
            _bars(lower, pieces[:, channel], every * len(values), most)
            if weights.shape[1] > 1:
                upper.set_ylabel(f"channel {channel + 1}", color=SOFT)
        if ahead is not None:
            across = len(values) + 0.5 + np.arange(len(ahead))
            rows[0, 0].plot(across, ahead, color=INK, linewidth=1.4, linestyle=(0, (4, 2)), marker="o", markersize=2)
            rows[0, 0].axvline(len(values), color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)))
            rows[0, 0].set_xlim(0, len(values) + len(ahead))
        some = f" ({len(channels)} of {weights.shape[1]} channels)" if len(channels) < weights.shape[1] else ""
        head = cut(visible(title), 90) + some
        drawing.suptitle(head, x=0.01, ha="left", fontsize=10, color=INK)
        meaning = "up for it, down against it" if ahead is None else "up raises the forecast, down lowers it"
        rows[-1, 0].set_xlabel(f"step; bars: weight, {meaning}", color=SOFT)
        buffer = io.BytesIO()
        drawing.savefig(buffer, format="svg", metadata={"Date": None, "Title": _words(head, values, weights)})
    return buffer.getvalue()


def _strip(axes: Axes, values: NDArray[np.float64], pieces: NDArray[np.float64], every: int, most: float) -> None:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.5 * max(1.0, abs(high))
    axes.imshow(
        pieces[None], cmap="PuOr", vmin=-1.6 * most, vmax=1.6 * most, aspect="auto", interpolation="nearest",
        alpha=0.75,
        extent=(0, every * len(values), low - room, high + room),
    )  # fmt: skip
    steps = every * (np.arange(len(values)) + 0.5)
    axes.plot(steps, values, color=INK, linewidth=1.2, marker="o" if len(values) <= 40 else "", markersize=2.5)
    axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    _quiet(axes)


def _bars(axes: Axes, pieces: NDArray[np.float64], steps: int, most: float) -> None:
    edges = np.linspace(0, steps, len(pieces) + 1)
    axes.stairs(np.maximum(pieces, 0), edges, fill=True, color=FOR)
    axes.stairs(np.minimum(pieces, 0), edges, fill=True, color=AGAINST)
    axes.axhline(0, color=SOFT, linewidth=0.6)
    axes.set_ylim(-1.08 * most, 1.08 * most)
    axes.set_xlim(0, steps)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True))
    _quiet(axes)


def _pieces(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, C) -> at most 240 sums of neighbours, (P, C)."""
    if len(weights) <= _STRIPS:
        return weights
    return np.stack([piece.sum(0) for piece in np.array_split(weights, _STRIPS)])


def _quiet(axes: Axes) -> None:
    axes.tick_params(colors=SOFT, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_color(FAINT)


def _words(title: str, values: NDArray[np.float64], weights: NDArray[np.float64]) -> str:
    return f"{title}. {len(values):,} steps; weights from {figure(weights.min())} to {figure(weights.max())}."
