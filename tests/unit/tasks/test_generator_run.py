from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from layerwise.errors import UsageError
from layerwise.tasks.generator_run import (
    drawn_classes,
    inside,
    normals,
    pairs_file,
    snapshot_files,
    step_flops,
    uniforms,
    wanted_classes,
    with_rival,
)
from layerwise.tasks.run_recipe import Candidate


def stage(name: str, epochs: int) -> Candidate:
    return Candidate(name=name, epochs=epochs, learning_rate=0.1)


def test_a_rival_gets_epochs_of_about_equal_cost_once() -> None:
    costs = {"own": 30.0, "rival": 12.0, "large": 1e6}
    found = with_rival((stage("own", 10),), stage("rival", 1), lambda each: costs[each.name])
    assert [(each.name, each.epochs) for each in found] == [("own", 10), ("rival", 25)]
    assert with_rival(found, stage("rival", 1), lambda each: costs[each.name]) == found
    assert with_rival(found[:1], stage("large", 9), lambda each: costs[each.name])[1].epochs == 1


def test_operations_are_counted_forward_and_backward() -> None:
    layer, x = nn.Linear(8, 4), torch.zeros(16, 8)
    forward = step_flops(lambda: layer(x))
    assert forward == 2 * 16 * 8 * 4
    assert step_flops(lambda: layer(x).sum().backward()) == 2 * forward  # the input needs no gradient


def test_noise_is_normal_the_same_everywhere_and_its_rows_stand_alone() -> None:
    noise = normals(3, 5000, 4)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02 and np.isfinite(noise).all()
    np.testing.assert_array_equal(normals(3, 10, 4), noise[:10])
    np.testing.assert_array_equal(uniforms(0, 1, 2), [[0.27482265539602835, 0.42438568107165564]])
    ends = inside(np.array([0, 2**64 - 1], np.uint64))
    assert ends[0] > 0 and ends[1] < 1
    assert (normals(4, 10, 4) != noise[:10]).all()


def test_classes_are_drawn_as_often_as_their_shares_say() -> None:
    drawn = drawn_classes(0, 4000, [1.0, 0.0, 3.0])
    np.testing.assert_allclose(np.bincount(drawn) / 4000, [0.25, 0, 0.75], atol=0.03)
    np.testing.assert_array_equal(drawn_classes(0, 10, [1.0, 0.0, 3.0]), drawn[:10])


def test_samples_are_of_the_class_that_is_named_or_of_all_in_turn() -> None:
    assert wanted_classes("b", 3, ("a", "b")).tolist() == [1, 1, 1]
    assert wanted_classes(None, 3, ("a", "b")).tolist() == [0, 1, 0]
    assert wanted_classes(None, 2, ()).tolist() == [-1, -1]
    with pytest.raises(UsageError, match='Did you mean "shoe"'):
        wanted_classes("sho", 1, ("bag", "shoe"))
    with pytest.raises(UsageError, match="conditional=true"):
        wanted_classes("shoe", 1, ())


def test_files_are_named_by_epoch_and_pairs_lie_side_by_side() -> None:
    images = np.zeros((4, 8, 8, 1), np.uint8)
    assert list(snapshot_files(12, images)) == ["samples/epoch-0012.png"]
    with Image.open(io.BytesIO(pairs_file(images, images + 255)["pictures/nearest.png"])) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (8, 8 * 9 - 1) and pixels[0, 0] == 0 and pixels[0, 9] == 255
