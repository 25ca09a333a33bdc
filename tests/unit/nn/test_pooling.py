from __future__ import annotations

import torch

from layerwise.nn.pooling import AttentionPooling, inside, last_state, masked_max, masked_mean

B, T, D = 4, 6, 3
LENGTHS = torch.tensor([6, 1, 4, 2])


def outputs() -> tuple[torch.Tensor, list[torch.Tensor]]:
    """(B, T, D) with wild values behind each end, and each sequence alone."""
    torch.manual_seed(0)
    values = torch.randn(B, T, D) - 5  # all below zero, so that a zero of padding would be the largest
    alone = [values[row, : int(length)].clone() for row, length in enumerate(LENGTHS)]
    values[~inside(LENGTHS, T)] = torch.nan
    return values, alone


def test_the_mean_is_that_of_each_sequence_alone() -> None:
    values, alone = outputs()
    torch.testing.assert_close(masked_mean(values, LENGTHS), torch.stack([each.mean(0) for each in alone]))


def test_the_largest_is_that_of_each_sequence_alone() -> None:
    values, alone = outputs()
    assert torch.equal(masked_max(values, LENGTHS), torch.stack([each.amax(0) for each in alone]))


def test_the_last_state_is_that_of_each_sequence_alone() -> None:
    values, alone = outputs()
    assert torch.equal(last_state(values, LENGTHS), torch.stack([each[-1] for each in alone]))


def test_without_lengths_all_steps_count() -> None:
    torch.manual_seed(0)
    values, full = torch.randn(B, T, D), torch.full((B,), T)
    for pool in (masked_mean, masked_max, last_state, AttentionPooling(D)):
        torch.testing.assert_close(pool(values, None), pool(values, full))


def test_attention_starts_as_the_mean_and_is_the_written_out_formula() -> None:
    values, alone = outputs()
    values = values.nan_to_num(40.0)
    pool = AttentionPooling(D)
    torch.testing.assert_close(pool(values, LENGTHS), torch.stack([each.mean(0) for each in alone]))
    torch.nn.init.normal_(pool.score)
    expected = []
    for each in alone:
        scores = torch.tanh(pool.hidden(each)) @ pool.score
        expected.append((scores.softmax(0)[:, None] * each).sum(0))
    torch.testing.assert_close(pool(values, LENGTHS), torch.stack(expected))


def test_attention_gives_padding_no_weight_and_no_gradient() -> None:
    values = outputs()[0].nan_to_num(40.0).requires_grad_()
    pool = AttentionPooling(D)
    weights = pool.weights(values, LENGTHS)
    assert not weights[~inside(LENGTHS, T)].any()
    torch.testing.assert_close(weights.sum(1), torch.ones(B))
    pool(values, LENGTHS).sum().backward()
    assert values.grad is not None and not values.grad[~inside(LENGTHS, T)].any()
    assert pool.score.grad is not None and pool.score.grad.abs().sum() > 0
