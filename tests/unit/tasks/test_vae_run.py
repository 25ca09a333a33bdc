from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from layerwise.config import build
from layerwise.console import Silent
from layerwise.errors import DataError, RecipeError, StoreError, UsageError
from layerwise.metrics.generation import auroc
from layerwise.store.model_file import load_model, save_model
from layerwise.tasks import vae_model, vae_run
from layerwise.tasks.job import Job, Outcome
from layerwise.tasks.vae_latents import VaeLook
from layerwise.tasks.vae_model import VaeModel
from layerwise.tasks.vae_recipe import VaeRecipe
from layerwise_tests.runs import trained
from layerwise_tests.shapes import shapes
from layerwise_tests.vaes import Tiny

FAST: dict[str, Any] = {
    "device": "cpu",
    "epochs": 3,
    "batch_size": 16,
    "importance": 20,
    "mixture": 3,
    "network": {"latent": 4, "width": 8},
    "optimizer": {"learning_rate": 3e-3},
    # Features of a network that has hardly been trained: what is judged here is not how good samples are.
    "judge": {"network": "small", "samples": 50, "epoch_samples": 50, "steps": 3},
}


def prepared(data: Any, own: torch.nn.Module | None = None, **changes: Any) -> Job:
    return vae_run.prepare(data, {**FAST, **changes}, own, Silent())


def finished(job: Job, folder: Path) -> tuple[Outcome, VaeModel]:
    outcome = job.finish({}, trained(job))
    save_model(folder / "model.safetensors", job.task.tensors(), outcome.card)
    card, tensors = load_model(folder / "model.safetensors")
    return outcome, vae_model.restore(card, tensors, None, "cpu")


@pytest.fixture(scope="module")
def data() -> tuple[NDArray[np.uint8], list[str]]:
    return shapes(200, side=12)


@pytest.fixture(scope="module")
def made(data: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, VaeModel]:
    return finished(prepared(data, epochs=40), tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, VaeModel]:
    job = prepared(shapes(160, side=12, channels=3), conditional=True, network={"latent": 2, "width": 8})
    return finished(job, tmp_path_factory.mktemp("told"))


# The outcome


def test_figures_have_intervals_and_add_up(made: tuple[Outcome, VaeModel]) -> None:
    outcome, _ = made
    metrics = outcome.metrics["metrics"]
    assert {"negative_elbo", "reconstruction", "kl", "nll", "active_units", "distance"} <= set(metrics)
    for found in metrics.values():
        assert found["low"] <= found["value"] <= found["high"]
    value = {name: found["value"] for name, found in metrics.items()}
    assert value["negative_elbo"] == pytest.approx(value["reconstruction"] + value["kl"])
    assert value["nll"] < value["negative_elbo"]
    assert outcome.predictions["score"].to_numpy().mean() == pytest.approx(value["negative_elbo"])
    assert outcome.metrics["baseline"]["name"] == "mean image"
    assert outcome.metrics["baseline"]["metrics"]["negative_elbo"]["value"] > value["negative_elbo"]
    assert outcome.metrics["verdict"].startswith("Better than the mean image")
    assert {each["name"] for each in outcome.metrics["generation"]["samplers"]} >= {"N(0, I)", "Gaussian mixture"}
    json.dumps(outcome.metrics, allow_nan=False)


def test_predictions_hold_the_scores_and_latents_of_the_reported_part(made: tuple[Outcome, VaeModel]) -> None:
    table = made[0].predictions
    assert table.columns == ["id", "path", "label", "score", "reconstruction", "kl", *(f"z{z}" for z in range(4))]
    assert table.height == made[0].metrics["n"] == 20
    np.testing.assert_allclose(table["score"], table["reconstruction"] + table["kl"])


def test_pictures_are_of_the_agreed_names_and_sizes(made: tuple[Outcome, VaeModel]) -> None:
    sizes = {}
    for name, content in made[0].files.items():
        if name.startswith("pictures/"):
            with Image.open(io.BytesIO(content)) as picture:
                sizes[name.removeprefix("pictures/")] = picture.size
    assert sizes["samples.png"] == (8 * 13 - 1, 8 * 13 - 1)
    assert sizes["traversal.png"] == (9 * 13 - 1, 4 * 13 - 1)
    assert {"reconstructions.png", "interpolation.png", "outliers.png"} <= set(sizes) and "plane.png" not in sizes


def test_a_model_from_its_file_scores_as_the_run_did(
    made: tuple[Outcome, VaeModel], data: tuple[NDArray[np.uint8], list[str]]
) -> None:
    outcome, model = made
    table = model.predict(data[0][outcome.predictions["id"].to_numpy()], Silent())
    for name in ("score", "kl", "z0"):
        np.testing.assert_allclose(table[name], outcome.predictions[name], rtol=1e-4, atol=1e-4)
    assert table.columns[:3] == ["path", "score", "percentile"] and table.columns[-1] == "problem"
    assert 10 < table["percentile"].to_numpy().mean() < 90


