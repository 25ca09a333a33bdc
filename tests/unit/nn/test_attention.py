from __future__ import annotations

import math

import torch

from layerwise.nn import NonLocalBlock2d, SelfAttention


def test_self_attention_is_the_written_out_formula() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(6, 4)
    x = torch.randn(3, 5, 6)
    q, k, v = layer.query(x), layer.key(x), layer.value(x)
    scores = q @ k.transpose(1, 2) / math.sqrt(4)
    torch.testing.assert_close(layer(x), scores.softmax(-1) @ v)


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(6, 4)
    x = torch.randn(2, 5, 6)
    padded = torch.cat((x, torch.full((2, 3, 6), 9.0)), dim=1)
    mask = torch.arange(8).expand(2, 8) < 5
    torch.testing.assert_close(layer(padded, mask)[:, :5], layer(x))


def test_a_new_non_local_block_is_the_identity_and_learns() -> None:
    block = NonLocalBlock2d(8)
    x = torch.randn(2, 8, 4, 3)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.output.weight.grad is not None
    assert float(block.output.weight.grad.abs().sum()) > 0


def test_non_local_block_attends_over_all_positions() -> None:
    torch.manual_seed(0)
    block = NonLocalBlock2d(8, inner=5)
    torch.nn.init.normal_(block.output.weight)
    x = torch.randn(2, 8, 4, 3)
    q, k, v = (layer(x).reshape(2, 5, 12) for layer in (block.query, block.key, block.value))
    weights = (torch.einsum("bcq,bck->bqk", q, k) / math.sqrt(5)).softmax(-1)
    mixed = torch.einsum("bqk,bck->bcq", weights, v).reshape(2, 5, 4, 3)
    torch.testing.assert_close(block(x), x + block.output(mixed))
    torch.testing.assert_close(block(x.to(memory_format=torch.channels_last)), block(x))
