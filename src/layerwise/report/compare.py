"""Runs side by side, on the same examples of their reported parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.errors import DataError, StoreError, UsageError
from layerwise.metrics.compare import holm, mcnemar, right_difference, score_difference
from layerwise.metrics.macro import macro_f1_difference
from layerwise.metrics.scores import confusion, macro_f1_of_counts
from layerwise.report.headline import name_of
from layerwise.report.read import RunFiles, read_run

SURE = 0.05
MACRO_F1 = "macro_f1"
# By task: what each example is scored by, the first decides; and whether more of it is better.
_MEASURES = {
    "image-classification": {"accuracy": True, "log_loss": False},
    "text-classification": {"accuracy": True, "log_loss": False},
    "sequence-classification": {"accuracy": True, "log_loss": False},
    "forecast": {"smape": False, "mae": False},
    "vae": {"negative_elbo": False},
}
_SHOWN = 3  # examples that are named where two parts differ


@dataclass(frozen=True)
class _Scored:
    """The reported part of a run: by what each example is known, and how well it was met.

    Args:
        name: of the run.
        task: of the run.
        keys: (n,) sorted; equal keys are the same example with the same truth.
        scores: by measure, (n,) in the order of the keys.
        groups: (n,) examples that go together, or none.
        answers: of classifiers, (n,) names of the right and of the predicted classes.
        measure: what the run is judged by first, where it says so.
    """

    name: str
    task: str
    keys: list[str]
    scores: dict[str, NDArray[np.float64]]
    groups: NDArray[np.int64] | None
    answers: tuple[NDArray[np.str_], NDArray[np.str_]] | None = None
    measure: str | None = None

    def value(self, name: str) -> float:
        """Of a measure, over all examples."""
        if name == MACRO_F1 and self.answers is not None:
            names, numbers = np.unique(np.stack(self.answers), return_inverse=True)
            truth, predicted = numbers.reshape(2, -1)
            return float(macro_f1_of_counts(confusion(predicted, truth, len(names))))
        return float(np.nanmean(self.scores[name]))


def compare_runs(paths: Sequence[Path]) -> dict[str, Any]:
    """Compare finished runs on the same examples.

    The best by the first measure is held against each of the others: by a paired bootstrap of the difference, and for
    classifiers by McNemar's test, whose p is corrected for several comparisons (Holm).

    Args:
        paths: run folders, two or more, of one task.

    Returns:
        {"task", "n", "measure", "runs": [{"name", "path", "metrics": {name: {value, low, high}}}, ...] the best first,
        "against": [{"name", "differences": {measure: {value, low, high}}, "p" (or none), "better"}, ...], "verdict"}.

    Raises:
        UsageError: fewer than two runs, one twice, or of several tasks, or of one whose runs cannot be held together.
        StoreError: a run is not finished, or a file of it is damaged.
        DataError: they were not judged on the same examples.
    """
    if len(paths) < 2 or len({path.resolve() for path in paths}) < len(paths):
        raise UsageError(
            f"{len(paths)} run folders were named{', one twice' if len(paths) > 1 else ''}.", expected=_TWO
        )
    files = [read_run(path) for path in paths]
    runs = [_scored(each, name) for each, name in zip(files, _names(paths), strict=True)]
    tasks = sorted({run.task for run in runs})
    if len(tasks) > 1:
        raise UsageError(f"The runs are of several tasks: {', '.join(tasks)}.", expected="runs of one task")
    for other in runs[1:]:
        _same(runs[0], other)
    measures = _measures(runs)
    first = next(iter(measures))
    order = sorted(range(len(runs)), key=lambda place: _rank(runs[place], measures), reverse=True)
    best, others = runs[order[0]], [runs[place] for place in order[1:]]
    against = [_against(best, other, measures) for other in others]
    if all(each["p"] is not None for each in against):
        for each, p in zip(against, holm([each["p"] for each in against]), strict=True):
            each["p"] = p
            each["better"] = each["better"] and p < SURE
    return {
        "task": tasks[0],
        "n": len(best.keys),
        "measure": first,
        "runs": [_record(files[place], runs[place], measures) for place in order],
        "against": against,
        "verdict": " ".join(_sentence(best, each, first) for each in against),
    }


_TWO = "two different run folders or more: layerwise compare runs/a runs/b"


def _rank(run: _Scored, measures: dict[str, bool]) -> list[float]:
    """Higher is better; among equals the next measure decides."""
    return [(1 if higher else -1) * run.value(name) for name, higher in measures.items()]


def _measures(runs: Sequence[_Scored]) -> dict[str, bool]:
    """Macro F1 decides where classes were uneven in training, as it does in the runs' own verdicts."""
    usual = _MEASURES[runs[0].task]
    if any(run.measure == MACRO_F1 for run in runs) and all(run.answers is not None for run in runs):
        return {MACRO_F1: True, **usual}
    return usual


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' own names, where those differ."""
    short = [path.resolve().name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _scored(run: RunFiles, name: str) -> _Scored:
    if run.metrics is None or run.predictions is None:
        why = next((note for note in run.notes if note.startswith(("metrics", "predictions"))), "")
        raise StoreError(
            f"The run {run.path} has no figures to compare. {why}".strip(),
            expected="a finished run",
            fix=f"Go on with: layerwise resume {run.path}",
        )
    task = run.metrics.task
    if task not in _MEASURES:
        raise UsageError(
            f"The run {run.path} is of the task {task}, whose figures are not of single examples.",
            expected=f"runs of {', '.join(_MEASURES)}",
        )
    table = _forecast_rows(run.predictions) if task == "forecast" else _example_rows(run, run.predictions, task)
    table = table.sort("key")
    groups = table["group"].rank("dense").to_numpy().astype(np.int64) if "group" in table.columns else None
    scores = {measure: table[measure].to_numpy().astype(np.float64) for measure in _MEASURES[task]}
    measure = run.metrics.measure
    return _Scored(name, task, table["key"].to_list(), scores, groups, _answers(table), measure)


def _answers(table: pl.DataFrame) -> tuple[NDArray[np.str_], NDArray[np.str_]] | None:
    """Names of the right and the predicted classes; none where there are no classes."""
    if "label" not in table.columns:
        return None
    return np.array(table["label"].to_list(), dtype=np.str_), np.array(table["predicted"].to_list(), dtype=np.str_)


def _example_rows(run: RunFiles, predictions: pl.DataFrame, task: str) -> pl.DataFrame:
    """Known by the hash of its content and its label; of equal ones, by their order."""
    if run.examples is None or "hash" not in run.examples.columns:
        raise StoreError(
            f"{run.path / 'examples.parquet'} cannot be used.", expected="the table that train has written"
        )
    hashes = run.examples.select(pl.col("id").cast(pl.Int64), "hash")
    rows = predictions.join(hashes, on="id", how="left", maintain_order="left")
    key = pl.concat_str([pl.col("hash").fill_null("?"), pl.col("label").fill_null("")], separator=":")
    if task == "vae":
        scores = [pl.col("score").cast(pl.Float64).alias("negative_elbo")]
    else:
        scores = [
            (pl.col("label") == pl.col("predicted")).cast(pl.Float64).alias("accuracy"),
            pl.col("loss").alias("log_loss"),
        ]
    classes = [] if task == "vae" else [pl.col("label").fill_null(""), pl.col("predicted").fill_null("")]
    rows = rows.select(key.alias("key"), *scores, *classes)
    rows = rows.sort("key", *[score.meta.output_name() for score in scores])
    return rows.with_columns(key=pl.col("key") + ":" + pl.int_range(pl.len()).over("key").cast(pl.String))


def _forecast_rows(predictions: pl.DataFrame) -> pl.DataFrame:
    """Known by series, time, step and the value that came; windows of a series go together."""
    names = [name for name in ("series", "origin", "ds", "step", "y") if name in predictions.columns]
    error = (pl.col("y") - pl.col("forecast")).abs()
    size = pl.col("y").abs() + pl.col("forecast").abs()
    known = predictions.filter(pl.col("y").is_not_null())
    several = known["series"].n_unique() > 1
    return known.select(
        pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in names], separator="\t").alias("key"),
        (pl.col("series") if several else pl.col("ds").fill_null("")).alias("group"),
        pl.when(size > 0).then(200 * error / size).otherwise(0.0).alias("smape"),
        error.alias("mae"),
    )


