"""From what a user gives to what a network takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from layerwise.console import Silent
from layerwise.errors import DataError, UsageError
from layerwise.tasks import image_data
from layerwise.tasks.image_model import find_inputs
from layerwise_tests import damage, images


def read(images_given: Any, **values: Any) -> image_data.ImageData:
    return image_data.read(images_given, {"model": "cnn-28", "device": "cpu", **values}, Silent())


def test_statistics_are_those_of_the_training_pixels_whatever_the_portions() -> None:
    found = read(images.arrays(20))
    pixels = found.store.read(image_data.ids_of(found.examples, "train")).numpy() / 255
    assert found.preprocess.mean == pytest.approx(pixels.mean((0, 1, 2)), abs=1e-12)
    assert found.preprocess.std == pytest.approx(pixels.reshape(-1, 3).std(0, ddof=1), abs=1e-12)
    inputs = found.sample()
    assert inputs.shape == (48, 3, 32, 32) and abs(float(inputs.mean())) < 1e-5
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)


def test_a_channel_that_never_changes_is_not_blown_up() -> None:
    x, y = images.arrays(10)
    x[..., 1] = 7
    assert read((x, y)).preprocess.std[1] == pytest.approx(1 / 255)


def test_a_sample_of_large_images_fits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(images.arrays(20))
    monkeypatch.setattr(image_data, "_SAMPLE_VALUES", 10 * 32 * 32 * 3)
    assert 5 <= len(found.sample()) <= 10
    monkeypatch.setattr(image_data, "_SAMPLE_VALUES", 1)
    assert len(found.sample()) == 1


@pytest.mark.parametrize(("channels", "wanted"), [(1, 1), (3, 3), (4, 3)])
def test_arrays_keep_their_size_and_lose_their_alpha(channels: int, wanted: int) -> None:
    x, y = images.arrays(10, side=20)
    rows = np.concatenate([x, x[..., :1]], axis=3)[..., :channels]
    found = read((rows, y))
    assert (found.preprocess.height, found.preprocess.width, found.preprocess.channels) == (20, 20, wanted)
    assert found.store.shape == (30, 20, 20, wanted)


def test_auto_takes_a_small_network_for_small_arrays_only() -> None:
    assert read(images.arrays(10), model="auto").recipe.model == "airbench-small"
    large = read(images.arrays(4, side=65), model="auto")
    assert large.recipe.model == "efficientnet_lite0" and large.preprocess.height == 224


def test_the_users_values_lie_over_the_networks_own() -> None:
    own = image_data.find_model("cnn-28").recipe
    found = read(images.arrays(10), optimizer={"learning_rate": 0.5})
    assert found.recipe.optimizer.learning_rate == 0.5
    assert found.recipe.optimizer.name == own["optimizer"]["name"] and found.recipe.batch_size == own["batch_size"]


def test_a_class_of_which_nothing_can_be_read_is_told(tmp_path: Path) -> None:
    damage.folder(tmp_path / "data", good=40, each=0)
    (tmp_path / "data" / "class-5").mkdir()
    (tmp_path / "data" / "class-5" / "a.jpg").write_bytes(b"")
    found = read(str(tmp_path / "data"))
    assert found.classes[-1] == "class-5"
    assert sum('"class-5" has no image in train' in note for note in found.notes) == 1
    assert any("1 of 41 images cannot be read (class-5/a.jpg: the file is empty)" in note for note in found.notes)


def test_shares_of_nothing_are_told() -> None:
    for part in ("valid", "test"):
        with pytest.raises(DataError, match=rf"The {part} part is empty.*split\.valid and split\.test"):
            read(images.arrays(10), split={part: 0.0})


def test_what_a_random_network_cannot_have_is_told() -> None:
    with pytest.raises(DataError, match="no pretrained weights"):
        read(images.arrays(10), data={"normalise": "pretrained"})


def test_inputs_of_every_kind_are_named(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    names = {
        "one": ([str(tmp_path / "a.png")], tmp_path / "a.png"),
        "folder": ([str(tmp_path / "a.png")], str(tmp_path)),
        "bytes": ([f"{len(content)} bytes"], content),
        "array": (["0", "1"], np.zeros((2, 8, 8), np.uint8)),
        "list": ([str(tmp_path / "a.png"), "array"], [tmp_path / "a.png", np.zeros((8, 8), np.uint8)]),
    }
    for name, (wanted, given) in names.items():
        assert [each for each, _ in find_inputs(given)] == wanted, name
    for nothing in ([], ()):
        with pytest.raises(DataError, match="nothing to predict"):
            find_inputs(nothing)
    with pytest.raises(DataError, match="no image at"):
        find_inputs(tmp_path / "b.png")
    with pytest.raises(UsageError, match="float"):
        find_inputs([0.5])
