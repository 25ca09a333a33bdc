from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerwise.errors import RecipeError, UsageError
from layerwise.models import build_model, learn_from_data
from layerwise.models.airbench import Airbench, whiten


def airbench(name: str, channels: int = 3, size: int = 32, **options: object) -> Airbench:
    net = build_model(name, classes=10, channels=channels, size=size, pretrained=False, options=options)
    assert isinstance(net, Airbench)
    return net


def smooth_images(n: int, channels: int) -> torch.Tensor:
    """Images whose neighbouring pixels and channels go together, as in photographs."""
    noise = torch.randn(n, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    grey = F.avg_pool2d(noise, 5, stride=1)[:, :, :32, :32] * 5
    return torch.cat([grey * (1 + 0.2 * c) + 0.1 * torch.randn_like(grey) for c in range(channels)], dim=1)


def test_is_as_large_as_published() -> None:
    net = airbench("airbench")
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    fixed = {name: p.numel() for name, p in net.named_parameters() if not p.requires_grad}
    # The paper's listing: the whitening bias, the convolutions, the normalisations' biases, the classifier.
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    assert trained == 24 + convolutions + 2 * (64 + 256 + 256) + 256 * 10
    assert fixed.pop("whitening.weight") == 24 * 12
    assert all("norm" in name and name.endswith("weight") for name in fixed)


def test_grey_images_have_eight_whitening_filters() -> None:
    assert airbench("airbench-small", 1, 28).whitening.weight.shape == (8, 1, 2, 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_are_uncorrelated_with_variance_one(channels: int) -> None:
    net = airbench("airbench", channels)
    images = smooth_images(300, channels)
    whiten(net, images, eps=0.0)
    out = F.conv2d(images, net.whitening.weight)[:, : 4 * channels].transpose(0, 1).flatten(1)  # (4 C, patches)
    torch.testing.assert_close(out @ out.T / out.shape[1], torch.eye(4 * channels), atol=1e-3, rtol=0)
    half = 4 * channels
    assert torch.equal(net.whitening.weight[half:], -net.whitening.weight[:half])


def test_whitening_stays_finite_where_patches_do_not_vary() -> None:
    net = airbench("airbench-small", 1, 28)
    whiten(net, torch.zeros(5, 1, 28, 28))
    assert bool(torch.isfinite(net.whitening.weight).all())


def test_whitening_does_not_depend_on_how_images_are_parted_or_ordered() -> None:
    one, two = airbench("airbench"), airbench("airbench")
    images = smooth_images(300, 3)
    whiten(one, images)
    whiten(two, images.flip(0))
    torch.testing.assert_close(one.whitening.weight, two.whitening.weight, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(0, 3, 32, 32), (5, 1, 32, 32), (3, 32, 32), (5, 3, 1, 1)])
def test_whitening_refuses_other_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="whiten"):
        whiten(airbench("airbench"), torch.zeros(shape))


def test_starts_by_passing_its_input_through() -> None:
    conv = airbench("airbench").group1.conv2
    x = torch.randn(1, 64, 5, 5)
    torch.testing.assert_close(conv(x), x)


def test_normalisation_is_as_published() -> None:
    norms = [m for m in airbench("airbench").modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 6
    assert {(m.eps, m.momentum, m.weight.requires_grad, m.bias.requires_grad) for m in norms} == {
        (1e-12, 0.4, False, True)
    }


def test_head_takes_the_maximum_and_divides_by_nine() -> None:
    net = airbench("airbench-small", 1, 28)
    features = torch.randn(2, 64, 3, 3)
    torch.testing.assert_close(net.forward_head(features), net.linear(F.max_pool2d(features, 3).flatten(1)) / 9)


def test_it_has_no_options() -> None:
    with pytest.raises(RecipeError, match="width"):
        airbench("airbench", width=3)


def test_only_airbench_learns_from_the_data_before_it_trains() -> None:
    net = airbench("airbench-small", 1, 28)
    images = smooth_images(20, 1)
    learn_from_data(net, lambda: images)
    expected = airbench("airbench-small", 1, 28)
    whiten(expected, images)
    assert torch.equal(net.whitening.weight, expected.whitening.weight)
    learn_from_data(nn.Linear(1, 1), lambda: pytest.fail("no images are needed"))
