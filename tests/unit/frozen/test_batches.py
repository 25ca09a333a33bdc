"""Batches of activations: kept or computed each time they are the same, in the order that pictures would come in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from layerwise.data.augment import AugmentRecipe
from layerwise.data.loader import Batch, ImageBatches, Normalise
from layerwise.frozen.batches import Activations, FrozenBatches, Kept, Recomputed, Through, keep, missing
from layerwise.frozen.form import Dtype
from layerwise.frozen.shelf import Form, Shelf
from layerwise.frozen.views import Views, identities

COUNT, SIDE, CLASSES = 45, 8, 3
HASHES = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(COUNT)]
KNOWN = identities(HASHES)
TARGETS = np.arange(COUNT) % CLASSES
PARTS = {"train": np.arange(0, 40, dtype=np.int64), "valid": np.arange(40, 45, dtype=np.int64)}
NONE, FLIPS = AugmentRecipe(), AugmentRecipe(flip=True)
DRAWN = AugmentRecipe(rotation=20, flip=True, brightness=0.2)
CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3)).astype(np.uint8)
LOOK = Normalise((0.5,) * 3, (0.25,) * 3)


class Bytes:
    """A store in memory."""

    shape = PIXELS.shape

    def read(self, ids: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(PIXELS[ids])


class Prefix:
    """A frozen network that counts the pictures it has seen."""

    def __init__(self, views: Views) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU()).eval()
        self.views, self.sizes, self.asked = views, list[int](), list[tuple[int, int]]()

    def through(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return (self.net(images),)

    def __call__(self, ids: np.ndarray, numbers: np.ndarray) -> tuple[torch.Tensor, ...]:
        self.sizes.append(len(ids))
        self.asked += dict.fromkeys(zip(ids.tolist(), numbers.tolist(), strict=True))
        images = Bytes().read(ids).permute(0, 3, 1, 2).float()
        return self.through(LOOK(self.views.pictures(images, KNOWN[ids], numbers)))


def views(recipe: AugmentRecipe = NONE, count: int = 1, refresh: float = 0.0) -> Views:
    return Views(recipe, count, refresh, seed=3)


def kept(path: Path, made: Views, dtype: Dtype = "float32") -> tuple[Kept, Prefix]:
    prefix = Prefix(made)
    shape = tuple(prefix.through(torch.zeros(1, 3, SIDE, SIDE))[0].shape[1:])
    return Kept(Shelf(path, Form(shape, dtype, "0" * 64)), HASHES, made, prefix), prefix


def batches(source: Activations, made: Views, **changes: Any) -> FrozenBatches:
    return replace(
        FrozenBatches(source, made, KNOWN, TARGETS, PARTS, CLASSES, 8, noise=0.0, mixup=0.0, seed=3, device=CPU),
        **changes,
    )


def pictures(recipe: AugmentRecipe = NONE) -> ImageBatches:
    parts = PARTS | {"test": np.arange(0)}
    return ImageBatches(Bytes(), TARGETS, parts, CLASSES, 8, recipe, LOOK, seed=3, device=CPU)


def same(ours: Sequence[Batch], theirs: Sequence[Batch], apart: float = 0.0) -> bool:
    return len(ours) == len(theirs) and all(
        (mine.ids == other.ids).all()
        and torch.equal(mine.targets, other.targets)
        and torch.allclose(mine.inputs, other.inputs, rtol=apart, atol=apart)
        for mine, other in zip(ours, theirs, strict=True)
    )


# Kept or computed


@pytest.mark.parametrize(("dtype", "apart"), [("float32", 1e-6), ("float16", 1e-3), ("uint8", 2e-2)])
@pytest.mark.parametrize("made", [views(), views(FLIPS, 2), views(DRAWN, 3), views(DRAWN, 2, refresh=0.5)])
def test_kept_is_what_would_be_computed(made: Views, dtype: Dtype, apart: float, tmp_path: Path) -> None:
    store, _ = kept(tmp_path, made, dtype)
    ours, theirs = batches(store, made), batches(Recomputed(Prefix(made)), made)
    for epoch in range(5):
        assert same(list(ours.train(epoch)), list(theirs.train(epoch)), apart)
    assert same(list(ours.part("valid")), list(theirs.part("valid")), apart)


def test_the_views_shown_are_those_of_the_epoch() -> None:
    made = views(FLIPS, 2)
    for epoch in range(3):
        for batch in batches(Recomputed(Prefix(made)), made).train(epoch):
            numbers = made.numbers(KNOWN[batch.ids], epoch)
            assert torch.allclose(batch.inputs, Prefix(made)(batch.ids, numbers)[0], atol=1e-6)


def test_each_picture_is_computed_once_in_all_epochs(tmp_path: Path) -> None:
    made = views(DRAWN, 3)
    store, prefix = kept(tmp_path, made)
    for epoch in range(7):
        list(batches(store, made).train(epoch)), list(batches(store, made).part("valid"))
    assert len(prefix.asked) == len(set(prefix.asked)) == 3 * 40 + 5


def test_refreshed_views_are_computed_when_they_come_and_only_they(tmp_path: Path) -> None:
    made = views(DRAWN, 2, refresh=0.25)
    store, prefix = kept(tmp_path, made)
    ids, numbers = np.tile(PARTS["train"], 2), np.repeat([0, 1], 40)
    assert keep([store.shelf], HASHES, made, ids, numbers, prefix, lambda done: None) == 80
    for epoch in range(8):
        prefix.asked.clear()
        shown = [batch.ids for batch in batches(store, made).train(epoch)]
        fresh = {(row, 2 + epoch) for row in np.concatenate(shown)} & set(prefix.asked)
        assert set(prefix.asked) == fresh and bool(fresh) == (epoch >= 2)
        prefix.asked.clear()
        list(batches(store, made).train(epoch))
        assert not prefix.asked


def test_what_is_missing_can_be_counted(tmp_path: Path) -> None:
    made = views(FLIPS, 2)
    store, prefix = kept(tmp_path, made)
    ids, numbers = np.tile(PARTS["train"], 2), np.repeat([0, 1], 40)
    assert missing(store.shelf, HASHES, made, ids, numbers) == 80
    store.ready(ids[:50], numbers[:50])
    assert missing(store.shelf, HASHES, made, ids, numbers) == 30 and len(set(prefix.asked)) == 50


def test_what_is_kept_of_a_picture_does_not_depend_on_what_else_was_missing(tmp_path: Path) -> None:
    made = views(DRAWN, 2)
    one, _ = kept(tmp_path / "one", made)
    many, prefix = kept(tmp_path / "many", made)
    ids, numbers = np.tile(PARTS["train"], 2), np.repeat([0, 1], 40)
    one.ready(ids, numbers)
    for first, last in ((3, 4), (70, 80), (0, 45), (0, 80)):
        many.ready(ids[first:last], numbers[first:last])
    assert torch.equal(one.read(ids, numbers), many.read(ids, numbers))
    assert set(prefix.sizes) == {16}  # kernels round by the size of a batch


def test_what_is_read_can_be_trained_on_and_is_nobody_elses(tmp_path: Path) -> None:
    store, _ = kept(tmp_path, views())
    for batch in (*batches(store, views()).train(0), *batches(Recomputed(Prefix(views())), views()).train(0)):
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last) and batch.inputs.dtype == torch.float32
        weight = nn.Parameter(torch.ones(6, 1, 1))
        (batch.inputs * weight).sum().backward()
        before = [each.inputs.clone() for each in batches(store, views()).train(0)]
        batch.inputs.zero_()
        assert same_inputs(list(batches(store, views()).train(0)), before)


def same_inputs(found: Sequence[Batch], wanted: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(each.inputs, other) for each, other in zip(found, wanted, strict=True))


# Order


@pytest.mark.parametrize("size", [1, 7, 8, 13, 39, 40, 64])
def test_the_order_of_an_epoch_is_that_of_the_pictures(size: int) -> None:
    ours = batches(Recomputed(Prefix(views())), views(), batch_size=size)
    theirs = replace(pictures(), batch_size=size)
    assert ours.steps == theirs.steps
    for epoch in (0, 5):
        found, wanted = list(ours.train(epoch)), list(theirs.train(epoch))
        assert len(found) == len(wanted) == ours.steps
        assert all((mine.ids == other.ids).all() for mine, other in zip(found, wanted, strict=True))
        assert all(torch.equal(mine.targets, other.targets) for mine, other in zip(found, wanted, strict=True))
    assert [each.ids.tolist() for each in ours.part("valid")] == [each.ids.tolist() for each in theirs.part("valid")]


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5])
def test_an_epoch_that_goes_on_gives_the_later_batches_bit_for_bit(start: int, tmp_path: Path) -> None:
    made = views(DRAWN, 2, refresh=0.5)
    for source in (kept(tmp_path, made)[0], Recomputed(Prefix(made))):
        own = batches(source, made, noise=0.1, mixup=0.4)
        for epoch in (0, 4):
            assert same(list(own.train(epoch, start)), list(own.train(epoch))[start:])


# The whole at once


def test_the_batch_for_the_solver_holds_every_view_once(tmp_path: Path) -> None:
    made = views(DRAWN, 3)
    store, prefix = kept(tmp_path, made)
    own = batches(store, made, batch_size=0, noise=0.5, mixup=0.5)
    (batch,) = own.train(2)
    assert own.steps == 1 and len(batch.ids) == 120 and not list(own.train(2, start=1))
    assert sorted(prefix.asked) == sorted((row, number) for row in range(40) for number in range(3))
    assert np.bincount(batch.ids).tolist() == [3] * 40
    assert torch.equal(batch.targets, torch.from_numpy(TARGETS[batch.ids]))
    assert len(np.unique(batch.inputs.flatten(1).numpy(), axis=0)) == 120
    assert same([batch], list(own.train(7)))
    assert [len(each.ids) for each in own.part("valid")] == [5]


# Noise and mixup of activations


def test_noise_is_a_share_of_the_activations_own_deviation_and_drawn_for_the_step() -> None:
    own = batches(Recomputed(Prefix(views())), views(), noise=0.2)
    plain = list(batches(Recomputed(Prefix(views())), views()).train(1))
    found = list(own.train(1))
    for noisy, bare in zip(found, plain, strict=True):
        added = noisy.inputs - bare.inputs
        assert float(added.std() / bare.inputs.std()) == pytest.approx(0.2, rel=0.15)
        assert torch.equal(noisy.targets, bare.targets)
    assert not torch.equal(found[0].inputs - plain[0].inputs, found[1].inputs - plain[1].inputs)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert same(list(own.train(1)), found) and torch.equal(torch.get_rng_state(), state)
    assert not same(list(replace(own, seed=4).train(1)), found)
    assert same(list(own.part("valid")), list(batches(Recomputed(Prefix(views())), views()).part("valid")))


def test_mixed_activations_carry_mixed_targets() -> None:
    bare = list(batches(Recomputed(Prefix(views())), views()).train(1))
    own = batches(Recomputed(Prefix(views())), views(), mixup=0.4)
    found = list(own.train(1))
    for mixed, plain in zip(found, bare, strict=True):
        assert mixed.targets.shape == (len(plain.ids), CLASSES)
        assert torch.allclose(mixed.targets.sum(1), torch.ones(len(plain.ids)))
        assert (mixed.targets.argmax(1) == plain.targets).all()
        share = mixed.targets.gather(1, plain.targets[:, None])[:, 0]
        apart = (plain.targets != plain.targets.flip(0)).nonzero()[:, 0]  # elsewhere both have one class
        weight = share.view(-1, 1, 1, 1)
        wanted = weight * plain.inputs + (1 - weight) * plain.inputs.flip(0)
        assert torch.allclose(mixed.inputs[apart], wanted[apart], atol=1e-5) and len(apart)
    assert same(list(own.train(1)), found)


# Pictures that are mixed


def test_mixed_pictures_go_through_the_prefix_as_they_come() -> None:
    recipe = DRAWN.model_copy(update={"mixup": 0.4})
    prefix, source = Prefix(views(recipe)), pictures(recipe)
    own = Through(source, prefix.through, noise=0.0, mixup=0.0)
    assert own.steps == source.steps
    for epoch, start in ((0, 0), (3, 2)):
        for found, mixed in zip(own.train(epoch, start), source.train(epoch, start), strict=True):
            assert (found.ids == mixed.ids).all() and torch.equal(found.targets, mixed.targets)
            assert found.targets.shape == (8, CLASSES)
            assert torch.equal(found.inputs, prefix.through(mixed.inputs)[0])
    for found, plain in zip(own.part("valid"), source.part("valid"), strict=True):
        assert torch.equal(found.inputs, prefix.through(plain.inputs)[0]) and torch.equal(found.targets, plain.targets)


def test_noise_and_mixup_of_activations_come_on_top_of_mixed_pictures() -> None:
    recipe = AugmentRecipe(mixup=0.4)
    prefix = Prefix(views(recipe))
    bare = list(Through(pictures(recipe), prefix.through, noise=0.0, mixup=0.0).train(0))
    own = Through(pictures(recipe), prefix.through, noise=0.1, mixup=0.4)
    for found, plain in zip(own.train(0), bare, strict=True):
        assert not torch.equal(found.inputs, plain.inputs) and not torch.equal(found.targets, plain.targets)
        assert torch.allclose(found.targets.sum(1), torch.ones(8))
    assert same(list(own.train(0)), list(own.train(0)))
