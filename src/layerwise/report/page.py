"""`report.html`: one self-contained page, from the files of a run folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.resources
import platform
import shlex
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.report import words
from layerwise.report.cells import Cell, Thumbnail, cells
from layerwise.report.certainty import certainty
from layerwise.report.forecast_plots import panels, step_plots
from layerwise.report.forecasts import (
    Forecasts,
    History,
    by_step,
    judge_forecasts,
    measure_name,
    series_counts,
    worst_series,
)
from layerwise.report.generators import CURVES as OF_GENERATORS
from layerwise.report.generators import generator_content, generator_verdict
from layerwise.report.headline import balanced, comparison, has_intervals, headline
from layerwise.report.heat import explained_content
from layerwise.report.labels import labels_content
from layerwise.report.plots import CURVES, best_index, curves, stages
from layerwise.report.read import Metrics, RunFiles, read_run
from layerwise.report.tables import (
    WORST,
    Judged,
    class_rows,
    confused_pairs,
    confusion_rows,
    data_counts,
    epoch_rows,
    judge,
    problems,
    stage_table,
    worst,
)
from layerwise.store.atomic import write_text

PACKAGES = ("layerwise", "torch", "timm", "numpy", "pillow", "tokenizers", "scikit-learn", "polars")


_DIGITS = 16  # of a hash that are shown


def write_report(run: Path, *, thumbnail: Thumbnail | None = None) -> Path:
    """Write `report.html` into a run folder, whole or not at all.

    What the folder lacks, because a run was interrupted or a file is damaged, the page says.

    Args:
        run: the run folder.
        thumbnail: shows the example with an id of `examples.parquet`: pixels `(H, W, C)` uint8 with C 1 or 3, the
            values `(T, C)` of a sequence, the history `(T,)` of a series up to its first forecast; None where they
            cannot be had. Called for at most 24 wrong answers of a classifier and 800 examples behind its confusion
            table, and for the series of a forecast.

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
    write_text(target, environment().get_template("page.html").render(_content(files, thumbnail)))
    return target


def _content(run: RunFiles, thumbnail: Thumbnail | None) -> dict[str, Any]:
    """Everything the template shows."""
    table = run.predictions
    is_forecast = "forecast" in table.columns if table is not None else run.task == "forecast"
    history = _history(run.examples, table, thumbnail)
    judged = judge(table) if table is not None and "predicted" in table.columns else None
    forecasts = judge_forecasts(table, history, run.season) if table is not None and is_forecast else None
    names = words.words_of(run.task)
    return {
        "name": run.path.resolve().name,
        "notes": run.notes,
        "written": run.written,
        "words": names,
        "recipe": run.recipe_text,
        "command": _command(run),
        "resume": shlex.join(["layerwise", "resume", str(run.path)]),
        "versions": _versions(run.metrics),
        "hashes": _hashes(run),
        "judged": judged,
        "forecasts": None,
        "level": f"{100 * run.level:g} %",
        "generator": generator_content(run) if names.makes else None,
        "told": run.recipe.get("conditional") is True,
        "certainty": certainty(run.metrics) if judged else None,
        "why": explained_content(run),
        "labels": labels_content(run, thumbnail),
        **_result(run.metrics, run.level),
        **_data(run, forecasts, is_forecast),
        **_training(run, names),
        **(_classes(judged, run, thumbnail) if judged else {}),
        **(_forecasts(forecasts, history, run) if forecasts else {}),
    }


def _result(metrics: Metrics | None, level: float) -> dict[str, Any]:
    return {
        "metrics": metrics,
        "verdict": _verdict(metrics),
        "headline": headline(metrics, level) if metrics else [],
        "comparison": comparison(metrics, level) if metrics else [],
        "intervals": metrics is not None and has_intervals(metrics),
        "balanced": balanced(metrics) if metrics else "",
        "plan": metrics.plan if metrics else None,
        "off": _off(metrics),
        "refit": metrics.refit if metrics else None,
    }


def _data(run: RunFiles, forecasts: Forecasts | None, is_forecast: bool) -> dict[str, Any]:
    examples, judged = run.examples, _judged_count(run, forecasts)
    return {
        "counts": data_counts(examples) if examples is not None and not is_forecast else None,
        "series_counts": series_counts(forecasts, examples, judged) if examples is not None and is_forecast else [],
        "has_data": examples is not None,
        "problems": problems(examples) if examples is not None else None,
    }