def test_an_image_that_cannot_be_read_has_its_problem(made: tuple[Outcome, VaeModel], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((12, 12), np.uint8)).save(tmp_path / "b.png")
    table = made[1].predict([tmp_path / "a.png", tmp_path / "b.png"], Silent())
    assert table["score"].is_null().to_list() == [True, False] and table["problem"].is_null().to_list() == [False, True]
    with pytest.raises(DataError, match=r"a\.png"):
        made[1].reconstruct([tmp_path / "a.png"])


def test_other_data_are_evaluated_with_labels_or_without(made: tuple[Outcome, VaeModel]) -> None:
    images, names = shapes(30, side=12, seed=1)
    for given in ((images, names), images):
        outcome = made[1].evaluate(given, Silent(), {})
        assert outcome.metrics["n"] == 30 and outcome.predictions.height == 30
        assert outcome.metrics["verdict"].startswith(("Better than", "Not better than"))
    with pytest.raises(UsageError, match="time"):
        made[1].evaluate(images, Silent(), {"time": "t"})


# What a model makes


def test_samples_follow_from_the_seed_and_the_first_from_nothing_else(made: tuple[Outcome, VaeModel]) -> None:
    model = made[1]
    for sampler in ("auto", "normal", "mixture"):
        many = model.sample(70, {"seed": 3, "sampler": sampler})
        assert many.shape == (70, 12, 12, 1) and many.dtype == np.uint8
        np.testing.assert_array_equal(model.sample(5, {"seed": 3, "sampler": sampler}), many[:5])
    assert (model.sample(5, {"seed": 4}) != model.sample(5, {"seed": 3})).any()
    assert (model.sample(5, {"sampler": "normal"}) != model.sample(5, {"sampler": "mixture"})).any()
    with pytest.raises(UsageError, match="no classes"):
        model.sample(2, {"label": "disc"})
    with pytest.raises(RecipeError, match="truncation"):
        model.sample(2, {"truncaton": 1.0})


def test_the_ends_of_an_interpolation_are_the_reconstructions(
    made: tuple[Outcome, VaeModel], data: tuple[NDArray[np.uint8], list[str]]
) -> None:
    pair, model = data[0][:2], made[1]
    between = model.interpolate(pair[0], pair[1], 5)
    np.testing.assert_array_equal(between[[0, -1]], model.reconstruct(pair))
    with pytest.raises(UsageError, match="steps"):
        model.interpolate(pair[0], pair[1], 1)
    with pytest.raises(UsageError, match="3 images"):
        model.interpolate(data[0][:2], pair[1], 5)


def test_the_middle_of_a_traversal_is_where_it_starts(made: tuple[Outcome, VaeModel]) -> None:
    along = made[1].traverse(None, 2.0, 3)
    assert along.shape == (4, 3, 12, 12, 1)
    assert (along[:, 1] == along[0, 1]).all() and (along[:, 0] != along[:, 2]).any()
    assert made[1].traverse(np.zeros((12, 12), np.uint8), 2.0, 3).shape == along.shape
    with pytest.raises(UsageError, match="4 latents"):
        made[1].plane()


def test_two_latents_have_a_plane(told: tuple[Outcome, VaeModel]) -> None:
    assert told[1].plane(5, label="disc").shape == (25, 12, 12, 3)
    assert "pictures/plane.png" in told[0].files


# Classes


def test_a_conditional_model_draws_a_class_and_scores_without_one(told: tuple[Outcome, VaeModel]) -> None:
    outcome, model = told
    assert model.card.classes == ("bar", "disc") and len(model.look.shares) == 2
    assert (model.sample(6, {"label": "bar"}) != model.sample(6, {"label": "disc"})).any()
    np.testing.assert_array_equal(
        model.sample(6, {"sampler": "normal"})[[0, 2, 4]],
        model.sample(6, {"sampler": "normal", "label": "bar"})[[0, 2, 4]],
    )
    images = shapes(160, side=12, channels=3)[0]
    table = model.predict(images[outcome.predictions["id"].to_numpy()], Silent())
    np.testing.assert_allclose(table["score"], outcome.predictions["score"], rtol=1e-4)
    assert model.reconstruct(images[:3]).shape == (3, 12, 12, 3)
    assert model.traverse(images[0], 1.0, 2).shape == (2, 2, 12, 12, 3)
    with pytest.raises(DataError, match="ring"):
        model.evaluate((images[:2], ["ring", "disc"]), Silent(), {})


def test_a_conditional_network_asks_for_labels() -> None:
    with pytest.raises(DataError, match="label"):
        prepared(shapes(60, side=12)[0], conditional=True)


# Stages, snapshots, networks


