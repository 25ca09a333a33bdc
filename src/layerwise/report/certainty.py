"""What the page says of how sure a classifier is, and of two classes' curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MultipleLocator

from layerwise.report.drawing import DOTTED, SOFT, VALID, Plot, canvas, frame, to_svg
from layerwise.report.read import Bin, Metrics, TwoClasses
from layerwise.report.words import number, percent

_SQUARE = 3.6  # inches


def certainty(metrics: Metrics | None) -> dict[str, Any] | None:
    """Content of the section, or none for a run without such figures."""
    if metrics is None or metrics.calibration is None or not metrics.calibration.curve:
        return None
    return {
        "calibration": metrics.calibration,
        "plot": reliability_plot(metrics.calibration.curve),
        "binary": metrics.binary,
        "number": number,
        "percent": percent,
        "curves": curves_of_two(metrics.binary) if metrics.binary else [],
    }


def reliability_plot(curve: Sequence[Bin]) -> Plot:
    """How often answers were right against how sure they were, with intervals; larger dots are of more answers."""
    total = sum(each.n for each in curve)
    with canvas("reliability", _SQUARE) as (figure, axes):
        _shares(axes, "how sure", "how often right")
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle=DOTTED)
        for each in curve:
            axes.plot([each.confidence] * 2, [each.low, each.high], color=VALID, linewidth=1.1)
            size = 3 + 9 * (each.n / total) ** 0.5
            axes.plot(each.confidence, each.right, "o", markersize=size, color=VALID)
        svg = to_svg(figure)
    told = "; ".join(f"sure {each.confidence:.2f}, right {each.right:.2f} of {each.n:,}" for each in curve)
    return Plot("As sure as right", svg, f"{told}.")


def curves_of_two(binary: TwoClasses) -> list[Plot]:
    """The ROC curve, and precision over recall."""
    found = []
    wanted = (
        ("ROC curve", "false alarms, of the other class", "found", binary.roc, binary.auroc),
        ("Precision and recall", "recall: found, of all there are", "precision", binary.pr, binary.average_precision),
    )
    for title, across, up, points, area in wanted:
        with canvas(title, _SQUARE) as (figure, axes):
            _shares(axes, across, up)
            if title.startswith("ROC"):
                axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle=DOTTED)
            axes.plot(*zip(*points, strict=True), color=VALID, linewidth=1.6)
            svg = to_svg(figure)
        middle = points[len(points) // 2]
        words = f"{title}: area {area.value:.3f}; at {middle[0]:.2f} across it stands at {middle[1]:.2f}."
        found.append(Plot(title, svg, words))
    return found


def _shares(axes: Axes, across: str, up: str) -> None:
    """Axes of shares, both from 0 to 100 %."""
    frame(axes, across)
    axes.set_ylabel(up, color=SOFT)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(0.2))
        axis.set_major_formatter(FuncFormatter(lambda value, _: percent(round(value, 6))))
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
