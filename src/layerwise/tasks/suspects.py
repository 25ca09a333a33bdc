"""Labels of a run that may be wrong: a cheap model, cross-validated over all labelled examples.

The trained network cannot be asked: it has learnt the labels, wrong ones too. So a simple model is fitted five times,
each time without a fifth of the examples, and answers those; `metrics/suspects.py` holds its answers against labels.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier

from layerwise.data.ragged import Ragged
from layerwise.device import mix
from layerwise.engine.solve import cross_validate
from layerwise.errors import DataError, LayerwiseError
from layerwise.metrics.scores import losses
from layerwise.metrics.suspects import Suspects, find_suspects
from layerwise.store.atomic import csv_bytes
from layerwise.tasks import sequence_baselines, text_baseline
from layerwise.tasks.class_errors import SHEET, Thumbnail, sheet
from layerwise.tasks.image_data import ImageData, ids_of
from layerwise.tasks.image_features import PretrainedBody, pixel_features
from layerwise.tasks.job import Outcome

FOLDS, MOST = 5, 10_000  # examples that are looked at; of more as many, evenly spaced
_UNKEPT = 2_000  # images at most, where the recipe keeps nothing
LEAST = 6.0  # seconds of a budget that there must be, to begin at all; half of what is more goes to features
# Stronger than for a head that is to be used: a wrong label is not to be learnt by heart. On flowers with 5 % of labels
# flipped, precision at as many suspects as were flipped was 0.80 with 0.3, and 0.76 with 0.03 (3 seeds).
_DECAY = 0.3
_NEIGHBOURS = 10
# Below this part of the way from the largest class's share to 1, a model's own mistakes would crowd out wrong labels.
_ENOUGH = 0.5
Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Held:
    """Answers of models that did not learn from the example they answer.

    Args:
        rows: (n,) of the examples.
        probabilities: (n, classes).
        method: what was fitted, for people.
    """

    rows: Rows
    probabilities: Floats
    method: str


def labelled(examples: pl.DataFrame) -> Rows:
    """All rows of the three parts, at most 10,000, evenly spaced."""
    rows = np.sort(np.concatenate([ids_of(examples, part) for part in ("train", "valid", "test")]))
    return rows[:: max(1, -(-len(rows) // MOST))]


def held_out_images(found: ImageData, body: PretrainedBody | None, seconds: float | None = None) -> Held:
    """Logistic regression on frozen features; on pixels, or the nearest neighbours there, for a network from scratch.

    Args:
        found: the data of a run.
        body: the pretrained network as the run began with it; none for a network from scratch.
        seconds: that features may take which are not kept; none for as long as they take, which is less than an epoch.
    """
    rows, seed, classes = labelled(found.examples), found.recipe.seed, len(found.classes)
    if body is not None:
        if not found.recipe.frozen.keep:
            rows = rows[:: max(1, -(-len(rows) // _UNKEPT))]
        rows, features = body.features(rows, seconds)
        _enough(found.targets[rows])
        known = torch.from_numpy(found.targets[rows])
        given = cross_validate(features, known, classes=classes, seed=seed, decay=_DECAY)
        return Held(rows, given, f"logistic regression on what {found.recipe.model} sees before training")
    targets, pixels = found.targets[rows], pixel_features(found, rows)
    _enough(targets)
    linear = cross_validate(pixels, torch.from_numpy(targets), classes=classes, seed=seed)
    near = _neighbours(pixels.numpy(), targets, classes, seed)
    best = min(
        (linear, "logistic regression on pixels"), (near, "the nearest neighbours by pixels"), key=_loss(targets)
    )
    return Held(rows, *best)


def held_out_texts(texts: Sequence[str], examples: pl.DataFrame, targets: Rows, classes: int, seed: int) -> Held:
    """TF-IDF and logistic regression."""
    rows = labelled(examples)
    _enough(targets[rows])
    some = [texts[row] for row in rows]
    given = text_baseline.held_out(some, targets[rows], list(_folds(targets[rows], seed)), classes)
    return Held(rows, given, text_baseline.NAME)


def held_out_sequences(sequences: Ragged, examples: pl.DataFrame, targets: Rows, classes: int, seed: int) -> Held:
    """Ridge regression or the nearest neighbour on the values, whichever is right more often.

    Args:
        sequences: scaled.
        examples: `examples.parquet`.
        targets: (N,) class numbers.
        classes: how many.
        seed: of the folds.
    """
    rows = labelled(examples)
    _enough(targets[rows])
    given: dict[str, Floats] = {}
    for learnt, left in _folds(targets[rows], seed):
        for rival in sequence_baselines.rivals(sequences, targets, rows[learnt], rows[left], classes):
            given.setdefault(rival.name, np.zeros((len(rows), classes)))[left] = rival.probabilities
    name = min(given, key=lambda each: float(losses(given[each], targets[rows]).mean()))
    return Held(rows, given[name], f"{name} on the values")


def with_suspects(
    outcome: Outcome,
    hold: Callable[[float | None], Held],
    examples: pl.DataFrame,
    targets: Rows,
    classes: Sequence[str],
    *,
    budget: float | None = None,
    thumbnail: Thumbnail = lambda row: None,
    texts: Sequence[str] = (),
) -> Outcome:
    """An outcome with `suspects.csv`, of images `suspects.png`, and `suspects` in its metrics. It fails for nothing.

    Args:
        outcome: of a classifier's run.
        hold: gives out-of-fold answers, within so many seconds where there is a budget.
        examples: `examples.parquet`.
        targets: (N,) class numbers.
        classes: names.
        budget: seconds of the run, of which `metrics.json` says what is spent; none for no end.
        thumbnail: see `class_errors.sheet`.
        texts: of all examples, where they are texts.
    """
    began = time.monotonic()
    left = None if budget is None else budget - sum(outcome.metrics["seconds"].values())
    try:
        if left is not None and left < LEAST:
            raise DataError("The budget left no time for it.")
        held = hold(None if left is None else (left - LEAST) / 2)
        record, table = _judged(held, examples, targets, classes, texts)
    except LayerwiseError as error:
        record, table = {"reason": error.came}, None
    except Exception as error:  # the run is finished, and is not to be lost for a list
        record, table = {"reason": f"It failed ({type(error).__name__}: {str(error)[:200]})."}, None
    files = dict(outcome.files)
    if table is not None:
        files["suspects.csv"] = csv_bytes(table)
        shown = [
            (row["id"], f"labelled {row['label']}", f"rather {row['suggested']}")
            for row in table.head(SHEET).iter_rows(named=True)
        ]
        files |= sheet("suspects.png", shown, thumbnail)
    seconds = {**outcome.metrics["seconds"], "labels": time.monotonic() - began}
    return replace(outcome, metrics=outcome.metrics | {"suspects": record, "seconds": seconds}, files=files)


def _judged(
    held: Held, examples: pl.DataFrame, targets: Rows, classes: Sequence[str], texts: Sequence[str]
) -> tuple[dict[str, Any], pl.DataFrame]:
    """What `metrics.json` says, and the suspects, the worst first."""
    labels = targets[held.rows]
    accuracy = float((held.probabilities.argmax(1) == labels).mean())
    most = float(np.bincount(labels).max() / len(labels))
    if accuracy < most + _ENOUGH * (1 - most):
        raise DataError(
            f"Too little is known without the network: {held.method}, cross-validated, is right in "
            f"{100 * accuracy:.0f} % of {len(labels):,} examples. A list of suspects would be one of its own mistakes."
        )
    found = find_suspects(held.probabilities, labels)
    record = {
        "n": len(labels),
        "usable": sum(len(ids_of(examples, part)) for part in ("train", "valid", "test")),
        "suspects": int(found.suspect.sum()),
        "method": held.method,
        "accuracy": accuracy,
        "folds": FOLDS,
        "reason": None,
    }
    table = _table(found, held.rows, labels, examples, classes)
    if texts:
        table = table.insert_column(3, pl.Series("text", [texts[row] for row in table["id"]], dtype=pl.String))
    return record, table


def _table(found: Suspects, rows: Rows, labels: Rows, examples: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    ranked = found.ranked()
    names = np.array(classes, dtype=object)
    there: pl.DataFrame = examples.select("id", "path", "split")[rows[ranked].tolist()]
    return there.with_columns(
        pl.Series("label", names[labels[ranked]].tolist(), dtype=pl.String),
        pl.Series("suggested", names[found.suggested[ranked]].tolist(), dtype=pl.String),
        pl.Series("score", found.scores[ranked], dtype=pl.Float64),
    )


def _enough(targets: Rows) -> None:
    """Two classes of two examples each are the least to leave one out."""
    if (np.bincount(targets, minlength=1) >= 2).sum() < 2:
        raise DataError("Fewer than two classes have two examples or more.")


def _folds(targets: Rows, seed: int) -> list[tuple[Rows, Rows]]:
    """Places to learn from and places left out, classes spread evenly; rare classes are missing in some."""
    most = int(np.bincount(targets).max())
    splitter = StratifiedKFold(min(FOLDS, most), shuffle=True, random_state=mix(seed) % 2**32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return list(splitter.split(np.zeros(len(targets)), targets))


def _neighbours(features: NDArray[np.float32], targets: Rows, classes: int, seed: int) -> Floats:
    """The share of each class among the nearest ten, one of each class added."""
    found = np.zeros((len(targets), classes))
    for learnt, left in _folds(targets, seed):
        model = KNeighborsClassifier(min(_NEIGHBOURS, len(learnt))).fit(features[learnt], targets[learnt])
        found[np.ix_(left, model.classes_)] = model.predict_proba(features[left])
    found += 1 / _NEIGHBOURS / classes
    smoothed: Floats = found / found.sum(1, keepdims=True)
    return smoothed


def _loss(targets: Rows) -> Callable[[tuple[Floats, str]], float]:
    return lambda given: float(losses(given[0], targets).mean())
