"""Runs of VAE and GAN from images to report, and their resumption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import layerwise
from layerwise import api
from layerwise.cli import call
from layerwise.console import Silent
from layerwise.errors import DataError, StoreError, TrainingError, UsageError
from layerwise_tests.runs import fingerprint, only_object, stop_after
from layerwise_tests.shapes import shapes

SMALL: dict[str, Any] = {
    "seed": 3,
    "batch_size": 16,
    "save_seconds": 0.0,  # a checkpoint after each step
    "device": "cpu",
    "judge": {"network": "small", "samples": 60, "epoch_samples": 60, "steps": 3},
}
TASKS = {
    "vae": {**SMALL, "task": "vae", "stages": [{"name": "vae-tutorial", "epochs": 2, "learning_rate": 1e-3}]},
    "gan": {
        **SMALL,
        "task": "gan",
        "epoch_steps": 6,
        "stages": [{"name": "gan-tutorial", "epochs": 2, "learning_rate": 1e-3}],
    },
}
SAMPLES = {"vae": "pictures/reconstructions.png", "gan": "pictures/nearest.png"}


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, list[str]]:
    return shapes(120)


@pytest.fixture(scope="module", params=["vae", "gan"])
def straight(request: pytest.FixtureRequest, data: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(request.param, data, tmp_path_factory.mktemp("straight") / "run").path


def train(task: str, given: Any, out: Path, **changes: Any) -> api.Run:
    return api.run_training(given, {**TASKS[task], **changes}, None, out, Silent())


def test_a_run_leaves_all_its_files(straight: Path, data: tuple[np.ndarray, list[str]]) -> None:
    metrics = json.loads((straight / "metrics.json").read_text())
    task = metrics["task"]
    examples = pl.read_parquet(straight / "examples.parquet")
    assert metrics["n"] == examples.filter(pl.col("split") == "test").height >= 12
    assert {"distance", "kid", "density", "coverage"} <= set(metrics["metrics"])
    assert ({"negative_elbo", "reconstruction", "kl", "nll"} <= set(metrics["metrics"])) == (task == "vae")
    assert metrics["verdict"].startswith(("Better than", "Not better than", "Worse than"))
    assert metrics["generation"]["real"]["distance"]["value"] >= 0 and metrics["generation"]["alarms"] is not None
    predictions = pl.read_csv(straight / "predictions.csv")
    assert predictions.columns[:4] == ["id", "path", "label", "score"] and predictions.height == metrics["n"]
    for name in ("samples/epoch-0001.png", "samples/epoch-0002.png", "pictures/samples.png", SAMPLES[task]):
        with Image.open(straight / name) as picture:
            assert min(picture.size) >= 28 and picture.mode == "L"
    page = (straight / "report.html").read_text()
    assert len(page) > 20_000 and "is missing" not in page and "cannot be used" not in page
    model = layerwise.load(straight)
    table = model.predict(data[0][predictions["id"].to_numpy()])
    np.testing.assert_allclose(table["score"].to_numpy(), predictions["score"].to_numpy(), rtol=1e-4, atol=1e-3)


# 96 training images in batches of 16: 6 steps an epoch of a VAE; of a GAN an epoch is several passes.
@pytest.mark.parametrize("steps", [1, 5, 6, 7, 11])
def test_a_stop_at_any_step_changes_nothing(
    steps: int, straight: Path, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = json.loads((straight / "metrics.json").read_text())["task"]
    with monkeypatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(TrainingError, match=r"data=\.\.\."):
            train(task, data, tmp_path / "run", save_seconds=1e9)
    api.resume(tmp_path / "run", data=data, show=Silent())
    assert fingerprint(tmp_path / "run") == fingerprint(straight)
    for picture in sorted((straight / "samples").iterdir()):
        assert (tmp_path / "run" / "samples" / picture.name).read_bytes() == picture.read_bytes()


def test_the_same_seed_samples_the_same_images_and_another_does_not(straight: Path) -> None:
    model = layerwise.load(straight)
    samples = model.sample(6, seed=5)
    assert samples.shape == (6, 28, 28, 1) and samples.dtype == np.uint8
    np.testing.assert_array_equal(samples, layerwise.load(straight).sample(6, seed=5))
    np.testing.assert_array_equal(samples[:2], model.sample(2, seed=5))
    assert (samples != model.sample(6, seed=6)).any()
    with pytest.raises(UsageError, match="label|class"):
        model.sample(2, label="disc")


def test_only_a_vae_reconstructs(straight: Path, data: tuple[np.ndarray, list[str]]) -> None:
    model = layerwise.load(straight)
    if model.card.task == "gan":
        with pytest.raises(UsageError, match="cannot reconstruct"):
            model.reconstruct(data[0][:2])
        return
    assert model.reconstruct(data[0][:2]).shape == (2, 28, 28, 1)
    assert model.interpolate(data[0][0], data[0][1], steps=5).shape == (5, 28, 28, 1)
    assert model.traverse(steps=3).shape == (2, 3, 28, 28, 1)


def test_the_command_samples_into_a_sheet_an_array_and_a_folder(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("new.png", "new.npz", "new"):
        assert call(["sample", str(straight), "-n", "5", "--seed", "2", "--out", str(tmp_path / name), "--json"]) == 0
        assert only_object(capsys) == {"samples": str(tmp_path / name), "n": 5, "seed": 2}
    with np.load(tmp_path / "new.npz", allow_pickle=False) as file:
        wanted = file["x"]
    with Image.open(tmp_path / "new" / "0003.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), wanted[3, ..., 0])
    assert len(list((tmp_path / "new").iterdir())) == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "new.jpg"], "suffix .jpg"),
        (["--out", "nowhere/new.png"], "no folder"),
        (["--set", "truncaton=0.5"], "truncation"),
        (["--set", "label=disc"], "disc"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(
    words: list[str], said: str, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["sample", str(straight), *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("task", ["vae", "gan"])
def test_a_conditional_network_draws_the_class_that_is_asked_for(task: str, tmp_path: Path) -> None:
    images, names = shapes(120, channels=3)
    stages = [{"name": task, "epochs": 1, "learning_rate": 1e-3}]
    run = train(task, (images, names), tmp_path / "run", stages=stages, conditional=True)
    model = run.model()
    assert model.classes == ("bar", "disc")
    samples = model.sample(4, label="disc")
    assert samples.shape == (4, 28, 28, 3) and (samples != model.sample(4, label="bar")).any()
    with pytest.raises(UsageError, match="disc"):
        model.sample(2, label="disk")


@pytest.mark.parametrize("task", ["vae", "gan"])
def test_a_flat_folder_of_files_trains_and_goes_on(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(shapes(60, side=36)[0]):
        Image.fromarray(image[..., 0]).save(folder / f"{number:02}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG no")
    size = {"data": {"size": 28, "channels": 1}}
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        with pytest.raises(TrainingError, match="layerwise resume"):
            train(task, folder, tmp_path / "run", **size)
    run = api.resume(tmp_path / "run", show=Silent())
    assert run.model().card.network["channels"] == 1
    assert pl.read_parquet(run.path / "examples.parquet")["problem"].count() == 1
    assert api.report(run.path).is_file()
    (folder / "new.png").write_bytes((folder / "00.png").read_bytes())
    with pytest.raises(StoreError, match="examples now"):
        api.resume(run.path, show=Silent())


@pytest.mark.parametrize("task", ["vae", "gan"])
def test_labels_are_asked_for_where_they_are_missing(task: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels"):
        train(task, shapes(40)[0], tmp_path / "run", conditional=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["vae", "gan"])
def test_the_tutorial_network_may_compete(task: str, data: Any, tmp_path: Path) -> None:
    stages = [{"name": name, "epochs": 1, "learning_rate": 1e-3} for name in (task, f"{task}-tutorial")]
    run = train(task, data, tmp_path / "run", stages=stages)
    assert run.model().card.model in (task, f"{task}-tutorial")
    log = [json.loads(line)["stage"] for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert log == [task, f"{task}-tutorial"]
