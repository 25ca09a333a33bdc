"""`explain` as a person types it: a picture and numbers for each input, that add up, and refusals with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from layerwise import api
from layerwise.cli import call
from layerwise.console import Silent
from layerwise.errors import UsageError
from layerwise.store.model_file import save_model
from layerwise.tasks import TASKS
from layerwise_tests import images
from layerwise_tests.explained import SQUARES, image_classifier, sequence_classifier, squares, text_classifier
from layerwise_tests.runs import only_object
from layerwise_tests.sequences import waves
from layerwise_tests.texts import BAD, GOOD, film_reviews


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(model: Any, path: Path) -> Path:
    """A model's file."""
    save_model(path, model.task.network.state_dict(), model.card)
    return path


def test_people_get_a_line_an_input_and_a_folder_with_pictures_and_numbers(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(text_classifier("nb-bag"), here / "model.safetensors")
    before = file.read_bytes()
    texts = ["a good film", "a bad plot, very", "it was so", " x "]
    assert call(["explain", str(file), *texts, "--set", "most=3", "--out", "why"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("x[0]  ") and "“" in lines[0]
    assert lines[3] == "1 more was left out; --set most=N explains more."
    found = json.loads((here / "why" / "explanations.json").read_text())
    assert found["method"] == "sum of the words" and found["n"] == 3 and found["left_out"] == 1
    for each in found["inputs"]:
        assert (here / "why" / each["picture"]).read_bytes().startswith(b"<svg")
    assert file.read_bytes() == before


def test_json_is_one_object_and_the_folder_is_a_new_one_under_runs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(sequence_classifier("gru-stack", channels=1), here / "model.safetensors")
    np.savez(here / "new.npz", x=np.random.default_rng(0).normal(size=(2, 20, 1)))
    assert call(["explain", str(file), "new.npz", "--set", "class=c", "--json"]) == 0
    found = only_object(capsys)
    assert Path(found["explain"]).parent == Path("runs") and found["inputs"][0]["class"] == "c"
    assert len(list((here / found["explain"]).iterdir())) == 3


def test_a_class_that_is_a_number_is_taken_as_it_was_typed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = text_classifier("nb-bag")
    card = model.card.model_copy(update={"classes": ("007", "8")})
    save_model(here / "m.safetensors", model.task.network.state_dict(), card)
    assert call(["explain", "m.safetensors", "a good film", "--set", "class=007", "--json"]) == 0
    assert only_object(capsys)["inputs"][0]["class"] == "007"
    assert call(["explain", "m.safetensors", "a good film", "--set", "class=8", "--json"]) == 0


def test_a_wrong_call_leaves_nothing_behind(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(text_classifier("nb-bag"), here / "model.safetensors")
    assert call(["explain", str(file), "a good film", "--set", "class=z", "--out", "why"]) == 2
    assert call(["explain", str(file), "a good film", "--set", "mots=3", "--out", "why"]) == 2
    assert 'Did you mean "most"?' in capsys.readouterr().err and not (here / "why").exists()
    (here / "full").mkdir()
    (here / "full" / "mine.txt").write_text("keep")
    assert call(["explain", str(file), "a good film", "--out", "full"]) == 2
    assert [each.name for each in (here / "full").iterdir()] == ["mine.txt"]


def test_a_network_of_ones_own_is_explained_in_python(here: Path) -> None:
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    network = torch.nn.Sequential(*layers, torch.nn.Linear(4, 4))
    file = written(image_classifier(network, 32, SQUARES), here / "model.safetensors")
    done = api.explain(file, squares(2, 32, seed=0)[0], network=network, show=Silent())
    assert done.found["method"] == "Grad-CAM" and len(done.found["inputs"][0]["grid"]) == 30
    assert api.load(file, network=network).explain(squares(2, 32, seed=0)[0], most=1).left_out == 1


def test_a_task_that_gives_no_answer_is_refused(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    assert all(TASKS[name].explain is None for name in ("vae", "gan"))
    assert all(TASKS[name].explain is not None for name in TASKS if name not in ("vae", "gan"))
    file = written(text_classifier("nb-bag"), here / "model.safetensors")
    model = api.load(file)
    monkeypatch.setattr("layerwise.trained.task_entry", lambda name: TASKS["vae"])
    with pytest.raises(UsageError, match="no answer that could be explained"):
        model.explain(["a good film"])


# Models that were trained


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nb-bag", "gru"])
def test_the_words_that_tell_weigh_most_in_a_trained_model(here: Path, name: str) -> None:
    run = api.run_training(film_reviews(400), {"model": name, "epochs": 6}, None, here / "run", Silent())
    found = run.model().explain(film_reviews(30, seed=5)[0])
    telling = [item.words.split("”")[0].removeprefix("“") in (*GOOD, *BAD) for item in found.items]
    assert np.mean(telling) >= 0.9
