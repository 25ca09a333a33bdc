"""`metrics.json`: every score with its interval, a baseline, and a sentence.

Where the most frequent class has over three times as many training examples as the rarest, accuracy says little of the
rare ones: macro F1 then comes first, and the sentence is about it. `measure` says which of the two it is, and all
that shows one figure shows that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from layerwise.errors import DataError, TrainingError
from layerwise.metrics.baselines import ACCURACY, MACRO_F1, majority, verdict
from layerwise.metrics.binary import two_classes
from layerwise.metrics.calibration import Calibrator
from layerwise.metrics.intervals import Interval, bootstrap
from layerwise.metrics.macro import uneven
from layerwise.metrics.reliability import calibration
from layerwise.metrics.scores import Array, predicted_classes

MAJORITY = "majority class"
GROUPED = "the groups of these examples"  # what intervals resample, where examples come in groups


def summarize(
    *,
    task: str,
    split: str,
    probabilities: Array,
    targets: Array,
    train_targets: Array,
    classes: Sequence[str],
    rivals: Mapping[str, Array] | None = None,
    groups: Array | None = None,
) -> dict[str, Any]:
    """The content of `metrics.json` for a classifier, ready for `json.dump`.

    Args:
        task: such as "image-classification".
        split: the part of the data that was scored, such as "test".
        probabilities: `(n, classes)`.
        targets: `(n,)` integers, the right classes.
        train_targets: `(m,)` integers, what the baseline learns from.
        classes: names, in the order of the columns.
        rivals: baselines beside the majority class, by name: their probabilities `(n, classes)`. The first is the one
            that the verdict is about; the majority class may be named among them, to be the first.
        groups: `(n,)` what each example belongs to; intervals and verdict then resample whole groups. None: each
            stands alone.

    Returns:
        `{"task", "split", "n", "measure", "metrics": {name: {"value", "low", "high"}}, "baseline": {"name",
        "metrics"}, "verdict"}`, "interval_over" where there are groups, and "baselines" with all of them where there
        are rivals. The measure, which is the first of the metrics, is "macro_f1" where classes are uneven in training,
        else "accuracy".

    Raises:
        DataError: nothing to score, or nothing for the baseline to learn from.
        TrainingError: a probability is not a finite number.

    Example:
        >>> found = summarize(task="image-classification", split="test", probabilities=np.eye(2),
        ...     targets=np.array([0, 1]), train_targets=np.array([0, 1, 1]), classes=["cat", "dog"])
        >>> found["n"], found["metrics"]["accuracy"]["value"], found["baseline"]["name"]
        (2, 1.0, 'majority class')
    """
    _check(split, probabilities, targets, train_targets, classes)
    same = majority(train_targets, targets, len(classes))
    baselines = {**(rivals or {}), MAJORITY: same}
    first = next(iter(baselines))
    than = f'always answering "{classes[int(predicted_classes(same[:1])[0])]}"' if first == MAJORITY else first
    measure = measure_of(train_targets)
    judged = [{"name": name, "metrics": _scores(given, targets, measure, groups)} for name, given in baselines.items()]
    several = {"baselines": judged} if rivals else {}
    resampled = {} if groups is None else {"interval_over": GROUPED}
    return {
        "task": task,
        "split": split,
        "n": len(targets),
        "measure": measure,
        "metrics": _scores(probabilities, targets, measure, groups),
        "baseline": judged[0],
        **several,
        **resampled,
        "verdict": verdict(probabilities, baselines[first], targets, than=than, measure=measure, groups=groups),
    }


def measure_of(train_targets: Array) -> str:
    """What a classifier is judged by, given the classes of its training examples: "accuracy", or "macro_f1".

    Example:
        >>> measure_of(np.array([0, 0, 0, 1])), measure_of(np.array([0, 0, 0, 0, 1]))
        ('accuracy', 'macro_f1')
    """
    return MACRO_F1 if uneven(np.bincount(train_targets)) else ACCURACY


def _scores(probabilities: Array, targets: Array, measure: str, groups: Array | None) -> dict[str, Interval]:
    """All scores with their intervals, the measure first."""
    found = bootstrap(probabilities, targets, groups=groups)
    return {measure: found[measure], **found}


def further(
    probabilities: Array,
    targets: Array,
    calibrator: Calibrator,
    valid: tuple[Array, Array] | None,
    classes: Sequence[str],
    train_counts: Sequence[int],
) -> dict[str, Any]:
    """What `metrics.json` says of a classifier besides its scores: calibration, and two classes' curves and thresholds.

    Args:
        probabilities: `(n, classes)` of the reported part, as the network gives them.
        targets: `(n,)` integers.
        calibrator: what makes them as sure as they are right.
        valid: the same of the validation part, on which thresholds are chosen; none where nothing validated.
        classes: names.
        train_counts: training examples of each class; of two, the rarer is the positive one.

    Returns:
        {"calibration"} as `reliability.calibration` has it, and of two classes {"binary"}: {"positive"} and what
        `binary.two_classes` gives.

    Example:
        >>> sure, targets = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])
        >>> further(sure, targets, Calibrator(), None, ["no", "yes"], [9, 1])["binary"]["positive"]
        'yes'
    """
    found: dict[str, Any] = {"calibration": calibration(probabilities, targets, calibrator, valid)}
    if len(classes) == 2:
        positive = int(train_counts[1] <= train_counts[0])
        known = None if valid is None else (calibrator(valid[0])[:, positive], valid[1] == positive)
        curves = two_classes(calibrator(probabilities)[:, positive], targets == positive, known)
        found |= {} if curves is None else {"binary": {"positive": classes[positive], **curves}}
    return found


def _check(split: str, probabilities: Array, targets: Array, train_targets: Array, classes: Sequence[str]) -> None:
    if len(targets) == 0:
        raise DataError(
            f"The {split} part has no example with a label, so there is nothing to score.",
            expected="at least one readable, labelled example",
            fix="Give more data, or a larger share to it (--set split.test=0.2).",
        )
    if len(train_targets) == 0:
        raise DataError(
            "The training part has no example with a label, so there is no baseline to compare with.",
            expected="at least one readable, labelled training example",
            fix="Check the split in examples.parquet.",
        )
    assert probabilities.shape == (len(targets), len(classes))
    bad = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(bad):
        raise TrainingError(
            f"The model's answer is not a number for {len(bad)} of {len(targets)} examples, first in row {bad[0]}.",
            expected="finite probabilities",
            fix="Lower the learning rate (--set optimizer.learning_rate=…) or train in float32.",
        )
