"""What a finished run explains: the right examples, as far as there is time, and never an end of the run."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from layerwise.errors import UsageError
from layerwise.report.explained import heat_png
from layerwise.tasks import TASKS
from layerwise.tasks.explained_examples import Chosen, choose, explained_files
from layerwise.tasks.explanation import Explained, Explanation
from layerwise.tasks.run_recipe import EXPLAINED
from layerwise.tasks.text_recipe import TextRecipe

ENTRY = TASKS["image-classification"]
SOME = [Chosen(row, "wrong" if row % 2 else "right", f"{row}.png", "cat") for row in range(8)]


def answers(labels: str, said: str, losses: list[float]) -> pl.DataFrame:
    return pl.DataFrame(
        {"id": range(len(labels)), "path": list(labels), "label": list(labels), "predicted": list(said), "loss": losses}
    )


def explain(model: Any, examples: Mapping[int, Any], picture: bytes = b"<svg/>") -> Explained:
    items = [Explanation(str(row), words="all of it", picture=picture, predicted="cat") for row in examples]
    return Explained("a method", "a paper", "what it means", tuple(items), 0)


def files(using: Any = explain, seconds: float = 9.0, **options: Any) -> dict[str, bytes]:
    entry = replace(ENTRY, explain_examples=using)
    return explained_files(entry, lambda: None, SOME, options.get("example", lambda row: row), seconds)


def record(made: dict[str, bytes]) -> dict[str, Any]:
    found = json.loads(made["explained.json"])
    assert isinstance(found, dict)
    return found


def test_the_costliest_mistakes_and_the_surest_of_each_class_come_in_turn() -> None:
    table = answers("aaabbbaa", "aaabbabb", [0.1, 0.2, 0.3, 0.6, 0.5, 2.0, 4.0, 3.0])
    assert [(each.id, each.why) for each in choose(table, 5)] == [
        (6, "wrong"),
        (0, "right"),
        (7, "wrong"),
        (4, "right"),
        (5, "wrong"),
    ]


def test_where_nothing_is_wrong_all_are_right_ones() -> None:
    chosen = choose(answers("abab", "abab", [0.4, 0.3, 0.2, 0.1]), 3)
    assert [(each.id, each.why) for each in chosen] == [(3, "right"), (2, "right"), (1, "right")]
    assert choose(answers("abab", "abab", [0.1] * 4), 0) == []


def test_of_forecasts_the_worst_and_the_best_series_are_chosen_once() -> None:
    table = pl.DataFrame(
        {"id": [0, 0, 1, 2], "series": list("aabc"), "y": [1.0, 1.0, 1.0, 1.0], "forecast": [1.0, 1.1, 9.0, 2.0]}
    )
    assert [(each.path, each.why) for each in choose(table, 4)] == [("b", "worst"), ("a", "best"), ("c", "worst")]


def test_samples_of_a_generator_are_not_explained() -> None:
    assert choose(pl.DataFrame({"id": [0], "score": [1.0]}), 4) == []
    assert explained_files(TASKS["vae"], lambda: None, SOME, lambda row: row, 9.0) == {}


def test_pictures_and_words_are_kept_by_number() -> None:
    made = files()
    assert made["explained/3.svg"] == b"<svg/>" and len(made) == 9
    found = record(made)
    assert found["method"] == "a method" and found["reason"] is None and found["left_out"] == 0
    assert found["inputs"][3] == {
        "id": 3, "why": "wrong", "path": "3.png", "label": "cat", "predicted": "cat", "probability": None,
        "words": "all of it", "problem": None, "picture": "3.svg",
    }  # fmt: skip


def test_a_heavy_picture_becomes_a_jpeg() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    heavy = heat_png(noise, np.ones((224, 224), np.float32))

    def draw(model: Any, examples: Mapping[int, Any]) -> Explained:
        whole = explain(model, examples, heavy)
        return replace(whole, items=tuple(replace(each, kind="png") for each in whole.items))

    content = files(draw)["explained/0.jpg"]
    assert len(content) < 0.6 * len(heavy) and Image.open(io.BytesIO(content)).size[0] == 456


def test_there_is_a_stop_where_time_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def slow(model: Any, examples: Mapping[int, Any]) -> Explained:
        now[0] += len(examples)  # a second each
        return explain(model, examples)

    found = record(files(slow, seconds=5.0))
    assert len(found["inputs"]) == 5 and found["left_out"] == 3


def test_a_spent_budget_explains_nothing_and_says_so() -> None:
    made = files(seconds=1.0)
    assert set(made) == {"explained.json"} and record(made)["reason"] == "The budget left no time for them."


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UsageError("It has no map.", expected="a convolution"), "It has no map. Expected: a convolution."),
        (RuntimeError("out of memory"), "They could not be explained (RuntimeError: out of memory)."),
    ],
)
def test_a_failure_becomes_a_reason(error: Exception, reason: str) -> None:
    def fail(model: Any, examples: Mapping[int, Any]) -> Explained:
        raise error

    made = files(fail)
    assert set(made) == {"explained.json"} and record(made)["reason"] == reason and record(made)["left_out"] == 8


def test_examples_that_are_not_at_hand_are_left_out() -> None:
    found = record(files(example=lambda row: None if row < 5 else row))
    assert [each["id"] for each in found["inputs"]] == [5, 6, 7] and found["left_out"] == 5


def test_the_key_takes_a_number_or_yes_or_no() -> None:
    counts = [TextRecipe.model_validate({"explain": value}).explain for value in (False, True, 4)]
    assert counts == [0, EXPLAINED, 4] and TextRecipe().explain == EXPLAINED