def test_a_rival_trains_for_about_the_same_cost_and_is_named() -> None:
    images = shapes(90, side=28)[0]
    job = prepared(images, rival=True, epochs=1)
    first, second = job.stages
    assert (first.name, second.name) == ("vae", "vae-tutorial") and second.epochs >= 1
    again = vae_run.prepare(images, job.recipe.model_dump(exclude_none=True), None, Silent())  # as a resumed run does
    assert again.stages == job.stages
    outcome = job.finish({}, trained(job))
    names = [each["name"] for each in outcome.metrics["generation"]["networks"]]
    assert names == ["vae", "vae-tutorial"] and "at about the same cost" in outcome.metrics["verdict"]


def test_a_snapshot_draws_the_same_noise_and_leaves_the_generator_of_training_alone(data: Any) -> None:
    job = prepared(data)
    job.enter(job.stages[0], Silent(), False)
    state = torch.get_rng_state()
    first, second = job.snapshot(1), job.snapshot(2)
    assert torch.equal(state, torch.get_rng_state())
    assert list(first) == ["samples/epoch-0001.png"] and list(first.values()) == list(second.values())


def test_few_images_are_passed_over_more_often_unless_epochs_are_named(data: Any) -> None:
    short = {key: value for key, value in FAST.items() if key != "epochs"}
    assert vae_run.prepare(data, short, None, Silent()).stages[0].epochs == 150  # 1,500 steps of 16 of 160 images
    assert prepared(data).stages[0].epochs == 3


def test_a_budget_shortens_the_stages(data: Any) -> None:
    job = prepared(data, epochs=100_000, budget=20.0)
    assert 0 < job.stages[0].epochs < 100_000 and job.deadline is not None


def test_a_network_of_ones_own_trains_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    images = shapes(80, side=8)[0]
    job = prepared(images, Tiny(), network={})
    outcome = job.finish({}, trained(job))
    assert outcome.card.model == "custom" and "pictures/plane.png" in outcome.files
    model = vae_model.restore(outcome.card, job.task.tensors(), Tiny(), "cpu")
    assert model.sample(2, {}).shape == (2, 8, 8, 1)
    with pytest.raises(StoreError, match="your own network"):
        vae_model.restore(outcome.card, job.task.tensors(), None, "cpu")
    with pytest.raises(UsageError, match="encode"):
        prepared(images, torch.nn.Linear(2, 2), network={})
    with pytest.raises(UsageError, match="not given"):
        prepared(images, model="custom")


def test_a_card_that_contradicts_itself_is_refused(made: tuple[Outcome, VaeModel]) -> None:
    outcome, model = made
    tensors = model.drawing.network.state_dict()
    look = model.look.model_dump(mode="json")
    broken = [
        outcome.card.model_copy(update={"classes": ("a",)}),
        outcome.card.model_copy(update={"preprocess": {**look, "image": {**look["image"], "height": 16}}}),
        outcome.card.model_copy(update={"preprocess": {**look, "mixture": _wider(look["mixture"])}}),
    ]
    for card in broken:
        with pytest.raises(StoreError, match="model file"):
            vae_model.restore(card, tensors, None, "cpu")


def _wider(mixture: dict[str, Any]) -> dict[str, Any]:
    """The same Gaussians over one latent more."""
    means = [[*row, 0.0] for row in mixture["means"]]
    return {**mixture, "means": means, "factors": [[*row, *[0.0] * len(means[0])] for row in mixture["factors"]]}


def test_the_look_of_a_card_comes_back_as_it_was(made: tuple[Outcome, VaeModel]) -> None:
    assert build(VaeLook, json.loads(json.dumps(made[0].card.preprocess))) == made[1].look


def test_every_key_of_the_recipe_survives_toml(data: Any) -> None:
    recipe = prepared(data, kl={"warmup": 0.5, "free_bits": 0.1}).recipe
    assert isinstance(recipe, VaeRecipe)
    assert build(VaeRecipe, recipe.model_dump(mode="json", exclude_none=True)) == recipe


# Anomalies


@pytest.mark.slow
def test_planted_outliers_have_the_highest_scores() -> None:
    digits = (load_digits().images * 255 / 16).astype(np.uint8)
    job = prepared(digits, epochs=30, batch_size=64, network={"latent": 8, "width": 16})
    outcome = job.finish({}, trained(job))
    model = vae_model.restore(outcome.card, job.task.tensors(), None, "cpu")
    held = digits[outcome.predictions["id"].to_numpy()]
    shuffled = held.reshape(len(held), -1)[:, np.random.default_rng(0).permutation(64)].reshape(held.shape)
    for planted in (255 - held, shuffled, held.transpose(0, 2, 1)):
        table = model.predict(np.concatenate([held, planted[:40]]), Silent())
        is_outlier = np.arange(table.height) >= len(held)
        found = auroc(table["score"].to_numpy(), is_outlier)
        assert found["low"] > 0.9
    assert (table["percentile"].to_numpy()[is_outlier] > 90).mean() > 0.5
