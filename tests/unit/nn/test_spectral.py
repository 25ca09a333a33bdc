"""Spectral normalisation: the bound, the gradient, and what evaluation leaves alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from layerwise.nn.spectral import SpectralConv2d, SpectralNorm


def largest(weight: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))


@pytest.mark.parametrize("bound", [1.0, 2.5])
def test_the_largest_singular_value_is_the_bound(bound: float) -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 4, 3, 3)
    norm = SpectralNorm(weight, bound)
    for _ in range(30):
        scaled = norm(weight)
    assert largest(scaled) == pytest.approx(bound, rel=1e-3)


def test_without_a_bound_a_layer_begins_as_it_was_made_and_is_held_there() -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(4, 6, 3, padding=1), torch.randn(2, 4, 8, 8)
    layer, first = SpectralConv2d(conv), conv(x).detach()
    torch.testing.assert_close(layer(x), first, rtol=2e-2, atol=2e-2)
    before = largest(conv.weight)
    with torch.no_grad():
        conv.weight.mul_(10)
    assert largest(layer.norm(conv.weight)) == pytest.approx(before, rel=2e-2)


def test_the_estimate_follows_a_weight_that_changes() -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 12)
    norm = SpectralNorm(weight)
    for _ in range(200):
        weight = weight + 0.02 * torch.randn(8, 12)
        norm(weight)
    assert largest(norm(weight)) == pytest.approx(1.0, rel=0.05)


def test_the_gradient_passes_through_the_estimate() -> None:
    torch.manual_seed(0)
    norm = SpectralNorm(torch.randn(3, 4)).double().eval()
    assert torch.autograd.gradcheck(norm, (torch.randn(3, 4, dtype=torch.float64, requires_grad=True),))


def test_two_calls_before_one_backward_pass() -> None:
    torch.manual_seed(0)
    layer, x = SpectralConv2d(nn.Conv2d(2, 3, 3)), torch.randn(2, 2, 5, 5)
    (layer(x).sum() + layer(-x).square().sum()).backward()
    assert layer.conv.weight.grad is not None and torch.isfinite(layer.conv.weight.grad).all()


def test_evaluation_moves_nothing_and_the_state_brings_all_back() -> None:
    torch.manual_seed(0)
    layer, x = SpectralConv2d(nn.Conv2d(2, 3, 3)), torch.randn(2, 2, 5, 5)
    layer(x)
    state = copy.deepcopy(layer.state_dict())
    answer = layer.eval()(x)
    assert all(torch.equal(tensor, state[name]) for name, tensor in layer.state_dict().items())
    other = SpectralConv2d(nn.Conv2d(2, 3, 3)).eval()
    other.load_state_dict(state)
    assert torch.equal(other(x), answer)
