"""Accuracy against time for a set of networks, as one SVG file."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from layerwise.store.atomic import write_bytes

INK, SOFT, FAINT = "#1a1a1a", "#555555", "#d9d9d9"
WIDTH, HEIGHT = 7.2, 4.8  # inches
_STEPS = ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(0.1 * step for step in range(10, 100)))  # ticks of a decade
_PARTS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of a line between two points, where names are kept off
# Where a name may stand beside its point: offset in points, and which side of the text is there. Best places first.
_Side = Literal["left", "center", "right"]
_Level = Literal["bottom", "top"]
_Place = tuple[tuple[int, int], _Side, _Level]
_SIDES: tuple[tuple[int, _Side], ...] = ((7, "left"), (-7, "right"), (0, "center"))
_LEVELS: tuple[tuple[int, _Level], ...] = ((1, "bottom"), (-1, "top"))
_PLACES: tuple[_Place, ...] = tuple(
    ((across, up * height), side, level)
    for height in (4, 14, 26, 38)
    for across, side in _SIDES
    for up, level in _LEVELS
)


@dataclass(frozen=True)
class Point:
    """One network: accuracy 0 to 1 with the bounds of its interval, and milliseconds an image."""

    name: str
    accuracy: float
    low: float
    high: float
    milliseconds: float


def write_pareto(path: Path, points: Sequence[Point], front: Sequence[str]) -> None:
    """Draw accuracy with its interval against time; networks on the front are filled, joined and named in bold.

    What is on the front is told by shape, fill and weight, so that it reads without colour.

    Args:
        path: of the SVG file, written whole or not at all.
        points: one or more.
        front: names on the Pareto front, the fastest first.

    Raises:
        StoreError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "screen.svg"
        >>> write_pareto(place, [Point("a", 0.9, 0.85, 0.94, 12.0)], ["a"])
        >>> place.read_text(encoding="utf-8").count("<svg")
        1
    """
    with (
        matplotlib.rc_context(
            {"svg.fonttype": "none", "svg.hashsalt": "screen", "text.parse_math": False, "font.size": 9.5}
        ),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the viewer has more letters
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained", facecolor="white")
        axes = figure.subplots()
        _frame(axes, points)
        _draw(axes, points, front)
        _name(figure, axes, points, front)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": _words(points, front)})
    write_bytes(path, buffer.getvalue())


def _frame(axes: Axes, points: Sequence[Point]) -> None:
    times = [point.milliseconds for point in points]
    first, last = min(times) / 1.5, max(times) * 1.7  # room for names
    axes.set_xscale("log")
    axes.set_xlim(first, last)
    for steps in _STEPS:
        ticks = [step * 10.0**power for power in range(-4, 7) for step in steps if first <= step * 10.0**power <= last]
        if len(ticks) > 2:
            break
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.set_xlabel("milliseconds an image, frozen forward pass (logarithmic)", color=SOFT)
    axes.set_ylabel("accuracy in cross-validation, 95 % interval", color=SOFT)
    axes.set_title(
        "filled, joined: no other network is both more accurate and faster", loc="left", color=SOFT, fontsize=8.5
    )
    axes.tick_params(colors=SOFT, length=0)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)


def _draw(axes: Axes, points: Sequence[Point], front: Sequence[str]) -> None:
    by_name = {point.name: point for point in points}
    on = [by_name[name] for name in front]
    axes.plot(
        [point.milliseconds for point in on], [point.accuracy for point in on], color=INK, linewidth=1.2, zorder=2
    )
    for point in points:
        is_on = point.name in front
        colour = INK if is_on else SOFT
        axes.plot([point.milliseconds] * 2, [point.low, point.high], color=colour, linewidth=0.9, zorder=3)
        axes.plot(
            point.milliseconds, point.accuracy, "o" if is_on else "s", markersize=7 if is_on else 5.5,
            markerfacecolor=INK if is_on else "white", markeredgecolor=colour, zorder=4,
        )  # fmt: skip


def _name(figure: Figure, axes: Axes, points: Sequence[Point], front: Sequence[str]) -> None:
    """Write each name where it covers least of what is there; the front comes first."""
    figure.draw_without_rendering()  # settles the layout, so that places can be compared
    figure.set_layout_engine("none")
    lines = [_box(axes, point) for point in points] + _joins(axes, points, front)
    marks = [Bbox([[box.x0, y - 5], [box.x1, y + 5]]) for box, y in zip(lines, _levels(axes, points), strict=False)]
    edge = axes.get_window_extent()
    for point in sorted(points, key=lambda each: (each.name not in front, each.milliseconds)):
        is_on = point.name in front
        note = axes.annotate(
            point.name,
            (point.milliseconds, point.accuracy),
            xytext=(0, 0),
            textcoords="offset points",
            annotation_clip=False,
            color=INK if is_on else SOFT,
            fontweight="bold" if is_on else "normal",
            fontsize=8.5,
            zorder=3.5,
        )
        best = min(_PLACES, key=lambda place: _covered(_put(note, place), lines, marks, edge))
        marks.append(_put(note, best))


def _put(note: Annotation, place: _Place) -> Bbox:
    """Move a name; where it then stands, in pixels."""
    offset, across, up = place
    note.set_position(offset)
    note.set_horizontalalignment(across)
    note.set_verticalalignment(up)
    return note.get_window_extent()


def _covered(box: Bbox, lines: Sequence[Bbox], marks: Sequence[Bbox], edge: Bbox) -> float:
    """How much of what is there a name would cover: a line reads through it, a mark or another name does not."""
    inside = _shared(box, edge)
    hidden = sum(_shared(box, mark) for mark in marks) + box.width * box.height - inside
    return 8 * hidden + sum(_shared(box, line) for line in lines)


def _shared(one: Bbox, other: Bbox) -> float:
    found = Bbox.intersection(one, other)
    return float(found.width * found.height) if found else 0.0


def _levels(axes: Axes, points: Sequence[Point]) -> list[float]:
    """Heights of the marks, in pixels."""
    return [float(axes.transData.transform((point.milliseconds, point.accuracy))[1]) for point in points]


def _box(axes: Axes, point: Point) -> Bbox:
    """A point with its interval, in pixels."""
    across, low = axes.transData.transform((point.milliseconds, point.low))
    _, high = axes.transData.transform((point.milliseconds, point.high))
    return Bbox([[across - 5, low], [across + 5, high]])


def _joins(axes: Axes, points: Sequence[Point], front: Sequence[str]) -> list[Bbox]:
    """Boxes along the line that joins the front, in pixels."""
    by_name = {point.name: (point.milliseconds, point.accuracy) for point in points}
    corners = axes.transData.transform([by_name[name] for name in front])  # (n, 2)
    steps = [(1 - part) * start + part * end for start, end in itertools.pairwise(corners) for part in _PARTS]
    return [Bbox([[x - 3, y - 3], [x + 3, y + 3]]) for x, y in steps]


def _words(points: Sequence[Point], front: Sequence[str]) -> str:
    named = "; ".join(
        f"{point.name} {point.accuracy:.3f} ({point.low:.3f} to {point.high:.3f}) at {point.milliseconds:.1f} ms"
        for point in sorted(points, key=lambda each: -each.accuracy)
    )
    return f"Accuracy against time an image. {named}. On the front: {', '.join(front)}."
