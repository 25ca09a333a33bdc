"""DiffAugment: what each policy does to images, and that the gradient passes."""

from __future__ import annotations

import pytest
import torch

from layerwise.nn.diff_augment import POLICIES, diff_augment


def images(count: int = 64, channels: int = 3, side: int = 16) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_no_policy_changes_nothing() -> None:
    x = images()
    assert diff_augment(x, ()) is x


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", list(POLICIES))
def test_each_image_changes_in_its_own_way_as_the_seed_says(policy: str, channels: int) -> None:
    x = images(1, channels).expand(64, -1, -1, -1)
    torch.manual_seed(0)
    first = diff_augment(x, (policy,))
    torch.manual_seed(0)
    assert torch.equal(diff_augment(x, (policy,)), first)
    assert first.shape == x.shape
    assert not torch.equal(first[0], first[1]) or not torch.equal(first[1], first[2])


@pytest.mark.parametrize("policy", list(POLICIES))
def test_the_gradient_is_that_of_the_change(policy: str) -> None:
    x = images(3, side=8).double().requires_grad_()

    def change(values: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return diff_augment(values, (policy,))

    assert torch.autograd.gradcheck(change, (x,))


def test_translation_moves_by_up_to_an_eighth_and_fills_with_zeros() -> None:
    x = torch.zeros(500, 1, 16, 16)
    x[:, :, 8, 8] = 1
    torch.manual_seed(0)
    places = diff_augment(x, ("translation",)).nonzero()[:, 2:]
    assert len(places) == 500
    assert places.unique().tolist() == [6, 7, 8, 9, 10]
    edge = torch.zeros(500, 1, 16, 16)
    edge[:, :, 0, 0] = 1  # moved out of the image where it goes up or left: nothing comes back on the other side
    moved = diff_augment(edge, ("translation",)).nonzero()[:, 2:]
    assert 0 < len(moved) < 500 and moved.max() <= 2


def test_cutout_blanks_a_square_of_half_the_side_that_may_hang_over() -> None:
    torch.manual_seed(0)
    gone = diff_augment(torch.ones(500, 1, 16, 16), ("cutout",))[:, 0] == 0  # (500, 16, 16)
    heights, widths = gone.any(2).sum(1), gone.any(1).sum(1)
    assert torch.equal(gone.sum((1, 2)), heights * widths)
    assert heights.max() == 8 and widths.max() == 8 and heights.min() < 8
    assert gone.any(0).all()  # every pixel's turn comes


def test_colour_keeps_the_order_of_grey_pixels() -> None:
    x = torch.linspace(-1, 1, 16).view(1, 1, 4, 4).expand(100, -1, -1, -1)
    y = diff_augment(x, ("colour",)).flatten(1)
    assert (y.diff(dim=1) > 0).all()
    assert y.mean(1).std() > 0.1 and y.std(1).std() > 0.1  # brightness and contrast
