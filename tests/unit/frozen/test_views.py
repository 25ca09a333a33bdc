"""Views: which picture an epoch shows, and that it depends on nothing but the seed, the image and the number."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from layerwise.data.augment import AugmentRecipe
from layerwise.frozen.views import PLAIN, Views, identities

RECIPE = AugmentRecipe(rotation=20, flip=True, zoom=0.2, brightness=0.2, contrast=0.2, cutout=0.3)
FLIPS = AugmentRecipe(flip=True)


def views(recipe: AugmentRecipe = RECIPE, count: int = 4, refresh: float = 0.0, seed: int = 0) -> Views:
    return Views(recipe, count, refresh, seed)


def known(count: int) -> np.ndarray:
    return identities([hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)])


def batch(count: int = 8, side: int = 12) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), generator=draw).float()


def test_an_image_is_known_by_the_first_64_bits_of_its_content() -> None:
    found = identities(["f" * 64, "0" * 15 + "1" + "f" * 48, ""])
    assert found.dtype == np.uint64 and found.tolist() == [2**64 - 1, 1, 0]


# What is drawn


def test_number_0_is_the_picture() -> None:
    images = batch()
    found = views().pictures(images.clone(), known(8), np.full(8, PLAIN))
    assert torch.equal(found, images)


def test_every_other_number_is_another_picture() -> None:
    images, seen = batch(), [batch()]
    for number in range(1, 5):
        found = views().pictures(images.clone(), known(8), np.full(8, number))
        assert not any(torch.equal(mine, theirs) for other in seen for mine, theirs in zip(found, other, strict=True))
        seen.append(found)


def test_flips_are_exact() -> None:
    images, numbers = batch(), np.array([0, 1] * 4)
    found = views(FLIPS, 2).pictures(images.clone(), known(8), numbers)
    assert torch.equal(found[::2], images[::2]) and torch.equal(found[1::2], images[1::2].flip(3))


def test_a_batch_with_many_numbers_is_what_each_image_is_alone() -> None:
    images, numbers = batch(), np.array([0, 1, 2, 1, 0, 7, 31, 3])
    found = views().pictures(images.clone(), known(8), numbers)
    for row in range(8):
        alone = views().pictures(images[row : row + 1].clone(), known(8)[row : row + 1], numbers[row : row + 1])
        assert torch.equal(found[row], alone[0])


def test_the_same_content_gives_the_same_views_whatever_the_row() -> None:
    images = batch()
    order = np.array([5, 2, 7, 0, 1, 6, 3, 4])
    numbers = np.arange(8) % 4
    found = views().pictures(images.clone(), known(8), numbers)
    moved = views().pictures(images[order].clone(), known(8)[order], numbers[order])
    assert torch.equal(moved, found[order])
    for epoch in range(12):
        shown = views(refresh=0.4).numbers(known(8), epoch)
        assert (views(refresh=0.4).numbers(known(8)[order], epoch) == shown[order]).all()


def test_another_content_or_seed_gives_other_views() -> None:
    images = batch(1)
    found = [
        views(seed=seed).pictures(images.clone(), known(2)[image : image + 1], np.array([1]))
        for seed, image in ((0, 0), (1, 0), (0, 1))
    ]
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


# Which one is shown


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_each_view_is_shown_once_in_as_many_epochs_as_there_are_views(count: int) -> None:
    shown = np.stack([views(count=count).numbers(known(50), epoch) for epoch in range(3 * count)], 1)
    for first in range(0, 3 * count, count):
        assert (np.sort(shown[:, first : first + count], 1) == np.arange(count)).all()


def test_an_epoch_shows_all_numbers_in_about_equal_shares() -> None:
    shown = views().numbers(known(4000), 3)
    assert np.bincount(shown, minlength=4) / 4000 == pytest.approx([0.25] * 4, abs=0.03)


@pytest.mark.parametrize(
    "made", [views(AugmentRecipe()), views(AugmentRecipe(mixup=0.3), refresh=0.5), views(count=1), views(FLIPS, 1)]
)
def test_without_anything_to_draw_or_with_one_view_all_is_the_picture(made: Views) -> None:
    assert all((made.numbers(known(50), epoch) == PLAIN).all() for epoch in range(9))


def test_where_nothing_is_kept_every_epoch_has_views_of_its_own() -> None:
    shown = np.stack([views(count=0).numbers(known(20), epoch) for epoch in range(9)], 1)
    assert (shown == np.arange(1, 10)).all()
    flips = np.stack([views(FLIPS, count=0).numbers(known(2000), epoch) for epoch in range(9)], 1)
    assert set(flips.ravel().tolist()) == {0, 1}
    assert flips.mean(0) == pytest.approx([0.5] * 9, abs=0.05) and flips.std(1).min() == 0  # no cycle is kept


# Refreshment


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.4, 0.67, 0.9, 1.0])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_about_the_share_that_is_asked_for_is_new_each_epoch_and_nothing_before_all_was_shown(
    share: float, count: int
) -> None:
    made, seen = views(count=count, refresh=share), [set(range(count)) for _ in range(2000)]
    for epoch in range(10):
        numbers = made.numbers(known(2000), epoch).tolist()
        new = [number not in before for number, before in zip(numbers, seen, strict=True)]
        assert epoch >= count or not any(new)
        assert epoch < count or np.mean(new) == pytest.approx(share, abs=0.05)
        for number, before in zip(numbers, seen, strict=True):
            before.add(number)


def test_over_a_long_time_every_view_of_every_image_is_refreshed_as_often() -> None:
    made = views(count=2, refresh=0.5)
    shown = np.stack([made.numbers(known(100), epoch) for epoch in range(42)], 1)
    distinct = np.stack([[len(set(row[side::2])) for row in shown.tolist()] for side in (0, 1)])
    assert distinct.min() >= 10 and distinct.max() <= 12  # 20 times 0.5, and the view of the start


def test_a_refreshed_view_stays_until_the_next_one() -> None:
    made = views(count=3, refresh=0.3)
    shown = np.stack([made.numbers(known(200), epoch) for epoch in range(30)], 1)
    for epoch in range(3, 30):
        same, fresh = shown[:, epoch] == shown[:, epoch - 3], shown[:, epoch] == 3 + epoch
        assert (same ^ fresh).all()


def test_which_view_is_shown_depends_on_seed_epoch_and_image_only() -> None:
    made = views(count=3, refresh=0.4)
    straight = [made.numbers(known(64), epoch) for epoch in range(12)]
    for epoch in (11, 3, 7, 7):  # in any order, in any company
        assert (made.numbers(known(64)[10:20], epoch) == straight[epoch][10:20]).all()
    assert any((views(count=3, refresh=0.4, seed=1).numbers(known(64), e) != straight[e]).any() for e in range(12))


def test_flips_have_nothing_to_refresh() -> None:
    for epoch in range(8):
        assert (views(FLIPS, 2, 0.5).numbers(known(50), epoch) == views(FLIPS, 2).numbers(known(50), epoch)).all()


# Names


def test_views_have_one_name_where_they_are_the_same_picture() -> None:
    assert views().tag(3) == views(RECIPE.model_copy(update={"mixup": 0.4}), count=9, refresh=0.5).tag(3)
    assert views().tag(0) == views(FLIPS, 2, seed=5).tag(0) == views(AugmentRecipe()).tag(0)
    assert views(FLIPS, 2).tag(1) == views(FLIPS, 2, seed=9).tag(1)


@pytest.mark.parametrize(
    ("changes", "number"),
    [({}, 2), ({"seed": 1}, 1), ({"recipe": RECIPE.model_copy(update={"rotation": 21.0})}, 1), ({"recipe": FLIPS}, 1)],
)
def test_views_have_two_names_where_they_are_not(changes: dict[str, Any], number: int) -> None:
    base = {"recipe": RECIPE, "count": 4, "refresh": 0.0, "seed": 0}
    names = {Views(**base).tag(0), Views(**base).tag(1), Views(**(base | changes)).tag(number)}
    assert len(names) == 3
