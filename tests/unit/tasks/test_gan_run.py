"""A run of a GAN from images to outcome, and the model that comes back from its file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import nn

from layerwise.console import Silent
from layerwise.data.split import SplitRecipe
from layerwise.device import pick
from layerwise.device import seed as set_seed
from layerwise.errors import DataError, StoreError, UsageError
from layerwise.store.model_file import ModelCard, load_model, save_model
from layerwise.tasks import gan_model, gan_run, generator_data
from layerwise.tasks.feature_network import JudgeRecipe, feature_network
from layerwise.tasks.gan import Gan
from layerwise.tasks.gan_model import GanModel
from layerwise.tasks.generator_data import GeneratorDataRecipe
from layerwise.tasks.job import Job, Outcome
from layerwise_tests.shapes import shapes
from layerwise_tests.tiny_gan import TinyGan

SIDE = 8
TINY: dict[str, Any] = {
    "task": "gan",
    "model": "gan-tutorial",
    "device": "cpu",
    "precision": "float32",
    "batch_size": 8,
    "epoch_steps": 4,
    "epochs": 2,
    "network": {"latent": 4},
    "judge": {"network": "small", "samples": 50, "epoch_samples": 50},
}


Prepare = Callable[..., Job]


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, list[str]]:
    return shapes(120, side=SIDE)


@pytest.fixture(scope="module")
def prepared(data: tuple[np.ndarray, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """A job on the images, whose feature network is made once for all tests."""
    folder = tmp_path_factory.mktemp("like")
    found = generator_data.read(data, GeneratorDataRecipe(), SplitRecipe(), seed=0, conditional=False, show=Silent())
    network = feature_network(found, JudgeRecipe(network="small", steps=40), pick("cpu", "float32"), Silent())
    for name, content in network.files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    judge = {**TINY["judge"], "like": str(folder)}

    def prepare(given: Any = data, own: nn.Module | None = None, show: Any = None, **changes: Any) -> Job:
        return gan_run.prepare(given, {**TINY, "judge": judge, **changes}, own, show or Silent())

    return prepare


def gan_of(job: Job) -> Gan:
    assert isinstance(job.task, Gan)
    return job.task


def trained(job: Job) -> Mapping[str, float]:
    """Every stage for an epoch, seeded as the engine does it; gives the last validation."""
    kept: Mapping[str, float] = {}
    for stage in job.stages:
        batches = job.enter(stage, Silent(), False)
        for step, batch in enumerate(batches.train(0)):
            set_seed(0, step)
            job.task.train_step(batch)
        kept = job.task.evaluate(iter(()))
    job.task.load_weights(job.task.weights())
    return kept


@pytest.fixture(scope="module")
def done(prepared: Prepare) -> tuple[Job, Outcome]:
    job = prepared()
    return job, job.finish({"train": 1.0}, trained(job))


def again(done: tuple[Job, Outcome], folder: Path, **changes: Any) -> GanModel:
    """The model of a run, by way of its file."""
    job, outcome = done
    save_model(folder / "model.safetensors", job.task.tensors(), outcome.card)
    card, tensors = load_model(folder / "model.safetensors")
    return gan_model.restore(card.model_copy(update=changes), tensors, None, "cpu")


def test_a_run_says_how_near_its_samples_are_and_leaves_pictures(done: tuple[Job, Outcome]) -> None:
    job, outcome = done
    metrics, found = outcome.metrics, outcome.metrics["generation"]
    assert (metrics["task"], metrics["split"], metrics["n"]) == ("gan", "test", len(outcome.predictions))
    assert {"distance", "kid", "density", "coverage"} <= set(metrics["metrics"])
    assert metrics["verdict"].startswith(("Better than", "Not better than")) and set(metrics["seconds"]) >= {"judge"}
    assert found["alarms"] == gan_of(job).watch.alarms and found["features"]
    assert next(each["name"] for each in found["samplers"]) == "gan-tutorial"
    assert {"pictures/samples.png", "pictures/nearest.png", "judge/facts.json"} <= set(outcome.files)
    assert outcome.predictions.columns == ["id", "path", "label", "score"]
    assert outcome.predictions["score"].is_finite().all()


def test_an_epoch_has_its_steps_however_few_the_images(prepared: Prepare) -> None:
    job = prepared(epoch_steps=30)
    assert job.enter(job.stages[0], Silent(), False).steps >= 30
    several = prepared(adversarial={"discriminator_steps": 3})
    batches = several.enter(several.stages[0], Silent(), False)
    assert len(next(batches.train(0)).ids) == 24


def test_a_run_begins_with_the_same_weights_whatever_came_before(prepared: Prepare) -> None:
    torch.manual_seed(5)
    first = gan_of(prepared(rival=True)).tensors()
    second = gan_of(prepared()).tensors()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_the_picture_of_an_epoch_is_of_the_same_noise_and_draws_no_random_number(done: tuple[Job, Outcome]) -> None:
    job, _ = done
    torch.manual_seed(1)
    (first,) = job.snapshot(1).items()
    (second,) = job.snapshot(12).items()
    assert (first[0], second[0]) == ("samples/epoch-0001.png", "samples/epoch-0012.png") and first[1] == second[1]
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))


def test_a_model_from_its_file_predicts_what_the_run_has_written(
    done: tuple[Job, Outcome], data: tuple[np.ndarray, list[str]], tmp_path: Path
) -> None:
    model, table = again(done, tmp_path), done[1].predictions
    found = model.predict(data[0][table["id"].to_numpy()], Silent())
    assert found.columns == ["path", "score", "problem"]
    np.testing.assert_allclose(found["score"].to_numpy(), table["score"].to_numpy(), rtol=1e-4, atol=1e-5)


def test_a_file_that_is_no_image_has_its_problem_and_no_score(done: tuple[Job, Outcome], tmp_path: Path) -> None:
    Image.fromarray(shapes(1, side=20)[0][0, ..., 0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no")
    table = again(done, tmp_path).predict([tmp_path / "bad.png", tmp_path / "good.png"], Silent())
    assert table["score"].is_null().to_list() == [True, False]
    assert table["problem"].is_null().to_list() == [False, True]


def test_samples_come_from_the_seed_and_the_first_do_not_depend_on_the_number(
    done: tuple[Job, Outcome], tmp_path: Path
) -> None:
    model = again(done, tmp_path)
    samples = model.sample(70, {"seed": 3})
    assert samples.shape == (70, SIDE, SIDE, 1) and samples.dtype == np.uint8
    np.testing.assert_array_equal(samples[:5], model.sample(5, {"seed": 3}))
    assert (samples != model.sample(70, {"seed": 4})).any()
    assert (samples != model.sample(70, {"seed": 3, "truncation": 0.5})).any()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"label": "disc"}, "no classes"),
        ({"sampler": "mixture"}, "no encoder"),
        ({"truncaton": 1.0}, "truncation"),
        ({"count": 0}, "1 or more"),
    ],
)
def test_samples_that_cannot_be_drawn_are_refused(
    values: dict[str, Any], said: str, done: tuple[Job, Outcome], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        again(done, tmp_path).sample(values.pop("count", 2), values)


def test_other_images_are_judged_by_features_of_their_own(done: tuple[Job, Outcome], tmp_path: Path) -> None:
    outcome = again(done, tmp_path).evaluate(shapes(100, side=SIDE, seed=9), Silent(), {})
    assert outcome.metrics["metrics"]["distance"]["value"] > 0
    assert outcome.metrics["generation"]["digest"] != done[1].metrics["generation"]["digest"]
    assert len(outcome.predictions) == outcome.metrics["n"]


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ("a", "b")},
        {"train_counts": (1,)},
        {"network": {"classes": 0, "channels": 3, "size": SIDE, "options": {"latent": 4}}},
        {"network": {"classes": 0, "channels": 1, "size": 12, "options": {"latent": 4}}},
        {"network": {"classes": 0, "channels": 1, "size": SIDE, "options": {"latent": 5}}},
        {"network": {"classes": 2, "channels": 1, "size": SIDE, "options": {"latent": 4}}},
    ],
)
def test_a_card_that_contradicts_itself_is_refused(
    changes: dict[str, Any], done: tuple[Job, Outcome], tmp_path: Path
) -> None:
    with pytest.raises(StoreError):
        again(done, tmp_path, **changes)


def test_a_conditional_network_is_told_the_class_and_draws_it(prepared: Prepare, data: Any, tmp_path: Path) -> None:
    job = prepared(conditional=True)
    outcome = job.finish({}, trained(job))
    assert outcome.card.classes == ("bar", "disc") and sum(outcome.card.train_counts) > 60
    model = again((job, outcome), tmp_path)
    bars, discs = (model.sample(4, {"label": name}) for name in ("bar", "disc"))
    assert (bars != discs).any()
    mixed = model.sample(4, {})
    np.testing.assert_array_equal(mixed[[0, 2]], bars[[0, 2]])
    np.testing.assert_array_equal(mixed[[1, 3]], discs[[1, 3]])
    with pytest.raises(UsageError, match="disc"):
        model.sample(2, {"label": "disk"})
    found = model.predict(data[0][outcome.predictions["id"].to_numpy()], Silent())
    np.testing.assert_allclose(found["score"].to_numpy(), outcome.predictions["score"].to_numpy(), rtol=1e-4, atol=1e-5)


def test_images_without_labels_are_refused_where_networks_are_to_be_told(prepared: Prepare, data: Any) -> None:
    with pytest.raises(DataError, match="label"):
        prepared(data[0], conditional=True)


def test_an_image_without_a_label_never_reaches_networks_that_are_told(
    prepared: Prepare, data: Any, tmp_path: Path
) -> None:
    images, labels = data
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{number}.png")
    paths = [f"{number}.png" for number in range(len(images))]
    given = {"path": paths, "label": ["", *labels[1:]], "split": (["train"] * 4 + ["valid", "test"]) * 20}
    pl.DataFrame(given).write_csv(tmp_path / "images.csv")
    job = prepared(tmp_path / "images.csv", conditional=True, data={"size": SIDE, "channels": 1})
    assert job.examples["problem"][0] == "no label" and job.examples["problem"][1:].is_null().all()
    batches = job.enter(job.stages[0], Silent(), False)
    assert all(0 not in batch.ids and (batch.targets >= 0).all() for batch in batches.train(0))


def test_images_without_labels_train(prepared: Prepare, data: Any) -> None:
    job = prepared(data[0])
    outcome = job.finish({}, trained(job))
    assert outcome.predictions["label"].is_null().all() and outcome.card.classes == ()


def test_the_rival_costs_about_the_same_and_is_drawn_from_at_the_end(prepared: Prepare, tmp_path: Path) -> None:
    job = prepared(rival=True, epochs=3, model="gan-tutorial", network={})
    names = [stage.name for stage in job.stages]
    assert names == ["gan-tutorial", "gan"] and job.stages[1].epochs >= 1
    assert prepared(rival=True, epochs=3, model="gan-tutorial", network={}).stages == job.stages
    outcome = job.finish({}, trained(job))
    samplers = [each["name"] for each in outcome.metrics["generation"]["samplers"]]
    assert samplers[:2] == ["gan", "gan-tutorial"] and "at about the same cost" in outcome.metrics["verdict"]
    assert again((job, outcome), tmp_path).card.model == "gan"


def test_a_network_of_the_users_own_trains_and_comes_back_with_itself(prepared: Prepare, tmp_path: Path) -> None:
    job = prepared(own=TinyGan(latent=3), model="auto", network={})
    outcome = job.finish({}, trained(job))
    assert outcome.card.model == "custom"
    save_model(tmp_path / "model.safetensors", job.task.tensors(), outcome.card)
    card, tensors = load_model(tmp_path / "model.safetensors")
    model = gan_model.restore(card, tensors, TinyGan(latent=3, seed=8), "cpu")
    np.testing.assert_array_equal(
        model.sample(3, {}), gan_model.restore(card, tensors, TinyGan(latent=3), "cpu").sample(3, {})
    )
    with pytest.raises(StoreError, match="own network"):
        gan_model.restore(card, tensors, None, "cpu")


@pytest.mark.parametrize(("network", "said"), [(nn.Linear(2, 2), "generator"), (TinyGan(classes=2), "failed")])
def test_a_network_that_is_no_gan_is_refused(network: nn.Module, said: str, prepared: Prepare) -> None:
    with pytest.raises(UsageError, match=said):
        prepared(own=network, model="auto", network={})


def test_a_missing_network_of_the_users_own_is_asked_for(prepared: Prepare) -> None:
    with pytest.raises(UsageError, match="your own"):
        prepared(model="custom")


def test_an_alarm_is_said_after_its_epoch(prepared: Prepare, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []

    class Heard:
        def __init__(self) -> None:
            self.silent = Silent()

        def say(self, text: str) -> None:
            said.append(text)

        def bar(self, *given: Any) -> Any:
            return self.silent.bar(*given)

    job = prepared(show=Heard())
    task = gan_of(job)
    batches = job.enter(job.stages[0], Silent(), False)
    task._judge.collapsed = lambda metrics: "alike"  # type: ignore[union-attr,method-assign]
    for batch in itertools.islice(batches.train(0), 2):
        task.train_step(batch)
    task.evaluate(iter(()))
    job.snapshot(1)
    assert [text for text in said if "collapse" in text and "epoch 1 of gan-tutorial" in text]
    outcome = job.finish({}, {"distance": 1.0})
    (alarm,) = outcome.metrics["generation"]["alarms"]
    assert {"stage", "epoch", "step", "kind", "what", "done"} <= set(alarm)


def test_a_budget_too_short_for_an_epoch_is_refused_and_one_that_reaches_is_kept(prepared: Prepare) -> None:
    with pytest.raises(UsageError, match="too short"):
        prepared(budget=0.01)
    job = prepared(budget=600)
    assert job.deadline is not None and job.stages[0].epochs == 2


def test_the_card_is_that_of_a_model_file(done: tuple[Job, Outcome]) -> None:
    assert isinstance(done[1].card, ModelCard)
    assert done[1].card.network == {"classes": 0, "channels": 1, "size": SIDE, "options": {"latent": 4}}
