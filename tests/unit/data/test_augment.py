"""Augmentation: draws that depend on (seed, epoch, example) only, and geometry that means what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerwise.data.augment import AugmentRecipe, augment, draws, mixup

ALL = AugmentRecipe(
    rotation=20, width_shift=0.2, height_shift=0.2, zoom=0.1, flip=True, brightness=0.2, contrast=0.2, cutout=0.25
)


def pictures(count: int = 12, side: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 255


def test_draws_are_uniform_and_differ_between_seeds_epochs_and_examples() -> None:
    ids = np.arange(20_000)
    found = draws(ids, seed=3, epoch=5)
    assert found.min() >= 0 and found.max() < 1
    assert np.abs(found.mean(0) - 0.5).max() < 0.01 and np.abs(found.var(0) - 1 / 12).max() < 0.003
    assert np.abs(np.corrcoef(found.T) - np.eye(found.shape[1])).max() < 0.03
    for other in (draws(ids, seed=4, epoch=5), draws(ids, seed=3, epoch=6), draws(ids + 20_000, seed=3, epoch=5)):
        assert abs(np.corrcoef(found[:, 0], other[:, 0])[0, 1]) < 0.03


def test_an_example_is_changed_alike_in_any_batch() -> None:
    images, ids = pictures(), np.arange(12)
    whole = augment(images, ids, ALL, seed=1, epoch=2)
    order = np.array([7, 2, 11])
    assert torch.equal(augment(images[order], ids[order], ALL, seed=1, epoch=2), whole[order])
    assert not torch.equal(augment(images, ids, ALL, seed=1, epoch=3), whole)


def test_the_default_changes_nothing() -> None:
    images = pictures()
    assert torch.equal(augment(images, np.arange(12), AugmentRecipe(), seed=0, epoch=0), images)


def test_flip_gives_the_image_or_its_mirror_about_half_the_time() -> None:
    images = pictures(200)
    changed = augment(images, np.arange(200), AugmentRecipe(flip=True), seed=0, epoch=0)
    same = (changed - images).abs().amax((1, 2, 3)) < 1e-3
    mirrored = (changed - images.flip(3)).abs().amax((1, 2, 3)) < 1e-3
    assert bool((same ^ mirrored).all()) and 70 < int(mirrored.sum()) < 130


def test_a_shift_moves_by_at_most_its_share() -> None:
    side = 32
    images = torch.zeros(300, 1, side, side)
    images[:, :, side // 2, side // 2] = 255
    changed = augment(images, np.arange(300), AugmentRecipe(width_shift=0.25), seed=0, epoch=0)
    columns = changed.sum((1, 2)).argmax(1) - side // 2
    assert int(columns.abs().max()) <= 8 and int(columns.min()) < -5 and int(columns.max()) > 5
    assert bool((changed.sum((1, 3)).argmax(1) == side // 2).all())


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 48)])
def test_rotation_keeps_angles_and_lengths_on_any_shape(height: int, width: int) -> None:
    images = torch.zeros(100, 1, height, width)
    centre = (height // 2, width // 2)
    images[:, :, centre[0] - 8 : centre[0] + 8, centre[1]] = 255  # an upright bar of 16 pixels
    changed = augment(images, np.arange(100), AugmentRecipe(rotation=90), seed=0, epoch=0)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    weight = changed[:, 0] / changed[:, 0].sum((1, 2), keepdim=True)
    spread = [
        (weight * (grid - (weight * grid).sum((1, 2), keepdim=True)) ** 2).sum((1, 2)) for grid in (rows, columns)
    ]
    # The bar's second moment about its centre is the same at every angle.
    assert torch.allclose(spread[0] + spread[1], torch.full((100,), 16**2 / 12), rtol=0.1)
    assert float(spread[1].max()) > 15


def test_zoom_scales_about_the_centre() -> None:
    images = torch.zeros(200, 1, 32, 32)
    images[:, :, 8:24, 8:24] = 255
    areas = augment(images, np.arange(200), AugmentRecipe(zoom=0.25), seed=0, epoch=0).sum((1, 2, 3)) / 255
    assert 256 * 0.75**2 * 0.95 < float(areas.min()) < 170 and 370 < float(areas.max()) < 256 * 1.25**2 * 1.05


def test_brightness_and_contrast_stay_in_range_and_differ_by_example() -> None:
    changed = augment(pictures(50), np.arange(50), AugmentRecipe(brightness=0.5, contrast=0.5), seed=0, epoch=0)
    assert float(changed.min()) >= 0 and float(changed.max()) <= 255
    assert float(changed.mean((1, 2, 3)).std()) > 20


def test_cutout_covers_at_most_its_square() -> None:
    images = torch.full((100, 3, 32, 32), 10.0)
    changed = augment(images, np.arange(100), AugmentRecipe(cutout=0.25), seed=0, epoch=0)
    covered = (changed[:, 0] == 127.5).sum((1, 2))
    assert int(covered.max()) == 64 and int(covered.min()) >= 16
    assert bool(((changed == 10) | (changed == 127.5)).all())


def test_mixup_mixes_images_and_targets_by_the_same_weight() -> None:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2).contiguous()
    targets = torch.eye(4)
    mixed, rows = mixup(images, targets, np.arange(4), alpha=0.4, seed=0, epoch=0)
    assert torch.allclose(rows.sum(1), torch.ones(4)) and bool((rows.diagonal() >= 0.5).all())
    assert torch.allclose(mixed[:, 0, 0, 0], rows @ torch.arange(4.0), atol=1e-6)
    assert float((rows.diagonal() < 0.999).sum()) > 0


def test_memory_stays_channels_last() -> None:
    images = pictures().contiguous(memory_format=torch.channels_last)
    changed = augment(images, np.arange(12), AugmentRecipe(brightness=0.1), seed=0, epoch=0)
    assert changed.is_contiguous(memory_format=torch.channels_last)
