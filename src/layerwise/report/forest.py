"""One score of several runs with their intervals, as one SVG file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layerwise.report.pareto import FAINT, INK, SOFT, WIDTH
from layerwise.report.words import visible
from layerwise.store.atomic import write_bytes

_ROW, _EDGE = 0.38, 1.0  # inches
_LONGEST = 40  # letters of a name


def write_forest(path: Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Draw a dot and its interval a run, the best on top and filled.

    Args:
        path: of the SVG file, written whole or not at all.
        rows: `{"name", "value", "low", "high"}`, the best first; low and high may be None.
        title: what the score is, and which side is better.

    Raises:
        StoreError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "compare.svg"
        >>> write_forest(place, [{"name": "a", "value": 0.9, "low": 0.8, "high": 0.95}], "accuracy")
        >>> place.read_text(encoding="utf-8").count("<svg")
        1
    """
    with (
        matplotlib.rc_context(
            {"svg.fonttype": "none", "svg.hashsalt": "compare", "text.parse_math": False, "font.size": 9.5}
        ),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the viewer has more letters
        figure = Figure(figsize=(WIDTH, _EDGE + _ROW * len(rows)), layout="constrained", facecolor="white")
        axes = figure.subplots()
        for place, row in enumerate(rows):
            low, high = (row["value"] if row[end] is None else row[end] for end in ("low", "high"))
            colour = SOFT if place else INK
            axes.plot([low, high], [place, place], color=colour, linewidth=1.4, zorder=2)
            face = "white" if place else INK
            axes.plot(row["value"], place, "o", markersize=7, markerfacecolor=face, markeredgecolor=colour, zorder=3)
        axes.set_yticks(range(len(rows)), [_short(visible(row["name"])) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
        axes.set_title(title, loc="left", color=SOFT, fontsize=8.5)
        axes.tick_params(colors=SOFT, length=0)
        axes.grid(axis="x", color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": _words(rows, title)})
    write_bytes(path, buffer.getvalue())


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _words(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    named = "; ".join(f"{visible(row['name'])} {row['value']:.4g}" for row in rows)
    return f"{title}. {named}."
