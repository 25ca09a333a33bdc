"""Cross-validation: every example is answered once by a network that has not seen it.

The data are dealt into k folds (`split.folds`), a run is trained for each with that fold as its reported part, and the
answers of all runs are put together. So the figures are of all examples and not of one part of them, and their spread
over the folds shows how much of a figure is luck.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from layerwise import session
from layerwise.config import merge
from layerwise.console import Show, Terminal
from layerwise.data.split_groups import GROUP
from layerwise.errors import Diverged, StoreError, TrainingError, UsageError
from layerwise.metrics.summary import summarize
from layerwise.report.read import RunFiles, read_run
from layerwise.store import atomic
from layerwise.store.run import discard_folder, new_folder
from layerwise.tasks.guess import guess_task
from layerwise.tasks.loaded import groups_of
from layerwise.tasks.run_recipe import seconds

COMMAND, FIGURES, PREDICTIONS = "command.json", "folds.json", "predictions.csv"
_KEPT = ("split", "n", "metrics", "baseline", "verdict", "seconds")  # of the figures of a fold
_CLASSIFY = ("image-classification", "text-classification", "sequence-classification")
_WHY_NOT = {
    "forecast": "a forecast is judged on the last steps of each series, and a fold of other steps would lie between "
    "those that it learns from",
    "vae": "generators are judged by their samples as a whole, and no example has an answer of its own",
    "gan": "generators are judged by their samples as a whole, and no example has an answer of its own",
}


@dataclass(frozen=True)
class CrossValidation:
    """How well networks do on examples that they were not trained on: what `cross_validate` gives.

    Args:
        path: the folder with a run folder a fold, `folds.json` and `predictions.csv`.
        found: the content of `folds.json`: "task", "folds", "n"; "runs", a record a fold with its metrics; "mean", by
            metric the "value" and the "deviation" over the folds; "pooled", what `metrics.json` has, of all answers
            together.

    Example:
        >>> found = cross_validate("photos/", folds=5).found                # doctest: +SKIP
        >>> found["mean"]["accuracy"], found["pooled"]["verdict"]           # doctest: +SKIP
    """

    path: Path
    found: Mapping[str, Any]

    @property
    def predictions(self) -> pl.DataFrame:
        """The answer for every example, by the network of the fold that it was held out from; a column `fold`."""
        return pl.read_csv(self.path / PREDICTIONS, schema_overrides={"label": pl.String, "predicted": pl.String})


@dataclass(frozen=True)
class _Plan:
    """What is trained: the arguments of a run, the number of folds, and where they go."""

    data: Any
    values: dict[str, Any]
    network: torch.nn.Module | None
    folds: int
    path: Path

    def fold(self, number: int) -> Path:
        """The run folder of a fold, from 1."""
        return self.path / f"fold-{number}"


def cross_validate(
    data: Any,
    *,
    folds: int = 5,
    model: str | torch.nn.Module = "auto",
    task: str | None = None,
    out: str | Path | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    recipe: str | Path | Mapping[str, Any] | None = None,
) -> CrossValidation:
    """Train a run for each of k folds and report on all examples, each answered by a network that has not seen it.

    Classes are spread evenly over the folds, copies and groups stay in one, and within each run a part of the other
    folds validates. Called again with the same arguments and the same `out`, folds that are finished are kept, and one
    that was stopped goes on where it was.

    The interval of a pooled figure is about the examples. Networks of different folds share most of their training
    examples, so it says less of how another training set would have done; see Y. Bengio, Y. Grandvalet, "No Unbiased
    Estimator of the Variance of K-Fold Cross-Validation", JMLR 5, 2004.

    Args:
        data: as `train` takes them, without a test part of their own.
        folds: how many, 2 or more.
        model: a name that `layerwise models` lists, `timm:NAME`, or an `nn.Module`, of which each fold trains a copy.
        task: a classification; guessed from the data where it is certain.
        out: the folder; by default a new one under `runs/`.
        epochs, seed: as in `train`.
        recipe: as in `train`; "device" goes there. A "budget" is of all folds together.

    Raises:
        UsageError: the task is none of classification, or `out` holds something else.
        DataError: as in `train`, or the data have a test part.
        LayerwiseError: see `layerwise.errors`.
    """
    network = None if isinstance(model, str) else model
    values = session.recipe_of(recipe, model, {"task": task, "epochs": epochs, "seed": seed})
    return run_folds(data, values, network, out, folds, Terminal())


def run_folds(
    data: Any,
    values: Mapping[str, Any],
    network: torch.nn.Module | None,
    out: str | Path | None,
    folds: int,
    show: Show,
) -> CrossValidation:
    """`cross_validate` with its words put in one mapping; what the command line calls."""
    _check(data, values, folds)
    with _folder(data, values, folds, out) as path:
        plan = _Plan(data, _shared_out(values, folds), network, folds, path)
        for number in range(1, folds + 1):
            _train(plan, number, show)
    found, table = _together(plan)
    atomic.write_csv(plan.path / PREDICTIONS, table)
    atomic.write_json(plan.path / FIGURES, found)
    return CrossValidation(plan.path, found)


def _check(data: Any, values: Mapping[str, Any], folds: int) -> None:
    if folds < 2:
        raise UsageError(f"{folds} folds were asked for.", expected="2 or more")
    parts = values.get("split", {})
    if isinstance(parts, Mapping) and (both := sorted({"folds", "fold", "time"} & set(parts))):
        raise UsageError(
            f"split.{both[0]} came together with {folds} folds.",
            expected="one of them",
            fix="By time only the last examples can be reported on: leave the folds out."
            if "time" in both
            else f"Leave split.{both[0]} out: each fold has its own.",
        )
    task = guess_task(data, values)
    if task not in _CLASSIFY:
        why = _WHY_NOT.get(task, "their figures are not of single examples")
        raise UsageError(f"Folds were asked for of {task}: {why}.", expected=f"one of {', '.join(_CLASSIFY)}")


def _shared_out(values: Mapping[str, Any], folds: int) -> dict[str, Any]:
    """The recipe of a fold: its share of the budget."""
    try:
        budget = seconds(values.get("budget"))
    except ValueError:  # the recipe says what is wrong with it
        return dict(values)
    return merge(values, {"budget": budget / folds}) if isinstance(budget, int | float) else dict(values)


@contextmanager
def _folder(data: Any, values: Mapping[str, Any], folds: int, out: str | Path | None) -> Iterator[Path]:
    """A new folder, or one of the same command. Nothing is left of a command whose first fold never began."""
    given = os.path.abspath(os.path.expanduser(data)) if isinstance(data, str | Path) else None
    command = json.loads(json.dumps({"data": given, "folds": folds, "recipe": values}, default=str))
    existed = out is not None and Path(out).exists()
    path = Path(out) if out is not None and (Path(out) / COMMAND).is_file() else None
    if path is None:
        name = Path(given).stem if given else "folds"
        path = new_folder(None if out is None else Path(out), f"{name}-folds")
        atomic.write_json(path / COMMAND, command)
    elif (before := atomic.read_json(path / COMMAND)) != command:
        other = [name for name in command if not isinstance(before, dict) or before.get(name) != command[name]]
        raise UsageError(
            f"{path} holds the folds of another command: its {' and '.join(other)} differ.",
            expected="the same command, or a new folder",
            fix="Choose another folder with --out.",
        )
    try:
        yield path
    except BaseException:
        if atomic.names(path) == [COMMAND]:
            atomic.remove(path / COMMAND)
            discard_folder(path, keep=existed)
        raise


def _train(plan: _Plan, number: int, show: Show) -> None:
    """Train a fold, go on with it where it was stopped, or leave it as it is where it is finished."""
    path = plan.fold(number)
    if all((path / name).is_file() for name in ("metrics.json", PREDICTIONS, "report.html")):
        show.say(f"Fold {number} of {plan.folds} is finished: {path}")
        return
    show.say(f"Fold {number} of {plan.folds}: {path}")
    network = copy.deepcopy(plan.network)  # a fold must not begin with what another has learnt
    values = merge(plan.values, {"split": {"folds": plan.folds, "fold": number}})
    try:
        if all((path / name).is_file() for name in ("recipe.toml", "examples.parquet")):
            with session.resumed(path, plan.data, network, show) as stopped:
                session.run(stopped)
            return
        for name in (".lock", "recipe.toml"):  # of a process that was killed before there was anything to resume
            atomic.remove(path / name)
        with session.begun(plan.data, values, network, path, show) as began:
            session.run(began)
    except Diverged:
        raise
    except TrainingError as error:
        raise TrainingError(
            f"Fold {number} of {plan.folds}: {error.came}",
            expected=error.expected,
            fix=f"The same command with --out {plan.path} (out=... in Python) keeps what is done and goes on.",
        ) from error


def _together(plan: _Plan) -> tuple[dict[str, Any], pl.DataFrame]:
    """`folds.json` and `predictions.csv`."""
    runs = [read_run(plan.fold(number)) for number in range(1, plan.folds + 1)]
    tables = [_answers(run, number) for number, run in enumerate(runs, start=1)]
    pooled = pl.concat(tables, how="diagonal").sort("id")
    usable = _same_examples(runs)
    if pooled["id"].to_list() != usable["id"].to_list():
        raise StoreError(
            f"The folds answer {pooled.height:,} examples, and {usable.height:,} can be used.",
            expected="one answer for each",
            fix="Start anew, in another folder.",
        )
    figures = [atomic.read_json(run.path / "metrics.json") for run in runs]
    names = [name for name in figures[0]["metrics"] if all(name in each["metrics"] for each in figures)]
    values = {name: np.array([each["metrics"][name]["value"] for each in figures]) for name in names}
    found = {
        "task": figures[0]["task"],
        "folds": plan.folds,
        "n": pooled.height,
        "runs": [
            {"fold": number, "path": str(run.path), **{key: each[key] for key in _KEPT}}
            for number, (run, each) in enumerate(zip(runs, figures, strict=True), start=1)
        ],
        "mean": {
            name: {"value": float(each.mean()), "deviation": float(each.std(ddof=1))} for name, each in values.items()
        },
        "pooled": _pooled(figures[0]["task"], pooled, groups_of(usable, np.arange(usable.height))),
    }
    return found, pooled


def _answers(run: RunFiles, number: int) -> pl.DataFrame:
    """The predictions of a fold, with its number."""
    if run.metrics is None or run.predictions is None or run.examples is None:
        raise StoreError(
            f"The fold {run.path} cannot be used. {' '.join(run.notes)}",
            expected="a finished run",
            fix=f"Remove {run.path}, and give the same command again.",
        )
    table = run.predictions.with_columns(pl.col("^p:.*$").cast(pl.Float64))
    return table.insert_column(1, pl.Series("fold", [number] * table.height, dtype=pl.Int64))


def _same_examples(runs: Sequence[RunFiles]) -> pl.DataFrame:
    """The examples that can be used, by ascending number; they are the same in all folds.

    Raises:
        StoreError: the data were changed between two folds.
    """
    examples = [run.examples for run in runs if run.examples is not None]
    beside = [GROUP] if all(GROUP in table.columns for table in examples) else []
    tables = [table.select("id", "path", "label", "hash", "problem", *beside) for table in examples]
    for run, table in zip(runs, tables, strict=True):
        if not table.equals(tables[0]):
            raise StoreError(
                f"{run.path} is of other data than {runs[0].path}.",
                expected="the same data in all folds",
                fix="Put the data back as it was, or start anew in another folder.",
            )
    return tables[0].filter(pl.col("problem").is_null()).with_columns(pl.col("id").cast(pl.Int64)).sort("id")


def _pooled(task: str, table: pl.DataFrame, groups: np.ndarray | None) -> dict[str, Any]:
    """What `metrics.json` would say of all answers together; the baseline is the most frequent class of all."""
    columns = [name for name in table.columns if name.startswith("p:")]
    classes = [name.removeprefix("p:") for name in columns]
    numbers = {name: number for number, name in enumerate(classes)}
    targets = np.array([numbers[label] for label in table["label"].to_list()], dtype=np.int64)
    return summarize(
        task=task,
        split="all folds",
        probabilities=table.select(columns).to_numpy().astype(np.float32),
        targets=targets,
        train_targets=targets,
        classes=classes,
        groups=groups,
    )