def _judged_count(run: RunFiles, forecasts: Forecasts | None) -> int:
    """Forecasts behind the figures: of very many, not all are in predictions.csv."""
    known = forecasts.count if forecasts else 0
    return max(known, run.metrics.n if run.metrics and run.metrics.series else 0)


def _training(run: RunFiles, names: words.Words) -> dict[str, Any]:
    best, parts = best_index(run.epochs), stages(run.epochs)
    kept = next(
        ((name, best - first + 1) for name, first, last in parts if best is not None and first <= best <= last), None
    )
    return {
        "plots": curves(run.epochs, compete=names.networks, wanted=OF_GENERATORS if names.makes else CURVES),
        "best": best,
        "kept": {"network": kept[0], "epoch": kept[1]} if kept else None,
        "stages": stage_table(run.epochs, compete=names.networks),
        "epochs": epoch_rows(run.epochs),
    }


def _classes(judged: Judged, run: RunFiles, thumbnail: Thumbnail | None) -> dict[str, Any]:
    table, pairs = confusion_rows(judged), confused_pairs(judged)
    # Where no table can be drawn, the pairs lead to their examples.
    only = None if table else [(pair["label"], pair["predicted"]) for pair in pairs]
    behind: dict[tuple[str, str], Cell] = {}
    if run.predictions is not None:
        behind = cells(run.predictions, judged.classes, thumbnail, only)
    return {
        "confusion": table,
        "pairs": pairs,
        "cells": behind,
        "class_rows": class_rows(judged),
        "worst": worst(run.predictions, thumbnail) if run.predictions is not None else [],
        "most": WORST,
    }


def _forecasts(found: Forecasts, history: History, run: RunFiles) -> dict[str, Any]:
    return {
        "forecasts": found,
        "measure": measure_name(found),
        "panels": panels(found, history),
        "step_plots": step_plots(found, run.level),
        "steps": by_step(found),
        "worst_series": worst_series(found),
        "judged_count": _judged_count(run, found),
    }


def _history(examples: pl.DataFrame | None, predictions: pl.DataFrame | None, thumbnail: Thumbnail | None) -> History:
    """The past of a series by name: its row is that of the example of this name, else as the forecasts number it."""
    rows: dict[str, int] = {}
    if predictions is not None and "series" in predictions.columns:
        numbered = predictions.drop_nulls(["series", "id"]).unique("series", keep="first")
        rows |= dict(zip(numbered["series"].to_list(), numbered["id"].to_list(), strict=True))
    if examples is not None:
        named = examples.drop_nulls(["path", "id"])
        rows |= dict(zip(named["path"].to_list(), named["id"].to_list(), strict=True))

    def past(name: str) -> NDArray[np.float64] | None:
        values = thumbnail(rows[name]) if thumbnail is not None and name in rows else None
        return values.astype(np.float64) if values is not None and values.ndim == 1 else None

    return past


def _verdict(metrics: Metrics | None) -> dict[str, str] | None:
    """What is claimed, and the figures behind the colon."""
    if metrics is None:
        return None
    if metrics.generation is not None:
        return generator_verdict(metrics.verdict)
    claim, colon, figures = metrics.verdict.rpartition(": ")
    if ": more would tell" in metrics.verdict or not colon:
        claim, figures = metrics.verdict, ""
    kind = "good" if metrics.verdict.startswith("Better") else "poor"
    return {"claim": claim or figures, "figures": words.begin(figures), "kind": kind}


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


def _hashes(run: RunFiles) -> dict[str, str]:
    """SHA-256, shortened, of the model file and of what the examples hold, so that a page can be told from another."""
    found: dict[str, str] = {}
    model = run.path / "model.safetensors"
    if model.is_file():
        with model.open("rb") as opened:
            found["model.safetensors"] = hashlib.file_digest(opened, "sha256").hexdigest()[:_DIGITS]
    if run.examples is not None and "hash" in run.examples.columns:
        contents = "\n".join(each or "" for each in run.examples["hash"].to_list())
        found["data"] = hashlib.sha256(contents.encode()).hexdigest()[:_DIGITS]
    return found


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


def environment() -> jinja2.Environment:
    """Templates of this package; whatever comes from data is escaped."""
    folder = importlib.resources.files("layerwise.report")
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        visible=words.visible, begin=words.begin, number=words.number, figure=words.figure, fine=words.fine,
        percent=words.percent, seconds=words.duration, rate=words.rate, size=words.size,
    )  # fmt: skip
    return environment
