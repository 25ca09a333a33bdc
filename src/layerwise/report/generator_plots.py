"""Drawings of latents and scores of a generator."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from layerwise.report.drawing import CLASSES, DOTTED, SOFT, VALID, Plot, canvas, frame, to_svg
from layerwise.report.read import latents
from layerwise.report.words import figure, percent, visible

POINTS = 2_000  # of a map, at most
NAMED = 12  # classes of a map, at most
OTHERS = "other classes"
BINS = 40
SQUARE = 3.9  # inches
# A shape and its path around (0, 0), for the legend. Ten classes differ in both shape and colour from their neighbours.
SHAPES = {
    "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "s": "M-3.6 -3.6h7.2v7.2h-7.2z",
    "^": "M0 -4.4l4.4 8h-8.8z",
    "D": "M0 -4.8l4.8 4.8l-4.8 4.8l-4.8 -4.8z",
    "X": "M-4 -2l2 -2l2 2l2 -2l2 2l-2 2l2 2l-2 2l-2 -2l-2 2l-2 -2l2 -2z",
    "v": "M0 4.4l4.4 -8h-8.8z",
    "P": "M-1.5 -4.4h3v2.9h2.9v3h-2.9v2.9h-3v-2.9h-2.9v-3h2.9z",
}


@dataclass(frozen=True)
class Kind:
    """What a class looks like on a map; the name is empty where there are no labels."""

    name: str
    symbol: Markup
    count: int


@dataclass(frozen=True)
class LatentMap:
    """The images of a part as points.

    Args:
        plot: the drawing.
        kinds: its legend; empty where there are no labels.
        drawn, total: images.
        latents: how many numbers an image has.
        share: of their variance that two directions show, 0 to 1; None where there are but two.
    """

    plot: Plot
    kinds: list[Kind]
    drawn: int
    total: int
    latents: int
    share: float | None


def latent_map(scored: pl.DataFrame) -> LatentMap | None:
    """Each image at its latent numbers, or their first two principal components; None where there are not two.

    Args:
        scored: `predictions.csv` with columns z0, z1, ... and label.
    """
    names = latents(scored)
    known = scored.filter(pl.all_horizontal(pl.col(name).is_finite() for name in names)) if names else scored
    if len(names) < 2 or known.height < 2:
        return None
    places, share = _plane(known.select(names).to_numpy())
    rows = np.unique(np.linspace(0, known.height - 1, min(POINTS, known.height)).round().astype(int))
    labels = _grouped(known["label"].to_list())
    groups = sorted({label for label in labels if label != OTHERS}) + [OTHERS] * (OTHERS in labels)
    shown, drawn = np.array(labels, dtype=object)[rows], places[rows]
    with canvas("latent map", SQUARE) as (drawing, axes):
        _frame(axes, names if share is None else ["first principal component", "second principal component"])
        for number, group in enumerate(groups):
            x, y = drawn[shown == group].T
            colour, shape = _look(number, group)
            axes.plot(x, y, linestyle="", marker=shape, markersize=3.4, color=colour, markeredgewidth=0, alpha=0.8)
        svg = to_svg(drawing)
    counts = Counter(labels)
    kinds = [Kind(group, _symbol(number, group), counts[group]) for number, group in enumerate(groups) if group]
    plot = Plot("Map of the latents", svg, _map_words(len(rows), kinds))
    return LatentMap(plot, kinds, len(rows), known.height, len(names), share)


def score_plot(scored: pl.DataFrame, is_vae: bool) -> Plot | None:
    """How many images have which score; None where none has one.

    Args:
        scored: `predictions.csv` with the column score.
        is_vae: the score is the negative ELBO, else the discriminator's logit.
    """
    values = scored["score"].drop_nulls().to_numpy()
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    middle, high = np.quantile(values, [0.5, 0.95])
    with canvas("scores") as (drawing, axes):
        frame(axes, "score, nats" if is_vae else "score, the discriminator's logit")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7))
        axes.hist(values, bins=BINS, color=VALID, alpha=0.75, rwidth=0.9)
        axes.set_ylabel("images", color=SOFT)
        if is_vae:
            axes.axvline(high, color=SOFT, linewidth=0.9, linestyle=DOTTED)
        svg = to_svg(drawing)
    words = (
        f"Scores of {len(values):,} images from {figure(values.min())} to {figure(values.max())}: half are below "
        f"{figure(middle)}, 95 % below {figure(high)}."
    )
    return Plot("Scores", svg, words)


def _plane(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], float | None]:
    """Places (n, 2), and the share of the variance that they show; None where the latents are two."""
    if values.shape[1] == 2:
        return values, None
    centred = values - values.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    # A direction and its opposite are as good: the largest part points up, so that equal files give equal pages.
    signs = np.sign(directions[np.arange(2), np.abs(directions[:2]).argmax(axis=1)])
    total = float((sizes**2).sum())
    return centred @ (directions[:2] * signs[:, None]).T, float((sizes[:2] ** 2).sum() / total) if total else 0.0


def _grouped(labels: list[str | None]) -> list[str]:
    """A name a row: the class, or that of the rest where there are many; empty where no row has a label."""
    counts = Counter(label for label in labels if label is not None)
    if not counts:
        return [""] * len(labels)
    most = sorted(counts, key=lambda label: (-counts[label], label))
    named = set(most if len(most) <= NAMED else most[: NAMED - 1])
    return [label if label in named else "no label" if label is None else OTHERS for label in labels]


def _look(number: int, group: str) -> tuple[str, str]:
    """Colour and shape of a class."""
    if group == OTHERS:
        return SOFT, "o"
    return CLASSES[number % len(CLASSES)], list(SHAPES)[number % len(SHAPES)]


def _symbol(number: int, group: str) -> Markup:
    colour, shape = _look(number, group)
    fill = "var(--soft)" if colour == SOFT else f"var(--c{CLASSES.index(colour)})"
    path = SHAPES[shape]
    return Markup(
        '<svg class="symbol" viewBox="-6 -6 12 12" aria-hidden="true" focusable="false">'
        f'<path d="{path}" style="fill:{fill}"/></svg>'
    )


def _frame(axes: Axes, names: list[str]) -> None:
    frame(axes, names[0])
    axes.set_ylabel(names[1], color=SOFT)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))


def _map_words(points: int, kinds: list[Kind]) -> str:
    shares = sum(kind.count for kind in kinds)
    told = ", ".join(f"{visible(kind.name)} {percent(kind.count / shares)}" for kind in kinds)
    return f"{points:,} images as points in a plane" + (f", by class: {told}." if told else ".")
