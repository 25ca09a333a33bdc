"""What every inline drawing shares: colours and font of the page, no ids that clash, nothing that reaches outside."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Colours are drawn as these and replaced in the SVG by what the page's style defines.
TRAIN, VALID, SOFT, FAINT, INK = "#010203", "#020304", "#030405", "#040506", "#050607"
CLASSES = tuple(f"#0607{8 + place:02x}" for place in range(6))
STYLE = {
    TRAIN: "var(--train)",
    VALID: "var(--valid)",
    SOFT: "var(--soft)",
    FAINT: "var(--line)",
    INK: "var(--ink)",
    **{colour: f"var(--c{place})" for place, colour in enumerate(CLASSES)},
}
DASHED = (0, (4, 2))
DOTTED = (0, (1, 2))
WIDTH, HEIGHT = 4.4, 2.7  # inches


@dataclass(frozen=True)
class Plot:
    """A drawing with its title and what it shows in words."""

    title: str
    svg: Markup
    words: str


@contextlib.contextmanager
def canvas(salt: str, height: float = HEIGHT) -> Iterator[tuple[Figure, Axes]]:
    """A figure with axes, to draw on and hand to `to_svg` within the block.

    Args:
        salt: no other drawing of the page has it: the ids inside the SVG follow from it.
        height: inches, of 4.4 across.
    """
    with (
        matplotlib.rc_context(
            {"svg.fonttype": "none", "svg.hashsalt": salt, "text.parse_math": False, "font.size": 8.5}
        ),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the browser has more letters
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def frame(axes: Axes, across: str) -> None:
    """Quiet axes: lines across at the ticks, and a name below."""
    axes.set_xlabel(across, color=SOFT)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.tick_params(colors=SOFT, length=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)


def to_svg(figure: Figure) -> Markup:
    """The drawing without what would reach out of it: ids, addresses, style rules, a fixed size."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<g id=\"patch_1\">.*?</g>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"', "", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text)
    text = re.sub(r"<g id=\"[^\"]*\"", "<g", text)
    for colour, variable in STYLE.items():
        text = text.replace(colour, variable)
    return Markup(text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1))
