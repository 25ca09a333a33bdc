"""`report.html`: one self-contained page, from the files of a run folder."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import math
import platform
import shlex
import unicodedata
from pathlib import Path
from typing import Any

import jinja2

from layerwise.report.plots import best_index, curves
from layerwise.report.read import Metrics, RunFiles, read_run
from layerwise.report.tables import (
    WORST,
    Thumbnail,
    class_rows,
    confused_pairs,
    confusion_rows,
    data_counts,
    epoch_rows,
    headline,
    judge,
    problems,
    stage_rows,
    worst,
)
from layerwise.store.atomic import write_text

PACKAGES = ("layerwise", "torch", "timm", "numpy", "pillow")


def write_report(run: Path, *, thumbnail: Thumbnail | None = None) -> Path:
    """Write `report.html` into a run folder, whole or not at all.

    What the folder lacks, because a run was interrupted or a file is damaged, the page says.

    Args:
        run: the run folder.
        thumbnail: gives the pixels of the example with an id of `examples.parquet`, `(H, W, C)` uint8 with C 1 or 3,
            or None where they cannot be had. Called for at most 24 examples.

    Returns:
        The path of the page.

    Raises:
        StoreError: there is no such folder, or the page cannot be written.

    Example:
        >>> import tempfile
        >>> write_report(Path(tempfile.mkdtemp())).name
        'report.html'
    """
    files = read_run(run)
    target = run / "report.html"
    write_text(target, _environment().get_template("page.html").render(_content(files, thumbnail)))
    return target


def _content(run: RunFiles, thumbnail: Thumbnail | None) -> dict[str, Any]:
    """Everything the template shows."""
    judged = judge(run.predictions) if run.predictions is not None else None
    return {
        "name": run.path.resolve().name,
        "notes": run.notes,
        "written": run.written,
        "metrics": run.metrics,
        "verdict": _verdict(run.metrics),
        "headline": headline(run.metrics) if run.metrics else [],
        "resume": shlex.join(["layerwise", "resume", str(run.path)]),
        "counts": data_counts(run.examples) if run.examples is not None else None,
        "problems": problems(run.examples) if run.examples is not None else None,
        "plots": curves(run.epochs),
        "best": best_index(run.epochs),
        "stages": stage_rows(run.epochs),
        "plan": run.metrics.plan if run.metrics else None,
        "off": _off(run.metrics),
        "epochs": epoch_rows(run.epochs),
        "judged": judged,
        "confusion": confusion_rows(judged) if judged else None,
        "pairs": confused_pairs(judged) if judged else [],
        "class_rows": class_rows(judged) if judged else [],
        "worst": worst(run.predictions, thumbnail) if run.predictions is not None else [],
        "most": WORST,
        "recipe": run.recipe_text,
        "command": _command(run),
        "versions": _versions(run.metrics),
    }


def _verdict(metrics: Metrics | None) -> dict[str, str] | None:
    """The sentence in two: what is claimed, and the figures behind the last colon."""
    if metrics is None:
        return None
    claim, colon, figures = metrics.verdict.rpartition(": ")
    if ": more would tell" in metrics.verdict or not colon:
        claim, figures = metrics.verdict, ""
    kind = "good" if metrics.verdict.startswith("Better") else "poor"
    return {"claim": claim or figures, "figures": figures[:1].upper() + figures[1:], "kind": kind}


def _off(metrics: Metrics | None) -> str:
    """How far the plan's estimate was from the truth."""
    if metrics is None or metrics.plan is None or not metrics.plan.took:
        return ""
    share = metrics.plan.seconds / metrics.plan.took - 1
    return f"{abs(share):.0%} {'more' if share > 0 else 'less'} than it took"


def _command(run: RunFiles) -> str:
    """The command that repeats the run; the data as the recipe names them."""
    place = run.recipe.get("data_path")
    given = shlex.quote(place) if isinstance(place, str) and place else "DATA"
    return f"layerwise train {given} --recipe {shlex.quote(str(run.path / 'recipe.toml'))}"


def _versions(metrics: Metrics | None) -> dict[str, str]:
    """Of the run where it noted them, else of what is installed as the page is written."""
    if metrics and metrics.versions:
        return metrics.versions
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _environment() -> jinja2.Environment:
    """Templates of this package; whatever comes from data is escaped."""
    folder = importlib.resources.files("layerwise.report")
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(visible=visible, number=number, percent=percent, seconds=duration, rate=rate, size=size)
    return environment


def visible(text: object) -> str:
    """Text from data on one line: what cannot be seen (line ends, marks that turn the direction) as its code.

    Example:
        >>> visible("a\\nb")
        'a\\\\nb'
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character
        for character in str(text)
    )


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def percent(share: float) -> str:
    """A share as a percentage; what is little is not called nothing."""
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def rate(value: float | None) -> str:
    """A learning rate, short."""
    return "–" if value is None else f"{value:.2g}".replace("e-0", "e-")


def size(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def duration(value: float) -> str:
    """Seconds as people say them.

    Example:
        >>> duration(75.2), duration(3.21)
        ('1 min 15 s', '3.2 s')
    """
    if value < 59.5:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
