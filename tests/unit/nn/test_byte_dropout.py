"""Dropout by random bytes: shares, scale, gradients, and where the draws come from."""

from __future__ import annotations

import pytest
import torch

from layerwise.nn.byte_dropout import ByteDropout


@pytest.mark.parametrize(("asked", "dropped"), [(0.4, 102), (0.5, 128), (0.25, 64), (0.999, 255), (0.0, 0)])
def test_the_share_is_the_nearest_of_256ths_below_one(asked: float, dropped: int) -> None:
    assert ByteDropout(asked).share == dropped / 256


def test_values_are_dropped_or_scaled_so_that_the_mean_stays() -> None:
    torch.manual_seed(0)
    layer, x = ByteDropout(0.4), torch.ones(1_000_003)  # not a whole number of draws
    y = layer(x)
    assert y.unique().tolist() == [0.0, pytest.approx(256 / 154)]
    assert abs((y == 0).float().mean().item() - 102 / 256) < 4 * (0.24 / 1e6) ** 0.5
    assert abs(y.mean().item() - 1) < 5e-3


def test_every_byte_of_a_draw_is_uniform() -> None:
    torch.manual_seed(0)
    y = ByteDropout(0.5)(torch.ones(800_000)).view(-1, 8)
    assert ((y == 0).float().mean(0) - 0.5).abs().max() < 0.01


def test_evaluation_changes_nothing_and_draws_nothing() -> None:
    torch.manual_seed(0)
    x, before = torch.randn(10), torch.get_rng_state()
    assert ByteDropout(0.4).eval()(x) is x
    assert torch.equal(torch.get_rng_state(), before)


def test_the_mask_is_a_function_of_the_global_seed_and_differs_from_call_to_call() -> None:
    layer, x = ByteDropout(0.4), torch.ones(2, 3, 5, 7).to(memory_format=torch.channels_last)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first) and not torch.equal(first, second)
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_the_gradient_is_the_mask() -> None:
    x = torch.ones(1000, requires_grad=True)
    y = ByteDropout(0.4)(x)
    y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, y.detach())
