"""The convolution to few channels is `nn.Conv2d`: answers, gradients, weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerwise.nn.to_few import ConvToFew

CASES = [(8, 1, 7, True), (8, 1, 3, True), (5, 3, 3, False), (3, 4, 5, True), (1, 1, 1, True)]


def pair(channels: int, filters: int, kernel: int, bias: bool) -> tuple[ConvToFew, nn.Conv2d]:
    torch.manual_seed(0)
    ours = ConvToFew(channels, filters, kernel, bias=bias)
    plain = nn.Conv2d(channels, filters, kernel, padding="same", bias=bias)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("channels", "filters", "kernel", "bias"), CASES)
def test_answers_and_gradients_are_those_of_the_plain_convolution(
    channels: int, filters: int, kernel: int, bias: bool, layout: torch.memory_format
) -> None:
    ours, plain = pair(channels, filters, kernel, bias)
    images = torch.randn(3, channels, 9, 12).to(memory_format=layout)
    found = []
    for layer in (ours, plain):
        x = images.clone(memory_format=torch.preserve_format).requires_grad_()
        y = layer(x)
        slopes = torch.autograd.grad((y.sin() * torch.arange(12)).mean(), [x, *layer.parameters()])
        found.append([y, *slopes])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_only_the_gradients_that_are_asked_for_are_computed() -> None:
    ours, _ = pair(4, 1, 3, True)
    ours.weight.requires_grad_(False)
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    ours(x).sum().backward()
    assert x.grad is not None and ours.weight.grad is None


def test_the_gradient_has_a_gradient() -> None:
    torch.manual_seed(0)
    layer = ConvToFew(3, 2, 3).double()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))
    assert torch.autograd.gradcheck(layer, (x,))


def test_a_channels_last_input_has_a_channels_last_gradient() -> None:
    ours, _ = pair(8, 1, 7, True)
    x = torch.randn(2, 8, 9, 9).to(memory_format=torch.channels_last).requires_grad_()
    (slope,) = torch.autograd.grad(ours(x).sum(), x)
    assert slope.is_contiguous(memory_format=torch.channels_last)
