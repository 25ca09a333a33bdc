from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from layerwise.errors import DataError
from layerwise.metrics.generation_baselines import pca_gaussian
from layerwise.store import strict_json
from layerwise.tasks.feature_network import JudgeRecipe
from layerwise.tasks.generator_data import GeneratorData
from layerwise.tasks.generator_judge import MEAN_IMAGE, PCA_GAUSSIAN, Judge, _averaged, _block
from layerwise_tests.judged import data, network, noisy, partly_wrong, smeared
from layerwise_tests.shapes import KINDS, shapes

Pixels = NDArray[np.uint8]
RECIPE = JudgeRecipe(network="small", samples=200, epoch_samples=200)


def judge_of(found: GeneratorData, **values: Any) -> Judge:
    return Judge.of(found, network(found, **values), RECIPE, 0)


def fresh(count: int, seed: int = 11, **shape: int) -> Pixels:
    return shapes(count, side=16, seed=seed, **shape)[0]


def in_turn(images: Pixels, count: int) -> Pixels:
    return images[np.arange(count) % len(images)]


@pytest.fixture(scope="module")
def found() -> GeneratorData:
    return data(1600)


@pytest.fixture(scope="module")
def judge(found: GeneratorData) -> Judge:
    return judge_of(found)


# After an epoch


def test_real_images_are_near_and_reach_all_and_differ_as_they_should(judge: Judge) -> None:
    metrics = judge.validate(fresh(200))
    assert set(metrics) == {"distance", "coverage", "diversity", "spacing"}
    assert metrics["distance"] < 10 and metrics["coverage"] > 0.85
    assert metrics["diversity"] == pytest.approx(1, abs=0.1) and metrics["spacing"] == pytest.approx(1, abs=0.2)
    assert judge.collapsed(metrics) is None


def test_worse_samples_are_further_away(judge: Judge) -> None:
    for worse, steps in ((noisy, (0, 10, 30, 90)), (smeared, (0, 1, 4, 16)), (partly_wrong, (0, 0.1, 0.3, 1))):
        distances = [judge.validate(worse(fresh(200), step))["distance"] for step in steps]
        assert distances == sorted(distances), worse


def test_as_many_real_images_as_samples_are_compared(judge: Judge) -> None:
    images = fresh(400)
    assert judge.validate(images) == judge.validate(images[: judge.epoch_samples])
    assert judge.validate(images[:60])["distance"] > judge.validate(images)["distance"]  # the bias of fewer images


@pytest.mark.parametrize(
    "collapse",
    ["mean image", "mean image and noise", "one image", "one image and noise", "five images", "five images and noise"],
)
def test_collapse_is_found(collapse: str, judge: Judge) -> None:
    images = fresh(200)
    mean = np.repeat(images.mean(axis=0, keepdims=True).astype(np.uint8), 200, axis=0)
    base = {"mean": mean, "one": in_turn(images[:1], 200), "five": in_turn(images[:5], 200)}[collapse.split()[0]]
    made = noisy(base, 2) if "noise" in collapse else base
    why = judge.collapsed(judge.validate(made))
    assert why is not None
    assert ("over and over" if collapse == "five images" else "real images have 1") in why


@pytest.mark.parametrize("kind", ["gaussian", "one class", "hundred images in turn", "noise", "blurred"])
def test_poor_samples_that_differ_are_no_collapse(kind: str, judge: Judge) -> None:
    images = fresh(400)
    made = {
        "gaussian": lambda: pca_gaussian(images)(200, 0),
        "one class": lambda: images[::2],
        "hundred images in turn": lambda: in_turn(images[:100], 200),
        "noise": lambda: np.random.default_rng(0).integers(0, 256, (200, 16, 16, 1)).astype(np.uint8),
        "blurred": lambda: smeared(images[:200], 4),
    }[kind]()
    assert judge.collapsed(judge.validate(made)) is None


def test_images_of_one_class_or_without_labels_are_no_collapse() -> None:
    for found in (data(400, one_class=True), data(400, labels=False)):
        judge = judge_of(found, steps=20)
        assert judge.collapsed(judge.validate(fresh(200))) is None


# The reported part


@pytest.fixture(scope="module")
def report(judge: Judge) -> dict[str, Any]:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    made = dict(judge.report({"mine": fresh(200), "other": noisy(fresh(200), 40)}))
    assert torch.equal(before, torch.get_rng_state())
    return made


def test_a_report_has_every_figure_with_its_interval_and_can_be_written(report: dict[str, Any], judge: Judge) -> None:
    generation = report["generation"]
    names = {"distance", "kid", "density", "coverage"}
    sets = [
        report["metrics"],
        generation["real"],
        *(each["metrics"] for each in (*report["baselines"], *generation["samplers"])),
    ]
    assert len(sets) == 6
    for metrics in sets:
        assert set(metrics) == names
        assert all(each["low"] <= each["value"] <= each["high"] for each in metrics.values())
    assert [each["name"] for each in generation["samplers"]] == ["mine", "other"]
    assert generation["samplers"][0]["metrics"] == report["metrics"]
    assert [each["name"] for each in report["baselines"]] == [MEAN_IMAGE, PCA_GAUSSIAN]
    assert generation["samples"] == judge.samples and generation["notes"] == []
    assert json.loads(strict_json.dumps(report)) == json.loads(json.dumps(report))


