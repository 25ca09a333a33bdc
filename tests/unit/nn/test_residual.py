from __future__ import annotations

import pytest
import torch
from torch import nn

from layerwise.nn import ResidualBlock


def test_without_its_convolutions_it_is_the_relu_of_its_input() -> None:
    block = ResidualBlock(4, 4)
    nn.init.zeros_(block.norm2.weight)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(x), x.relu())


def test_it_computes_the_written_out_formula() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(3, 6, stride=2)
    x = torch.randn(2, 3, 8, 8)
    inner = block.norm2(block.conv2(block.norm1(block.conv1(x)).relu()))
    torch.testing.assert_close(block(x), (inner + block.shortcut(x)).relu())


@pytest.mark.parametrize(
    ("channels_in", "channels_out", "stride", "projects"), [(8, 8, 1, False), (8, 16, 1, True), (8, 8, 2, True)]
)
def test_a_projection_only_where_the_shape_changes(
    channels_in: int, channels_out: int, stride: int, projects: bool
) -> None:
    block = ResidualBlock(channels_in, channels_out, stride=stride)
    assert isinstance(block.shortcut, nn.Identity) is not projects
    out = block(torch.zeros(2, channels_in, 7, 7))
    assert out.shape == (2, channels_out, 7 if stride == 1 else 4, 7 if stride == 1 else 4)
