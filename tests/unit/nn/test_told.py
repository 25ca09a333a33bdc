from __future__ import annotations

import torch

from layerwise.nn.told import one_hot


def test_one_hot_is_zero_for_unknown() -> None:
    told = one_hot(torch.tensor([2, -1, 0]), 3, torch.zeros(3, 5))
    assert told.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert one_hot(None, 3, torch.zeros(2)).tolist() == [[0, 0, 0], [0, 0, 0]]
