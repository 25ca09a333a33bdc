from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from layerwise.config import build
from layerwise.console import Silent
from layerwise.data.split import SplitRecipe
from layerwise.errors import DataError, RecipeError, StoreError, WeightsError
from layerwise.metrics.generation import frechet
from layerwise.models import at_hand, find_model
from layerwise.tasks import feature_network as module
from layerwise.tasks import generator_data
from layerwise.tasks.feature_bodies import linear_classifier, main_directions
from layerwise.tasks.feature_network import (
    FACTS,
    PRETRAINED,
    TENSORS,
    FeatureNetwork,
    JudgeRecipe,
    drawn,
    feature_network,
    from_files,
    read_judge,
    settled,
)
from layerwise.tasks.generator_data import GeneratorData, GeneratorDataRecipe
from layerwise_tests.judged import CPU, SMALL, data, network, noisy, partly_wrong, smeared
from layerwise_tests.shapes import KINDS, shapes

needs_weights = pytest.mark.skipif(
    not at_hand(find_model(PRETRAINED)), reason="needs layerwise[offline]: weights without a network"
)


class Said(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def labelled() -> tuple[GeneratorData, FeatureNetwork]:
    found = data()
    return found, network(found)


@pytest.fixture(scope="module")
def unlabelled() -> tuple[GeneratorData, FeatureNetwork]:
    found = data(labels=False)
    return found, network(found)


# Features


@pytest.mark.parametrize(
    "kind", ["labelled", "unlabelled", pytest.param("pretrained", marks=[needs_weights, pytest.mark.slow])]
)
def test_the_distance_rises_with_noise_blur_and_wrong_images(kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "pretrained":
        made = network(data(side=16), network=PRETRAINED)
    else:
        _, made = request.getfixturevalue(kind)
    real, other = made.features(shapes(300, side=16, seed=7)[0]), made.features(shapes(300, side=16, seed=8)[0])
    fresh = shapes(300, side=16, seed=8)[0]
    between_real = frechet(other, real)
    assert between_real < 10  # of 100, the variance of real images
    for worse in (noisy, smeared, partly_wrong):
        steps: list[Any] = (
            [0.05, 0.2, 0.5] if worse is partly_wrong else [1, 4, 16] if worse is smeared else [8, 24, 72]
        )
        distances = [frechet(made.features(worse(fresh, step)), real) for step in steps]
        assert distances == sorted(distances), worse
        assert distances[-1] > 3 * between_real, worse


@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_centred_on_the_training_images_and_their_variance_is_a_hundred(channels: int) -> None:
    found = data(300, channels=channels)
    made = network(found, steps=10)
    features = made.features(found.pixels(found.ids("train")))
    assert features.dtype == np.float64 and features.shape[1] <= 64
    assert np.abs(features.mean(axis=0)).max() < 1e-6
    assert features.var(axis=0, ddof=1).sum() == pytest.approx(100)


def test_an_image_has_the_same_features_in_any_company(labelled: tuple[GeneratorData, FeatureNetwork]) -> None:
    found, made = labelled
    pixels = found.pixels(np.arange(150))
    np.testing.assert_allclose(made.features(pixels)[100:103], made.features(pixels[100:103]), atol=1e-3)


def test_few_images_have_few_directions() -> None:
    found = data(60)
    features = network(found, steps=5).features(found.pixels(found.ids("test")))
    assert features.shape[1] == len(found.ids("train")) // 8


def test_images_that_are_all_alike_have_features_too() -> None:
    same = np.full((40, 16, 16, 1), 7, np.uint8)
    same[:, 0, 0, 0] = np.arange(40)  # else they are one image forty times, which is split apart
    found = generator_data.read(same, GeneratorDataRecipe(), SplitRecipe(), seed=0, conditional=False, show=Silent())
    assert np.isfinite(network(found, steps=3).features(same)).all()


def test_main_directions_of_one_image_and_of_equal_ones() -> None:
    for raw in (np.ones((1, 5)), np.ones((40, 5))):
        fitted, kept = main_directions(raw)
        assert kept == 0.0 and np.isfinite(fitted["directions"]).all()


# Classes


def test_a_classifier_comes_with_labels_and_its_accuracy_is_said(
    labelled: tuple[GeneratorData, FeatureNetwork],
) -> None:
    found, made = labelled
    said = Said()
    feature_network(found, build(JudgeRecipe, SMALL), CPU, said)
    accuracy = made.facts.accuracy
    assert made.facts.classes == KINDS and accuracy is not None and accuracy > 0.9
    probabilities = made.probabilities(found.pixels(found.ids("test")))
    assert probabilities is not None
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == found.targets[found.ids("test")]).mean() > 0.9
    assert f"{accuracy:.0%} of the validation images" in said.lines[-1] and "small network" in said.lines[-1]


@pytest.mark.parametrize("kind", [{"labels": False}, {"one_class": True}, {"count": 24}])
def test_without_classes_to_tell_apart_there_is_no_classifier(kind: dict[str, Any]) -> None:
    found = data(**{"count": 80, **kind})
    made = network(found, steps=5)
    pixels = found.pixels(found.ids("test"))
    assert made.facts.classes == () and made.facts.accuracy is None
    assert made.probabilities(pixels) is None and made.classified(made.features(pixels)) is None
    assert "quarter turns" in made.name and "classes" not in made.name


def test_a_class_without_images_is_never_said() -> None:
    random = np.random.default_rng(0)
    for present in ([0, 2], [0, 2, 3]):
        targets = np.array(present * 20)
        features = random.normal(size=(len(targets), 3)) + targets[:, None]
        found = linear_classifier(features, targets, 5)
        assert set((features @ found["weight"] + found["bias"]).argmax(axis=1)) == set(present)


# The same again


def test_equal_data_give_equal_bits_and_the_global_generators_stay(
    labelled: tuple[GeneratorData, FeatureNetwork],
) -> None:
    found, made = labelled
    torch.manual_seed(5)
    np.random.seed(5)
    before, legacy = torch.get_rng_state(), np.random.get_state()[1]
    again = network(found)
    assert torch.equal(before, torch.get_rng_state()) and np.array_equal(legacy, np.random.get_state()[1])
    pixels = found.pixels(found.ids("test"))
    assert again.digest == made.digest and again.files() == made.files()
    assert np.array_equal(again.features(pixels), made.features(pixels))


def test_other_data_or_another_network_have_another_digest() -> None:
    made = [network(data(80), steps=2), network(data(80, seed=3), steps=2), network(data(80), steps=3)]
    made.append(network(data(80, labels=False), steps=2))
    assert len({each.digest for each in made}) == 4


@needs_weights
def test_a_pretrained_network_is_the_same_twice_and_keeps_little() -> None:
    found = data(120)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = (network(found, network=PRETRAINED) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert one.digest == two.digest and sum(map(len, one.files().values())) < 200_000
    assert "EfficientNet-Lite0" in one.name
    again, pixels = from_files(one.files()), found.pixels(found.ids("test"))
    assert again.digest == one.digest and np.array_equal(again.features(pixels), one.features(pixels))


def test_auto_is_what_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, name in ((True, PRETRAINED), (False, "small")):
        monkeypatch.setattr(module, "at_hand", lambda entry, found=found: found)
        assert settled(JudgeRecipe()).network == name
    assert settled(JudgeRecipe(network=PRETRAINED)).network == PRETRAINED


def test_those_drawn_are_different_and_the_first_of_more() -> None:
    ids = np.arange(50, 150)
    few, many = drawn(ids, 10, 3), drawn(ids, 99, 3)
    assert many[:10].tolist() == few.tolist() and len(set(many.tolist())) == 99
    assert few.tolist() != drawn(ids, 10, 4).tolist()


# Kept with the run


def test_the_files_of_a_run_give_the_same_network(
    labelled: tuple[GeneratorData, FeatureNetwork], tmp_path: Path
) -> None:
    found, made = labelled
    written(made, tmp_path)
    again = read_judge(tmp_path)
    pixels = found.pixels(found.ids("test"))
    assert again.digest == made.digest and again.name == made.name
    assert np.array_equal(again.features(pixels), made.features(pixels))
    probabilities, before = again.probabilities(pixels), made.probabilities(pixels)
    assert probabilities is not None and before is not None and np.array_equal(probabilities, before)


def test_like_takes_the_network_of_another_run(labelled: tuple[GeneratorData, FeatureNetwork], tmp_path: Path) -> None:
    _, made = labelled
    written(made, tmp_path)
    assert network(data(100, seed=9), like=str(tmp_path)).digest == made.digest


def test_like_refuses_a_run_without_a_network_and_images_of_another_size(
    labelled: tuple[GeneratorData, FeatureNetwork], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="facts.json"):
        network(data(60), like=str(tmp_path))
    written(labelled[1], tmp_path)
    with pytest.raises(DataError, match="16x16x1, and these are of 20x20x1"):
        network(data(60, side=20), like=str(tmp_path))
    with pytest.raises(DataError, match="16x16x3"):
        labelled[1].features(np.zeros((2, 16, 16, 3), np.uint8))


def test_damaged_files_are_refused(labelled: tuple[GeneratorData, FeatureNetwork]) -> None:
    files = labelled[1].files()
    tensors = bytearray(files[TENSORS])
    tensors[-1] ^= 1
    unlabelled = network(data(60, labels=False), steps=2).files()
    for bad in (
        {FACTS: files[FACTS]},
        {**files, TENSORS: bytes(tensors)},
        {**files, TENSORS: files[TENSORS][:-9]},
        {**files, TENSORS: unlabelled[TENSORS]},
        {**files, FACTS: files[FACTS].replace(b'"small"', b'"large"')},
        {**files, FACTS: b"{}"},
    ):
        with pytest.raises(StoreError, match="feature network of the run cannot be used"):
            from_files(bad)


@needs_weights
def test_other_pretrained_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    files = network(data(60), network=PRETRAINED).files()
    original = module.pretrained_body

    def other(*given: Any) -> Any:
        body = original(*given)
        return type(body)(body.run, "0" * 64, body.kept)

    monkeypatch.setattr(module, "pretrained_body", other)
    with pytest.raises(WeightsError, match="not those that the run was judged with"):
        from_files(files)


def written(made: FeatureNetwork, run: Path) -> None:
    for name, content in made.files().items():
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(content)
