"""Pieces of a batch: what a network in inference takes at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from layerwise.data.loader import Batch
from layerwise.device import pick, pieces, threads
from layerwise.tasks.image_classification import answers


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("side", [8, 32, 224, 600])
def test_pictures_come_in_equal_pieces_and_none_is_lost(count: int, side: int) -> None:
    batch = torch.arange(64.0).view(64, 1, 1, 1).expand(64, 3, side, side)
    with threads(count):
        found = pieces(batch)
    assert torch.equal(torch.cat([piece[:, 0, 0, 0] for piece in found]), torch.arange(64.0))
    assert len({len(piece) for piece in found}) == 1
    values, size = 3 * side * side, len(found[0])
    assert size * values <= 310_000 * count or size == 1
    assert 2 * size * values > 310_000 * count or size == 64


@pytest.mark.parametrize("shape", [(1000, 1280), (64, 300, 8), (0, 3, 8, 8), (5, 0, 8, 8), (32, 1024, 14, 14)])
def test_what_is_no_picture_and_what_is_nothing_stays_whole(shape: tuple[int, ...]) -> None:
    (only,) = pieces(torch.zeros(shape))
    assert only.shape == shape


def test_answers_do_not_hang_on_the_pieces() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5)).eval()
    images, targets = torch.randn(11, 3, 224, 224), torch.arange(11) % 5
    with torch.no_grad():
        whole = network(images).double().softmax(1).numpy()
    sizes: list[int] = []
    network.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    with threads(2):
        (found,), right = answers(network, iter([Batch(np.arange(11), images, targets)]), pick("cpu", "float32"))
    assert sizes == [4, 4, 3]
    np.testing.assert_allclose(found, whole, atol=1e-6)
    assert np.array_equal(right, targets.numpy())