def _same(one: _Scored, other: _Scored) -> None:
    """Refuse runs that were judged on other examples: the difference would be one of luck."""
    if one.keys == other.keys:
        return
    shared = len(set(one.keys) & set(other.keys))
    raise DataError(
        f"{one.name} was judged on {len(one.keys):,} examples and {other.name} on {len(other.keys):,}, "
        f"of which {shared:,} are the same.",
        expected="the same examples with the same labels",
        fix="Train them on the same data with the same --seed and split, or give the data a test part of its own.",
    )


def _against(best: _Scored, other: _Scored, measures: dict[str, bool]) -> dict[str, Any]:
    differences: dict[str, dict[str, float | None]] = {}
    p = None
    for measure in measures:
        if measure == MACRO_F1:
            differences[measure], p = _by_macro_f1(best, other)
            continue
        mine, theirs = best.scores[measure], other.scores[measure]
        if measure == "accuracy":
            differences[measure] = dict(right_difference(mine == 1, theirs == 1))
            p = mcnemar(mine == 1, theirs == 1) if p is None else p
        else:
            differences[measure] = score_difference(mine, theirs, best.groups)
    decisive, higher = next(iter(measures.items()))
    low, high = differences[decisive]["low"], differences[decisive]["high"]
    surely = low is not None and high is not None and (low > 0 if higher else high < 0)
    return {"name": other.name, "differences": differences, "p": p, "better": surely}


def _by_macro_f1(best: _Scored, other: _Scored) -> tuple[dict[str, float | None], float]:
    """The difference with its interval, and the bootstrap's p."""
    assert best.answers is not None and other.answers is not None  # of the same examples in the same order
    found = macro_f1_difference(best.answers[1], other.answers[1], best.answers[0])
    return {"value": found.first - found.second, "low": found.low, "high": found.high}, found.p


def _record(files: RunFiles, run: _Scored, measures: dict[str, bool]) -> dict[str, Any]:
    assert files.metrics is not None, "such a run was refused"
    figures = {name: figure.model_dump() for name, figure in files.metrics.metrics.items()}
    own = {measure: {"value": run.value(measure), "low": None, "high": None} for measure in measures}
    return {"name": run.name, "path": str(files.path), "metrics": own | figures, "seconds": files.metrics.seconds}


def _sentence(best: _Scored, against: dict[str, Any], measure: str) -> str:
    found = against["differences"][measure]
    between = "" if found["low"] is None else f", 95 % interval {found['low']:.3g} to {found['high']:.3g}"
    p = "" if against["p"] is None else f", {'bootstrap' if measure == MACRO_F1 else 'McNemar'} p {against['p']:.2g}"
    what = f"{name_of(measure)} differs by {found['value']:.3g}{between}{p}"
    if against["better"]:
        return f"{best.name} is better than {against['name']}: {what}."
    return f"{best.name} is not surely better than {against['name']}: {what}."
