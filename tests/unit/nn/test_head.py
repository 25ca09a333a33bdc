from __future__ import annotations

import torch

from layerwise.nn import Head


def test_pools_over_all_positions() -> None:
    torch.manual_seed(0)
    head = Head(6, 3)
    x = torch.randn(2, 6, 4, 5)
    torch.testing.assert_close(head(x), head.linear(x.mean((2, 3))))
    torch.testing.assert_close(head(x.to(memory_format=torch.channels_last)), head(x))


def test_takes_what_is_pooled_already() -> None:
    head = Head(6, 3, hidden=4, dropout=0.5).eval()
    x = torch.randn(2, 6, 4, 5)
    torch.testing.assert_close(head(x.mean((2, 3))), head(x))


def test_hidden_layer_and_dropout() -> None:
    torch.manual_seed(0)
    head = Head(6, 3, hidden=64, dropout=0.5)
    assert head.hidden is not None
    x = torch.randn(2, 6)
    assert not torch.equal(head(x), head(x))
    head.eval()
    torch.testing.assert_close(head(x), head.linear(head.hidden(x).relu()))


def test_can_be_traced_for_both_shapes() -> None:
    head = Head(6, 3, hidden=4).eval()
    traced = torch.fx.symbolic_trace(head)
    for x in (torch.randn(2, 6), torch.randn(2, 6, 3, 3)):
        torch.testing.assert_close(traced(x), head(x))