def test_real_images_are_nearest_and_the_verdict_says_so(report: dict[str, Any]) -> None:
    value = {each["name"]: each["metrics"]["distance"]["value"] for each in report["baselines"]}
    mine, real = report["metrics"]["distance"]["value"], report["generation"]["real"]["distance"]["value"]
    assert max(mine, real) < 10 < value[PCA_GAUSSIAN] < value[MEAN_IMAGE]
    assert report["verdict"].startswith("Better than a Gaussian in principal components")
    assert report["metrics"]["coverage"]["value"] > 0.85
    assert report["generation"]["samplers"][1]["metrics"]["distance"]["low"] > mine


def test_samples_like_the_mean_image_are_not_better(judge: Judge) -> None:
    mean = np.repeat(fresh(200).mean(axis=0, keepdims=True).astype(np.uint8), 200, axis=0)
    assert judge.report({"mine": mean})["verdict"].startswith("Not better than")


def test_classes_are_counted_in_real_images_and_in_samples(report: dict[str, Any], judge: Judge) -> None:
    classes = report["generation"]["classes"]
    assert classes["names"] == list(KINDS)
    np.testing.assert_allclose(classes["real"], 0.5, atol=0.1)
    np.testing.assert_allclose(classes["samples"], 0.5, atol=0.1)
    assert classes["variation"] < 0.1
    discs = judge.report({"mine": fresh(400)[1::2]})["generation"]["classes"]
    assert discs["samples"][1] > 0.9 and discs["variation"] > 0.35


def test_without_labels_no_classes_are_counted() -> None:
    judge = judge_of(data(400, labels=False))
    assert "classes" not in judge.report({"mine": fresh(100)})["generation"]


def test_copies_are_found_and_named_and_fresh_images_are_not(found: GeneratorData, judge: Judge) -> None:
    copied = found.ids("train")[5:45]
    images = np.concatenate([fresh(judge.samples - 40), found.pixels(copied)])
    memorised = judge.report({"mine": images})["generation"]["memorised"]
    assert memorised["n"] == judge.samples and memorised["train"] == len(found.ids("train"))
    assert 40 <= memorised["flagged"] <= 40 + 0.05 * judge.samples
    assert len(memorised["pairs"]) == 16
    for pair in memorised["pairs"]:
        # A fresh shape may be a training image by chance, as its place is a whole number.
        sample = images[pair["sample"]]
        assert pair["distance"] == 0 and (found.pixels(np.array([pair["train"]]))[0] == sample).all()
        assert pair["features_distance"] < 1e-3
        assert (found.pixels(np.array([pair["by_features"]]))[0] == sample).all()
    none = judge.report({"mine": fresh(judge.samples)})["generation"]["memorised"]
    assert none["flagged"] <= 0.05 * judge.samples


def test_the_same_twice(found: GeneratorData, judge: Judge, report: dict[str, Any]) -> None:
    again = judge_of(found)
    assert again.validate(fresh(200)) == judge.validate(fresh(200))
    assert dict(again.report({"mine": fresh(200), "other": noisy(fresh(200), 40)})) == report


# Other data


def test_colour_images() -> None:
    judge = judge_of(data(400, channels=3))
    made = judge.report({"mine": fresh(100, channels=3)})
    assert made["metrics"]["distance"]["value"] < made["baselines"][1]["metrics"]["distance"]["value"]
    assert judge.collapsed(judge.validate(fresh(50, channels=3))) is None


def test_sixty_images_are_judged_and_what_is_held_to_training_images_is_said() -> None:
    found = data(60)
    judge = judge_of(found)
    assert len(found.ids("valid")) < 50 and "training images after each epoch" in judge.notes[0]
    images = fresh(200)
    assert np.isfinite(list(judge.validate(images[: judge.epoch_samples]).values())).all()
    made = judge.report({"mine": images[: judge.samples]})
    assert made["generation"]["notes"] == list(judge.notes) and len(judge.notes) == 2
    assert all(np.isfinite(each["value"]) for each in made["metrics"].values())
    assert made["verdict"].startswith(("Better", "Not better"))


def test_hardly_any_images_are_refused() -> None:
    with pytest.raises(DataError, match="8 or more"):
        judge_of(data(8), steps=2)


@pytest.mark.parametrize(
    ("side", "channels", "count", "small"),
    [(28, 1, 60_000, 28), (32, 1, 60_000, 32), (32, 3, 60_000, 16), (128, 3, 60_000, 16), (64, 1, 10_000_000, 4)],
)
def test_images_are_searched_small_enough_to_be_held(side: int, channels: int, count: int, small: int) -> None:
    block = _block(side, channels, count)
    pixels = np.zeros((2, side, side, channels), np.uint8)
    pixels[1] = 9
    assert side // block == small
    assert _averaged(pixels, block).shape == (2, small, small, channels)
    assert _averaged(pixels, block)[1].max() == _averaged(pixels, block)[1].min() == 9
