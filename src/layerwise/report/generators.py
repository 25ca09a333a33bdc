"""What the page says of a network that makes images: how near its samples come to real ones, how they look."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from layerwise.report.generator_plots import latent_map, score_plot
from layerwise.report.grids import TRAVERSED
from layerwise.report.headline import bars
from layerwise.report.plots import best_index, stages
from layerwise.report.read import Baseline, Figure, Memorised, Metrics, RunFiles, latents
from layerwise.report.sheets import Sheet, frames, read_sheet
from layerwise.report.words import begin, fine, writer

# What a score is called, and how to read it.
OF_SAMPLES = {
    "distance": (
        "Distance",
        "Fréchet distance between the features of samples and of real images; 0 where they are alike, lower is better",
    ),
    "kid": ("KID", "kernel distance (MMD²) between the same features, 0 on average where alike; lower is better"),
    "density": ("Density", "how many real neighbourhoods a sample lies in, about 1 for real images; low: not lifelike"),
    "coverage": ("Coverage", "share of real images that have a sample near by; low where samples lack variety"),
}
OF_IMAGES = {
    "negative_elbo": ("Negative ELBO", "nats: reconstruction and KL together; lower is better"),
    "reconstruction": ("Reconstruction", "nats that the pixels cost once the latents are known; lower is better"),
    "kl": ("KL", "nats that the latents hold"),
    "nll": ("−log likelihood", "nats: by importance sampling, a closer bound than the negative ELBO; lower is better"),
    "active_units": ("Active units", "latents that change from image to image"),
    "auroc": ("AUROC", "how well the score tells outliers from images, 0.5 is chance; higher is better"),
}
CURVES = (
    ("negative_elbo", "Negative ELBO, nats an image"),
    ("reconstruction", "Reconstruction, nats an image"),
    ("kl", "KL, nats an image"),
    ("generator_loss", "Generator's loss"),
    ("discriminator_loss", "Discriminator's loss"),
    ("distance", "Fréchet distance"),
    ("coverage", "Coverage"),
)
# Pictures of a run folder, and whether every generator has them; a plane is of two latents only.
SHEETS = {
    "samples": True,
    "nearest": True,
    "reconstructions": False,
    "traversal": False,
    "interpolation": False,
    "plane": False,
    "outliers": False,
}
FRAMES = 8  # epochs whose samples are shown
LONG = 3.0  # times as wide as high: from here on, sheets stand one below another
UNUSUAL = 32  # images that are named
SHARED = 30  # classes that are shown without being asked for
USUAL = 0.05  # of new images that may be taken for memorised ones
CLAIM = re.compile(r"(?:^|(?<=\. ))((?:Better|Not better|Worse) than [^:]+)(?=: )")
Row = dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """Samples after an epoch."""

    epoch: int
    stage: str
    kept: bool
    sheet: Sheet


def generator_content(run: RunFiles) -> Row:
    """Everything that the page shows of a generator and of nothing else; notes are added to the run."""
    metrics, table = run.metrics, run.predictions
    found = metrics.generation if metrics else None
    is_vae = run.task == "vae"
    shown = _frames(run)
    scored = table if table is not None and "score" in table.columns else None
    return {
        "vae": is_vae,
        "fine": fine,
        "answers": _answers(metrics) if metrics else None,
        "nats": _nats(metrics) if metrics else None,
        "frames": shown,
        "long": bool(shown) and shown[0].sheet.width >= LONG * shown[0].sheet.height,
        "sheets": _sheets(run, is_vae),
        "latents": len(latents(scored)) if scored is not None else 0,
        "traversed": TRAVERSED,
        "map": latent_map(scored) if scored is not None else None,
        "scores": score_plot(scored, is_vae) if scored is not None else None,
        "unusual": _unusual(scored) if scored is not None and is_vae else [],
        "memory": _memory(found.memorised) if found and found.memorised else None,
        "shares": _shares(metrics) if metrics else [],
        "shared": SHARED,
        "alarms": found.alarms if found else None,
        "features": found.features if found else "",
        "digest": found.digest[:12] if found else "",
        "samples": found.samples if found else None,
    }


def generator_verdict(verdict: str) -> dict[str, str]:
    """What several sentences claim, the figures, and whether all claims are good.

    Example:
        >>> told = generator_verdict("Better than a: 1 against 2. Not better than b: 3 against 2. Real: 1.")
        >>> told["claim"], told["kind"]
        ('Better than a, not better than b', 'poor')
    """
    claims = CLAIM.findall(verdict)
    if len(claims) > 1:
        claim = ", ".join([claims[0], *[other[:1].lower() + other[1:] for other in claims[1:]]])
        figures = verdict
    else:
        claim, _, figures = verdict.partition(": ")
    good = bool(claims) and all(each.startswith("Better") for each in claims)
    return {"claim": claim, "figures": begin(figures), "kind": "good" if good else "poor"}


def _sheets(run: RunFiles, is_vae: bool) -> dict[str, Sheet | None]:
    """The pictures by name, None for what is not there; what a finished run should have and lacks becomes a note."""
    found: dict[str, Sheet | None] = {}
    for name, always in SHEETS.items():
        file = f"pictures/{name}.png"
        due = run.metrics is not None and (always or (is_vae and name != "plane"))
        found[name] = read_sheet(run, file) if due or (run.path / file).exists() else None
    return found


def _frames(run: RunFiles) -> list[Frame]:
    """Samples of up to 8 epochs, evenly chosen, of the network that was kept; of all where none was yet."""
    files, best, parts = frames(run), best_index(run.epochs), stages(run.epochs)
    names = {epoch: name for name, first, last in parts for epoch in range(first + 1, last + 2)}
    kept = None if best is None else best + 1
    for _, first, last in parts:
        if best is not None and first <= best <= last:
            files = {epoch: file for epoch, file in files.items() if first < epoch <= last + 1} or files
    several = len({names.get(epoch) for epoch in files}) > 1
    return [
        Frame(epoch, names.get(epoch, "") if several else "", epoch == kept, sheet)
        for epoch in some(list(files), FRAMES, kept)
        if (sheet := read_sheet(run, files[epoch]))
    ]


def some(numbers: Sequence[int], most: int, always: int | None) -> list[int]:
    """At most so many of ascending numbers, evenly chosen from the first to the last, and one that is wanted.

    Example:
        >>> some(range(1, 31), 4, 12)
        [1, 12, 20, 30]
    """
    places = sorted({round(place) for place in np.linspace(0, len(numbers) - 1, min(most, len(numbers)))})
    found = [numbers[place] for place in places]
    if always in numbers and always not in found:
        assert always is not None
        inner = range(1, len(found) - 1) or range(len(found))
        found[min(inner, key=lambda place: abs(found[place] - always))] = always
    return sorted(found)


def _answers(metrics: Metrics) -> Row | None:
    """A row for the model, its other samplers, real images and each baseline; a column a score of samples."""
    keys = [key for key in OF_SAMPLES if key in metrics.metrics]
    if not keys:
        return None
    found = metrics.generation
    own = found.samplers if found else []
    rows: list[tuple[str, str, str, Mapping[str, Figure]]] = [
        ("mine", "This model", own[0].name if own else "", metrics.metrics),
        *[("", f"This model, {other.name}", "", other.metrics) for other in own[1:]],
    ]
    if found and found.real:
        rows.append(("real", "Real images", "against other real ones", found.real))
    rows += [("", rival.name, "", rival.metrics) for rival in _rivals(metrics) if rival.metrics.keys() & set(keys)]
    placed = bars([figures.get(keys[0]) for *_, figures in rows])
    return {
        "columns": [{"name": OF_SAMPLES[key][0], "hint": OF_SAMPLES[key][1]} for key in keys],
        "rows": [
            {"kind": kind, "name": name, "small": small, "figures": [figures.get(key) for key in keys], "bar": bar}
            for (kind, name, small, figures), bar in zip(rows, placed, strict=True)
        ],
    }


def _nats(metrics: Metrics) -> Row | None:
    """A row for each of the other scores, a column for the model and each baseline that has one of them."""
    keys = [key for key in metrics.metrics if key not in OF_SAMPLES]
    if not keys:
        return None
    order = list(OF_IMAGES)
    keys.sort(key=lambda key: order.index(key) if key in order else len(order))
    rivals = [rival for rival in _rivals(metrics) if rival.metrics.keys() & set(keys)]
    rows = []
    for key in keys:
        name, hint = OF_IMAGES.get(key, (key.replace("_", " ").capitalize(), ""))
        others = [rival.metrics.get(key) for rival in rivals]
        rows.append({"name": name, "hint": hint, "mine": metrics.metrics[key], "others": others, "write": writer(key)})
    return {"rivals": [rival.name for rival in rivals], "rows": rows}


def _rivals(metrics: Metrics) -> list[Baseline]:
    """Baselines, those nearest to real images first."""
    first = [metrics.baseline] if metrics.baseline else []
    every = {rival.name: rival for rival in [*first, *metrics.baselines]}

    def distance(rival: Baseline) -> float:
        known = rival.metrics.get("distance")
        return known.value if known and math.isfinite(known.value) else math.inf

    return sorted(every.values(), key=distance)


def _unusual(scored: pl.DataFrame) -> list[Row]:
    """The images with the highest scores, the highest first."""
    known = scored.filter(pl.col("score").is_finite())
    top = known.sort("score", descending=True, maintain_order=True).head(UNUSUAL)
    return top.select("id", "path", "label", "score").to_dicts()


def _memory(found: Memorised) -> Row:
    share = found.flagged / max(1, found.n)
    return {"n": found.n, "flagged": found.flagged, "threshold": found.threshold, "usual": share <= USUAL}


def _shares(metrics: Metrics) -> list[Row]:
    """A row a class: its share of real images and of samples, and both as parts of the largest."""
    found = metrics.generation.classes if metrics.generation else None
    if found is None:
        return []
    every = zip(found.names, found.real, found.samples, strict=False)
    known = [(name, real, made) for name, real, made in every if math.isfinite(real) and math.isfinite(made)]
    top = max((max(real, made) for _, real, made in known), default=0.0) or 1.0
    return [
        {"name": name, "real": real, "samples": made, "wide": [100 * max(0.0, part) / top for part in (real, made)]}
        for name, real, made in known
    ]
