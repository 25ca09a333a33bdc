"""An image is the same to training, evaluation and prediction, whatever form it comes in: the input tensor bit for bit.

Networks in use differ from networks in training by nothing so often as by how their images were prepared.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import nn

import layerwise
from layerwise import api
from layerwise.console import Silent
from layerwise.data.loader import Batch
from layerwise.device import Device
from layerwise.tasks import image_classification
from layerwise.tasks.image_classification import ImageClassification
from layerwise_tests import images

# A size that every picture must be resized and cropped to, normalised by the data: all that can differ does.
RECIPE: dict[str, Any] = {"model": "cnn-32", "data": {"size": 24}, "epochs": 1, "batch_size": 16, "device": "cpu"}
FORMS = ("png", "jpg", "webp", "bmp", "tif", "gif")


@pytest.fixture(autouse=True, scope="module")
def in_float32() -> Iterator[None]:
    """Answers are compared closely, which bfloat16 (on some machines) does not allow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("layerwise.device._native_bfloat16", lambda device: False)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of other shapes than the network's, in all formats."""
    path = tmp_path_factory.mktemp("photos") / "data"
    for kind in images.KINDS:
        (path / kind).mkdir(parents=True)
        for number in range(18):
            whole = Image.fromarray(images.picture(kind, number, side=48))
            whole.crop((0, 0, 48, 36 + number)).save(path / kind / f"{number:03}.{FORMS[number % len(FORMS)]}")
    return path


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> layerwise.Run:
    return api.run_training(str(photos), RECIPE, None, tmp_path_factory.mktemp("run") / "run", Silent())


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Inputs of the network, image by image, in the order in which they come."""
    seen: list[torch.Tensor] = []
    step, answers = ImageClassification.train_step, image_classification.answers

    def watched_step(self: ImageClassification, batch: Batch) -> Any:
        seen.extend(batch.inputs.clone())
        return step(self, batch)

    def watched(batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            seen.extend(batch.inputs.clone())
            yield batch

    def watched_answers(network: nn.Module, batches: Iterator[Batch], device: Device, *blends: Any) -> Any:
        return answers(network, watched(batches), device, *blends)

    monkeypatch.setattr(ImageClassification, "train_step", watched_step)
    monkeypatch.setattr(image_classification, "answers", watched_answers)
    return seen


def keys(inputs: list[torch.Tensor]) -> set[bytes]:
    return {each.contiguous().numpy().tobytes() for each in inputs}


def test_train_evaluate_and_predict_feed_the_same_bits(photos: Path, tmp_path: Path, fed: list[torch.Tensor]) -> None:
    run = api.run_training(str(photos), RECIPE, None, tmp_path / "run", Silent())
    trained = keys(fed)
    assert len(trained) == 54 == len(set(trained))  # every image of every part was seen
    fed.clear()
    model = run.model("cpu")
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    ways = {
        "evaluate": lambda: model.evaluate(photos),
        "folder": lambda: model.predict(photos),
        "paths": lambda: model.predict(files),
        "bytes": lambda: model.predict([path.read_bytes() for path in files]),
        "one by one": lambda: [model.predict(path) for path in files],
    }
    for name, feed in ways.items():
        fed.clear()
        feed()
        assert len(fed) == 54 and keys(fed) == trained, name


@pytest.mark.parametrize("kind", ["uint8", "floats to 1", "floats to 255", "grey", "channels first", "alpha"])
def test_arrays_feed_the_same_bits_in_training_and_prediction(
    kind: str, tmp_path: Path, fed: list[torch.Tensor]
) -> None:
    x, y = images.arrays(20, side=32)
    x[0] = np.clip(x[0], 0, 1)  # nearly black: alone it would look like an image in 0..1
    alpha = np.full((*x.shape[:3], 1), 255, np.uint8)
    x = {
        "uint8": x,
        "floats to 1": x / np.float32(255),
        "floats to 255": x.astype(np.float64),
        "grey": x[..., 0],
        "channels first": x.transpose(0, 3, 1, 2),
        "alpha": np.concatenate([x, alpha], axis=3),
    }[kind]
    recipe = {**RECIPE, "data": {}}  # arrays keep their size
    model = api.run_training((x, y), recipe, None, tmp_path / "run", Silent()).model("cpu")
    trained = keys(fed)
    assert len(trained) == 60
    for feed in (lambda: model.evaluate((x, y)), lambda: model.predict(x), lambda: model.predict(torch.tensor(x))):
        fed.clear()
        feed()
        assert keys(fed) == trained


def test_one_answer_from_the_run_the_file_and_predictions_csv(photos: Path, run: layerwise.Run) -> None:
    written = pl.read_csv(run.path / "predictions.csv")
    tested = [photos / path for path in written["path"]]
    classes = [f"p:{name}" for name in images.KINDS]
    answers = {
        "run": run.model("cpu").predict(tested),
        "folder": layerwise.load(run.path, device="cpu").predict(tested),
        "file": layerwise.load(run.path / "model.safetensors", device="cpu").predict(tested),
    }
    wanted = written.select(classes).to_numpy()
    for name, table in answers.items():
        assert np.array_equal(table.select(classes).to_numpy(), answers["run"].select(classes).to_numpy()), name
        # In a batch of another size a matrix product may add in another order: the last bits of float32 may differ.
        assert np.allclose(table.select(classes).to_numpy(), wanted, rtol=0, atol=2e-6), name
        assert table["predicted"].to_list() == written["predicted"].to_list(), name


def test_evaluating_the_test_part_again_gives_the_figures_of_the_run(
    photos: Path, run: layerwise.Run, tmp_path: Path
) -> None:
    written = pl.read_csv(run.path / "predictions.csv")
    table = tmp_path / "test.csv"
    pl.DataFrame({"path": [str(photos / path) for path in written["path"]], "label": written["label"]}).write_csv(table)
    outcome = layerwise.load(run.path, device="cpu")._model.evaluate(table, Silent(), {})
    classes = [f"p:{name}" for name in images.KINDS]
    assert outcome.predictions["predicted"].to_list() == written["predicted"].to_list()
    assert np.allclose(
        outcome.predictions.select(classes).to_numpy(), written.select(classes).to_numpy(), rtol=0, atol=2e-6
    )
    again, before = outcome.metrics["metrics"], run.metrics["metrics"]
    assert again["accuracy"] == before["accuracy"]
    assert again["log_loss"]["value"] == pytest.approx(before["log_loss"]["value"], abs=1e-5)


def test_a_picture_turned_by_exif_is_answered_like_the_upright_one(
    run: layerwise.Run, tmp_path: Path, fed: list[torch.Tensor]
) -> None:
    upright = Image.fromarray(images.picture("disc", 99, side=48)).crop((0, 0, 48, 40))
    back = {  # EXIF orientation -> what undoes it
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for orientation, turn in back.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright if turn is None else upright.transpose(turn)
        stored.save(tmp_path / f"{orientation}.png", exif=exif)
    model = run.model("cpu")
    alone = pl.concat([model.predict(tmp_path / f"{orientation}.png") for orientation in back])
    assert len(fed) == 8 and len(keys(fed)) == 1
    assert all(len(set(alone[name])) == 1 for name in alone.columns if name != "path")
    together = model.predict(tmp_path)  # beside others, the last bits of a sum may depend on the place in the batch
    assert set(together["predicted"]) == set(alone["predicted"])
    assert np.ptp(together["probability"].to_numpy()) < 1e-5


def test_one_picture_as_an_array_is_told_from_many(run: layerwise.Run) -> None:
    picture = images.picture("disc", 0)
    with pytest.raises(layerwise.LayerwiseError, match=r"looks like one image.*x\[None\]"):
        run.model("cpu").predict(picture)
    assert run.model("cpu").predict(picture[None]).height == 1
