"""`TextClassifier`, `SequenceClassifier` and `Forecaster` by scikit-learn's conventions."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from layerwise import Forecaster, SequenceClassifier, TextClassifier
from layerwise.errors import DataError

GOOD, BAD = ("a good film with a good heart", "good and warm", "so very good"), ("a bad plot", "bad and dull", "so bad")
TEXTS = [f"{text} {number}" for number in range(12) for text in (*GOOD, *BAD)]
MOODS = np.array([1, 1, 1, 0, 0, 0] * 12)
QUICK = TextClassifier("nb-bag", epochs=12, seed=0)


def waves(count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Slow and fast waves of 10 to 20 steps."""
    random = np.random.default_rng(0)
    fast = np.arange(count) % 2
    found = [
        np.sin(np.arange(random.integers(10, 20)) * (2.5 if each else 0.5) + random.uniform(0, 6)) for each in fast
    ]
    return found, np.array(["slow", "fast"])[fast]


def test_texts_are_told_apart_and_labels_come_back_as_they_were() -> None:
    fitted = clone(QUICK).fit(TEXTS, MOODS)
    assert fitted.predict(["good", "bad"]).tolist() == [1, 0]
    assert fitted.classes_.tolist() == [0, 1] and fitted.predict_proba(["good"]).shape == (1, 2)
    assert fitted.score(TEXTS, MOODS) > 0.9
    assert [each["name"] for each in fitted.metrics_["baselines"]][-1] == "majority class"


def test_texts_in_cross_validation() -> None:
    assert cross_val_score(QUICK, TEXTS, MOODS, cv=2).min() > 0.8


def test_an_input_that_cannot_be_used_is_an_error_and_no_class() -> None:
    fitted = clone(QUICK).fit(TEXTS, MOODS)
    with pytest.raises(DataError, match="1 of 2 inputs cannot be used; the first is row 1"):
        fitted.predict(["good", "  "])


def test_blank_labels_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 72 labels are blank"):
        clone(QUICK).fit(TEXTS, ["", *(str(mood) for mood in MOODS[1:])])


def test_sequences_of_unequal_length() -> None:
    x, y = waves(60)
    fitted = SequenceClassifier("gru-stack", epochs=12, seed=0).fit(x, y)
    assert fitted.score(x, y) > 0.9 and set(fitted.predict(x[:4])) == {"slow", "fast"}


def test_sequences_of_one_length_as_an_array() -> None:
    x, y = waves(60)
    same = np.stack([each[:10] for each in x])  # (N, T)
    fitted = SequenceClassifier("fcn", epochs=4, seed=0).fit(same, y)
    assert fitted.predict_proba(same[:3]).shape == (3, 2)


def test_a_forecaster_continues_what_it_was_given_and_other_series() -> None:
    season = np.tile([1.0, 5.0, 2.0, 8.0], 30)
    fitted = Forecaster(horizon=4, model="linear", seed=0).fit(season)
    found = fitted.predict()
    assert np.allclose(found["forecast"], [1, 5, 2, 8], atol=0.2)
    other = fitted.predict(np.tile([3.0, 15.0, 6.0, 24.0], 30)[:-2])
    assert np.allclose(other["forecast"], [6, 24, 3, 15], atol=0.6)
    assert isinstance(found, pl.DataFrame) and fitted.score(season) >= -0.2


def test_forecasters_can_be_cloned() -> None:
    assert clone(Forecaster(horizon=3, model="linear")).get_params()["horizon"] == 3
