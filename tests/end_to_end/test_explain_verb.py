"""`explain`: a picture and numbers for each input, that add up, and refusals with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerwise import api
from layerwise.cli import call
from layerwise.console import Silent
from layerwise.errors import UsageError
from layerwise_tests import images
from layerwise_tests.runs import only_object
from layerwise_tests.sequences import waves


def train(data: Any, out: Path, values: dict[str, Any]) -> Path:
    return api.run_training(data, {"device": "cpu", **values}, None, out, Silent()).path


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = (
        [f"the {word} film was {word} number {n}" for n in range(60) for word in ("awful", "lovely")],
        ["-", "+"] * 60,
    )
    values = {
        "task": "text-classification",
        "model": "gru",
        "epochs": 15,
        "optimizer": {"learning_rate": 5e-3},
        "split": {"valid": 0.2},
    }
    return train(data, tmp_path_factory.mktemp("texts") / "run", values)


def test_the_word_that_decides_has_the_largest_weight(texts: Path, tmp_path: Path) -> None:
    text = "the lovely film was number 7"
    assert call(["explain", str(texts), text, "--out", str(tmp_path / "why")]) == 0
    (found,) = json.loads((tmp_path / "why" / "explanations.json").read_text())["inputs"]
    words = {word["word"]: word["weight"] for word in found["weights"]}
    assert max(words, key=lambda word: abs(words[word])) == "lovely"
    for word in found["weights"]:
        assert text[word["start"] : word["end"]] == word["word"]
    assert len(list((tmp_path / "why").glob("*.svg"))) == 1


def test_the_same_call_gives_the_same_numbers_and_leaves_the_model(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (texts / "model.safetensors").read_bytes()
    told = []
    for name in ("one", "two"):
        assert call(["explain", str(texts), "an awful film", "--out", str(tmp_path / name), "--json"]) == 0
        only_object(capsys)
        told.append((tmp_path / name / "explanations.json").read_bytes())
    assert told[0] == told[1] and (texts / "model.safetensors").read_bytes() == before


def test_another_class_can_be_asked_for_by_name(texts: Path, tmp_path: Path) -> None:
    found = {}
    for label in ("+", "-"):
        words = [
            "explain",
            str(texts),
            "a lovely film",
            "--set",
            f"class={label}",
            "--out",
            str(tmp_path / f"c{label}"),
        ]
        assert call(words) == 0
        (each,) = json.loads((tmp_path / f"c{label}" / "explanations.json").read_text())["inputs"]
        found[label] = {word["word"]: word["weight"] for word in each["weights"]}
    assert found["+"]["lovely"] > 0 > found["-"]["lovely"]
    assert call(["explain", str(texts), "a lovely film", "--set", "class=maybe"]) == 2


def test_images_and_sequences_have_pictures(tmp_path: Path) -> None:
    pixels, labels = images.arrays(24, side=28)
    values = {"task": "image-classification", "model": "cnn-28", "epochs": 1, "batch_size": 16}
    run = train((pixels, labels), tmp_path / "i", values)
    made = api.explain(run, pixels[:2], out=tmp_path / "heat", show=Silent())
    assert len(list(made.path.glob("*.png"))) == 2
    for each in made.found["inputs"]:
        grid = np.asarray(each["grid"])
        assert grid.ndim == 2 and grid.min() >= 0 and grid.max() <= 1
    run = train(
        (waves(60), ["slow", "fast"] * 30),
        tmp_path / "s",
        {"task": "sequence-classification", "model": "gru-stack", "epochs": 2, "split": {"valid": 0.2}},
    )
    made = api.explain(run, waves(2), out=tmp_path / "steps", show=Silent())
    assert len(list(made.path.glob("*.svg"))) == 2


def test_a_generator_has_nothing_to_explain(tmp_path: Path) -> None:
    pixels = images.arrays(40, side=28)[0]
    judge = {"network": "small", "samples": 50, "epoch_samples": 50, "steps": 2}
    run = train(pixels, tmp_path / "v", {"task": "vae", "model": "vae-tutorial", "epochs": 1, "judge": judge})
    with pytest.raises(UsageError, match="explained"):
        api.explain(run, pixels[:1], out=tmp_path / "why", show=Silent())
    assert not (tmp_path / "why").exists()
